"""What counting predictions costs, and how soon a planted shift is an alarm: from the log of the model server on.

A turn of the loop moves the log to its table, counts it into sketches and judges what is over; a server takes one every
five seconds. Rows are written to the log as a worker writes them, so that what a request costs is not in it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from sklearn.linear_model import LinearRegression

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import spools
from tests.rooms.test_monitoring import START, House, build

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US
from mainspring.core.ids import new_id
from mainspring.serving import Feedback
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.sqlite import SqliteTables

ROWS, BATCH, NUMBERS, TEXTS = 100_000, 20_000, 8, 2
PER_SECOND = 10_000
EVERY_S = 5.0
NAMES = [*(f"n{i}" for i in range(NUMBERS)), *(f"t{i}" for i in range(TEXTS))]
KINDS = [(name, "float" if name[0] == "n" else "text") for name in NAMES]


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, calling(Caller(project="bench")):
        tables = SqliteTables(Path(folder) / "tables.db")
        tables.migrate()
        try:
            house = _watched(build(tables, Path(folder)))
            yield from _costs(house)
            yield from _shift(house)
        finally:
            tables.close()


def _costs(house: House) -> Iterator[Figure]:
    ids = _log(house, _rows(ROWS, 2), day=0, span_us=DAY_US)
    moved = _cpu(house.serving.compact)
    counted = _cpu(lambda: house.monitoring.observe("live"))
    judged = _cpu(lambda: house.monitoring.evaluate("live"))
    each = 1e6 / ROWS
    yield Figure("CPU of moving a prediction from the log to its table", moved * each, "us")
    yield Figure(f"CPU of counting a prediction of {len(NAMES)} columns", counted * each, "us")
    cores = (counted + judged) / ROWS * PER_SECOND
    yield Figure(
        f"cores for {PER_SECOND:,} predictions a second: sketched, kept for labels, judged", cores, "cores", 0.5
    )
    yield Figure("the same with moving them", cores + moved / ROWS * PER_SECOND, "cores")
    yield Figure("sketches only", _sketching(house), "cores")
    house.serving.feedback("live", [Feedback(name, 1.0) for name in ids[:20_000]])
    labels = _cpu(lambda: house.monitoring.observe("live"))
    yield Figure("CPU of counting a label", labels / 20_000 * 1e6, "us")


def _sketching(house: House) -> float:
    from mainspring.data.sketch import sketch

    grid = house.data.profile("known", 1).grid
    frame = _rows(ROWS, 3).select(NAMES)
    return _cpu(lambda: sketch(frame, grid)) / ROWS * PER_SECOND


def _shift(house: House) -> Iterator[Figure]:
    """A day that moved is logged, then a row of the next day, which ends the window; when is there an alarm?"""
    stop, found = threading.Event(), list[float]()

    def turn() -> None:
        with calling(Caller(project="bench")):
            while not stop.wait(EVERY_S):
                house.serving.compact()
                house.monitoring.observe("live")
                if house.monitoring.evaluate("live"):
                    found.append(time.monotonic())
                    return

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        _log(house, _rows(1_000, 4, shift=3.0), day=1, span_us=DAY_US)
        time.sleep(1.3 * EVERY_S)
        over = time.monotonic()
        _log(house, _rows(1, 5), day=2, span_us=DAY_US)
        turning.join(60)
    finally:
        stop.set()
        turning.join()
    waited = found[0] - over if found else float("inf")
    yield Figure("from the first row after a window that moved to its alarm, turns every 5 s", waited, "s", 10.0)


def _watched(house: House) -> House:
    rows = _rows(12_000, 1)
    at = pl.int_range(12_000, eager=True) * (20 * DAY_US // 12_000) + START - 20 * DAY_US
    made = house.data.ingest("known", rows.with_columns(at=at.cast(pl.Datetime("us"))))
    model = LinearRegression().fit(np.zeros((10, len(NAMES))), np.zeros(10))
    levels = {name: [f"l{i}" for i in range(8)] for name in NAMES[NUMBERS:]}
    house.registry.register(
        "late", model, example=rows.head(3), encoding=levels, reference=made.ref, metrics={"mae": 1}
    )
    house.serving.deploy("live", "late", 1)
    house.monitoring.watch("live")
    return house


def _rows(count: int, seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(shift, 1, count) for name in NAMES[:NUMBERS]}
    texts = {name: rng.choice([f"l{i}" for i in range(8)], count) for name in NAMES[NUMBERS:]}
    return pl.DataFrame({**numbers, **texts})


def _log(house: House, frame: pl.DataFrame, *, day: int, span_us: int) -> list[str]:
    spool, start = new_id(), START + day * DAY_US
    step = span_us // max(frame.height, 1)
    ids = [f"{spool}-{i}" for i in range(frame.height)]
    rows = [
        {"id": name, "request_id": name, "key": name, "inputs": row, "outputs": {"prediction": 0.2},
         "at": start + i * step, "event_at": start + i * step}
        for i, (name, row) in enumerate(zip(ids, frame.iter_rows(), strict=True))
    ]  # fmt: skip
    for begin in range(0, len(rows), BATCH):
        path = house.folder / "serving" / SPOOLS / f"{spool}{begin}.sqlite"
        spools.write(path, rows[begin : begin + BATCH], columns=KINDS)
    return ids


def _cpu(work: object) -> float:
    before = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - before
