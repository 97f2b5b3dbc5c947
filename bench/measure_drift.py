"""A drift report of two Parquet files, beside other tools: whole processes, from import to the finished report.

The other tools have environments of their own that variables name; one that is not there is left out.

    MAINSPRING_EVIDENTLY   its Python, with evidently==0.7.23, pandas<3 and pyarrow
    MAINSPRING_NANNYML     its Python, with nannyml==0.13.1
    MAINSPRING_WHYLOGS     its Python, with whylogs==1.6.4, pandas<3, scipy and pyarrow

MAINSPRING_DRIFT_ROWS=100000 leaves out the table of a million rows, which takes the other tools minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure

from mainspring.data.sketch import Sketch, count_column, learn_column, learn_grid, sketch
from mainspring.monitoring.reports import compare_tables, open_table
from mainspring.monitoring.reports.comparing import compare_sketches
from mainspring.monitoring.rules.parity import peer
from mainspring.monitoring.rules.statistics import compare

NUMBERS, TEXTS, HOURS = 40, 10, 720
COLUMNS = NUMBERS + TEXTS
SIZES = [int(rows) for rows in os.environ.get("MAINSPRING_DRIFT_ROWS", "100000,1000000").split(",")]
OURS = """
import mainspring as ms
ms.drift("reference.parquet", "current.parquet").save("ours.html")
"""
EVIDENTLY = """
import pandas
from evidently import Report
from evidently.presets import DataDriftPreset
tables = [pandas.read_parquet(f"{name}.parquet") for name in ("current", "reference")]
Report([DataDriftPreset()]).run(*tables).save_html("evidently.html")
"""
NANNYML = """
import pandas
from nannyml import UnivariateDriftCalculator
reference, current = (pandas.read_parquet(f"{name}.parquet") for name in ("reference", "current"))
calculator = UnivariateDriftCalculator(column_names=list(reference.columns))
calculator.fit(reference).calculate(current).to_df().to_csv("nannyml.csv")
"""
WHYLOGS = """
import json, pandas, whylogs
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores
views = [whylogs.log(pandas.read_parquet(f"{name}.parquet")).view() for name in ("current", "reference")]
scores = calculate_drift_scores(*views)
json.dump(scores, open("whylogs.json", "w"), default=str)
"""
CAR_LOAN = """
import json, math, nannyml
reference, current, _ = nannyml.load_synthetic_car_loan_dataset()
columns = [name for name in reference.columns if name not in ("id", "timestamp", "repaid")]
reference[columns].to_parquet("loans_reference.parquet"); current[columns].to_parquet("loans_current.parquet")
every = nannyml.UnivariateDriftCalculator(
    column_names=columns,
    continuous_methods=["jensen_shannon", "kolmogorov_smirnov", "wasserstein", "hellinger"],
    categorical_methods=["jensen_shannon", "chi2", "l_infinity", "hellinger"])
table = every.fit(reference).calculate(current).filter(period="analysis").to_df()
found = {}
for column, method, part in table.columns:
    if part == "value":
        found.setdefault(column, {})[method] = [float(value) for value in table[(column, method, part)]]
json.dump(found, open("loans.json", "w"))
"""


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for rows in SIZES:
            yield from _beside(root, rows)
        yield from _parity(root)
    yield from _accuracy()
    yield from _stored()


def table(rows: int, seed: int, *, moved: bool = False) -> pl.DataFrame:
    """Numbers of several shapes and text of several cardinalities; a few columns of the current table moved."""
    rng = np.random.default_rng(seed)
    draws = (
        rng.standard_normal,
        lambda size: rng.gamma(2.0, size=size),
        lambda size: rng.integers(0, 1000, size) * 1.0,
    )
    numbers = {f"n{i:02}": draws[i % 3](rows) + (0.2 if moved and i < 3 else 0.0) for i in range(NUMBERS)}
    texts = {f"t{i:02}": pl.Series(rng.integers(0, 5 * (i + 1), rows)).cast(pl.String) for i in range(TEXTS)}
    return pl.DataFrame({**numbers, **texts})


LAUNCHER = """
import json, os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
"""
"""A small process between this one and the one that is measured: a child begins with the peak of its parent."""


def spent(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and the peak of memory in MB of a process that must end well."""
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launched, cwd=folder, env=quiet, capture_output=True, text=True, check=True)
    status, cpu, memory = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise RuntimeError(done.stderr[-2000:])
    return cpu, memory


def _beside(root: Path, rows: int) -> Iterator[Figure]:
    table(rows, 1).write_parquet(root / "reference.parquet")
    table(rows, 2, moved=True).write_parquet(root / "current.parquet")
    runs = [spent([sys.executable, "-c", OURS], root) for _ in range(3)]
    cpu, memory = (statistics.median(part) for part in zip(*runs, strict=True))
    size = f"{rows:,} x {COLUMNS} against as many"
    yield Figure(f"drift report {size}: CPU", cpu, "s")
    yield Figure(f"drift report {size}: peak memory", memory, "MB")
    yield Figure(f"drift report {size}: page", (root / "ours.html").stat().st_size / 1000, "KB", 300)
    large = rows >= 1_000_000
    for name, script, limits in (
        ("Evidently", EVIDENTLY, (1 / 25, 1 / 25) if large else (1 / 10, 1 / 3)),
        ("NannyML", NANNYML, (1 / 5, 1 / 5) if large else (None, None)),
        ("whylogs", WHYLOGS, (None, None)),
    ):
        python = os.environ.get(f"MAINSPRING_{name.upper()}", "")
        if not python:
            continue
        their_cpu, their_memory = spent([python, "-c", script], root)
        yield Figure(f"{name}, {rows:,} rows: CPU", their_cpu, "s")
        yield Figure(f"{name}, {rows:,} rows: peak memory", their_memory, "MB")
        yield Figure(f"ours over {name}, {rows:,} rows: CPU", cpu / their_cpu, "x", limits[0])
        yield Figure(f"ours over {name}, {rows:,} rows: peak memory", memory / their_memory, "x", limits[1])


def _parity(root: Path) -> Iterator[Figure]:
    python = os.environ.get("MAINSPRING_NANNYML", "")
    if not python:
        return
    spent([python, "-c", CAR_LOAN], root)
    reference, current = (pl.read_parquet(root / f"loans_{name}.parquet") for name in ("reference", "current"))
    apart = 0.0
    for column, measures in json.loads((root / "loans.json").read_text()).items():
        ours = peer("nannyml").scores(reference[column], current[column])
        for name, values in measures.items():
            apart = max(apart, *(abs((mine or 0.0) - value) for mine, value in zip(ours[name], values, strict=True)))
    yield Figure("largest difference from NannyML on its car loans, chunk by chunk", apart, "", 1e-6)


def _accuracy() -> Iterator[Figure]:
    """Sketches beside the rows that were counted in them."""
    apart = {"ks": 0.0, "wasserstein": 0.0}
    reference, current = table(100_000, 1), table(100_000, 2, moved=True)
    for name in reference.columns[:NUMBERS]:
        before, now = (side[name].sort().to_numpy() for side in (reference, current))
        counted = learn_column(reference[name])
        window = count_column(current[name], counted.cells)
        every = np.sort(np.concatenate([before, now]))
        shares = [np.searchsorted(side, every, "right") / len(side) for side in (before, now)]
        gaps = np.abs(shares[0] - shares[1])
        exact = {"ks": gaps.max(), "wasserstein": float((gaps[:-1] * np.diff(every)).sum()) / before.std()}
        for method, value in exact.items():
            ours = compare(method, counted, window).value or 0.0
            apart[method] = max(apart[method], abs(ours - value))
    yield Figure(f"KS of sketches against rows, {NUMBERS} columns: largest difference", apart["ks"], "", 1e-3)
    yield Figure("normed Wasserstein of sketches against rows: largest difference", apart["wasserstein"], "", 1e-3)
    levels = pl.Series("level", np.random.default_rng(3).integers(0, 1000, 100_000)).cast(pl.String)
    rows = dict(levels.value_counts().iter_rows())
    wrong = sum(rows.get(level, 0) != seen for level, seen in learn_column(levels).levels().items())
    yield Figure(
        "levels of 1,000 whose rows are not counted exactly", wrong + 1000 - len(learn_column(levels).levels()), "", 0
    )


def _stored() -> Iterator[Figure]:
    reference = table(100_000, 1)
    grid = learn_grid(reference)
    before, now = (sketch(frame, grid) for frame in (reference, table(100_000, 2, moved=True)))
    yield Figure(
        f"compare stored sketches, {COLUMNS} columns: CPU", _cpu_ms(lambda: compare_sketches(before, now)), "ms", 10
    )
    hours = [sketch(part, grid) for part in reference.iter_slices(100_000 // HOURS)][:HOURS]
    yield Figure(f"merge {HOURS} hours x {COLUMNS} columns: CPU", _cpu_ms(lambda: Sketch.total(grid, hours)), "ms", 100)
    stored = [hour.to_bytes() for hour in hours]
    yield Figure(
        f"read {HOURS} stored hours x {COLUMNS} columns: CPU",
        _cpu_ms(lambda: [Sketch.from_bytes(data, grid) for data in stored]),
        "ms",
    )
    yield Figure("a column of a window of 100,000 rows", len(now.to_bytes()) / COLUMNS / 1000, "KB", 2)
    yield Figure(f"a column of an hour of {hours[0].rows} rows", len(hours[0].to_bytes()) / COLUMNS / 1000, "KB", 2)
    began = time.process_time()
    compare_tables(open_table(reference), open_table(reference))
    yield Figure("compare two frames of 100,000 x 50 in memory: CPU", time.process_time() - began, "s")


def _cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU time of nine calls, after one that is not counted."""
    found = []
    for _ in range(10):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return 1000 * statistics.median(found[1:])
