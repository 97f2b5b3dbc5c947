"""Run the measurements: `./ms bench [NAME ...] [--write]`. With --write the results go to the top of bench/RESULTS.md.

Each file `bench/measure_*.py` has a function `measure() -> Iterator[Figure]`. A figure is a ratio to something that was
measured in the same run, or stands beside a stated limit; what could not be measured is a `LeftOut` with the reason.
Machines are noisy: medians are shown, bad results too.

Two more are simulations of their own, not of speed but of error rates, and are run by themselves:
    python bench/gates_error_rates.py           how often a gate passes a model that is worse, equal or better
    python bench/monitoring_false_alarms.py     false alarms a model and year, and the days to find a real change
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent))
from figure import Figure, LeftOut

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HEAD = "# What was measured\n\nNewest first. Ratios are within one run; a limit is what the product promises.\n"


def cases() -> dict[str, Path]:
    return {path.stem.removeprefix("measure_"): path for path in sorted(HERE.glob("measure_*.py"))}


def load(path: Path) -> Callable[[], Iterator[Figure | LeftOut]]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Callable[[], Iterator[Figure | LeftOut]], module.measure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(cases())}; default all")
    parser.add_argument("--write", action="store_true", help="add the results to bench/RESULTS.md")
    parser.add_argument("--note", default="", help="a line about the machine, kept with the results")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(cases())
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known are {', '.join(cases())}")
    busy = os.getloadavg()[0]
    figures: list[Figure | LeftOut] = []
    for name, path in cases().items():
        if not asked.names or name in asked.names:
            for figure in load(path)():
                print(figure.line(), flush=True)
                figures.append(figure)
    if asked.write:
        write(figures, asked.names, f"load {busy:.1f} before. {asked.note}".strip())
    return 0 if all(figure.held for figure in figures) else 1


def write(figures: list[Figure | LeftOut], names: list[str], note: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}; {note}"
    lines = [f"## {now}: `./ms bench {' '.join([*names, '--write'])}`", "", machine, ""]
    lines += ["| what | found | limit | held |", "|---|---|---|---|", *(figure.row() for figure in figures), ""]
    old = RESULTS.read_text().removeprefix(HEAD) if RESULTS.exists() else ""
    RESULTS.write_text(HEAD + "\n" + "\n".join(lines) + old)


if __name__ == "__main__":
    sys.exit(main())
