"""A drift report of two Parquet files, beside other tools: whole processes, from import to the finished report.

The other tools have environments of their own that variables name; one that is not there is left out.

    MAINSPRING_EVIDENTLY   its Python, with evidently==0.7.23, pandas<3 and pyarrow
    MAINSPRING_NANNYML     its Python, with nannyml==0.13.1

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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure, wall

from mainspring.data.sketch import Sketch, learn_grid, sketch
from mainspring.monitoring.reports import compare_tables, open_table
from mainspring.monitoring.reports.comparing import compare_sketches
from mainspring.monitoring.rules.parity import peer

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


def spent(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and the peak of memory in MB of a process that must end well."""
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
    quiet.pop("PYTHONPATH", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=quiet, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


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


def _stored() -> Iterator[Figure]:
    reference = table(100_000, 1)
    grid = learn_grid(reference)
    before, now = (sketch(frame, grid) for frame in (reference, table(100_000, 2, moved=True)))
    compared = wall(9, lambda: compare_sketches(before, now))
    yield Figure(f"compare stored sketches, {COLUMNS} columns", 1000 * statistics.median(compared), "ms", 10)
    hours = [sketch(part, grid) for part in reference.iter_slices(100_000 // HOURS)][:HOURS]
    merged = wall(5, lambda: Sketch.total(grid, hours))
    yield Figure(f"merge {HOURS} hours x {COLUMNS} columns", 1000 * statistics.median(merged), "ms", 100)
    yield Figure("a column of a window of 100,000 rows", len(now.to_bytes()) / COLUMNS / 1000, "KB", 2)
    yield Figure(f"a column of an hour of {hours[0].rows} rows", len(hours[0].to_bytes()) / COLUMNS / 1000, "KB", 2)
    began = time.process_time()
    compare_tables(open_table(reference), open_table(reference))
    yield Figure("compare two frames of 100,000 x 50 in memory: CPU", time.process_time() - began, "s")
