"""Compile the statements that runs of pipelines need on SQLite into `storage/prepared.sqlite.json`.

    python scripts/prepare.py            writes the file
    python scripts/prepare.py --check    exits with 1 when it would change

It runs pipelines in a folder of its own, and keeps every statement that they ask for.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from mainspring.core.settings import load
from mainspring.pipelines import Pipelines
from mainspring.server.house import open_house
from mainspring.storage import prepared

PROGRAM = '''"""Pipelines that use what there is."""
import mainspring as ms
from mainspring.pipelines import flow


@ms.step
def first(number: int) -> int:
    return number + 1


@ms.step(retries=1, retry_in_s=0.0)
def broken(number: int) -> int:
    raise ValueError("it is broken")


@ms.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@ms.step
def say(what: dict[str, object]) -> None:
    print(what["state"])


@ms.pipeline
def chain(number: int = 0) -> int:
    return first(first(number))


@ms.pipeline(lastly=say, on_failure=say)
def fails(number: int = 0) -> int:
    return first(broken(number))


@ms.pipeline(lastly=say)
def wide(count: int = 3) -> list[int]:
    return first.map(numbers(count), limit=1)


@ms.pipeline
def crew(count: int = 3) -> list[int]:
    return first.map(numbers(count))


@ms.pipeline
def chooses(number: int = 0) -> int:
    flow.when(first(number) > 1, lambda: first(2), lambda: first(3))
    return flow.repeat(first, first(number), until=lambda found: found > 3, most=5)
'''
RUNS = ("chain", "chain", "fails", "wide", "crew", "chooses")


def main() -> int:
    """Write the file, or compare it."""
    with tempfile.TemporaryDirectory() as folder:
        made = json.dumps(_asked_in(Path(folder)), indent=1, sort_keys=True) + "\n"
    if "--check" in sys.argv:
        return int(made != prepared.FILE.read_text(encoding="utf-8"))
    prepared.FILE.write_text(made, encoding="utf-8")
    return 0


def _asked_in(folder: Path) -> dict[str, dict[str, object]]:
    """What pipelines in a new folder ask for, compiled anew."""
    vars(prepared)["before_release"] = dict  # nothing is known
    (folder / "all.py").write_text(PROGRAM)
    house = open_house(load(folder))
    try:
        for name in RUNS:
            house.get(Pipelines).run_inline(f"{folder / 'all.py'}:{name}", {})
    finally:
        house.close()
    return prepared.compiled_here


if __name__ == "__main__":
    sys.exit(main())
