"""What a turn of the loop costs in monitoring, for a day of a small deployment: the flights of the demo, 18 columns.

A day has about 950 predictions and as many labels; one turn counts and judges it, as in the demo, whose days pass in
about a second. CPU of the process, without what moving the log costs.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import spools
from tests.rooms.test_monitoring import House, build

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import SECOND_US
from mainspring.demo.flights import FEATURES, LABEL, TEXT, read_year
from mainspring.serving import Feedback
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.sqlite import SqliteTables

FIRST = datetime(2013, 4, 1, tzinfo=UTC).replace(tzinfo=None)
"""The flights before it are the training data."""
DAYS = 40
MOST_ROWS = 10_000
"""No day has as many."""
ASKED_US = 1_400_000_000_000_000
"""When the first day is asked about, long after it was: a day takes a second, as in the demo."""
WARM = 5
"""Days that are not measured: what is read once is read by then."""
KINDS = [(name, "text" if name in TEXT else "float") for name in FEATURES]


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, calling(Caller(project="bench")):
        tables = SqliteTables(Path(folder) / "tables.db")
        tables.migrate()
        try:
            yield from costs(build(tables, Path(folder)))
        finally:
            tables.close()


def costs(house: House) -> Iterator[Figure]:
    """Days of flights, each logged, then counted and judged."""
    year = read_year(before=FIRST + timedelta(days=DAYS))
    _watched(house, year.filter(pl.col("scheduled") < FIRST))
    days = year.filter(pl.col("scheduled") >= FIRST).with_columns(day=pl.col("scheduled").dt.date())
    observed, evaluated, rows = [], [], 0
    for at, part in enumerate(days.partition_by("day", maintain_order=True)):
        _log(house, part, at)
        observed.append(_cpu(lambda: house.monitoring.observe("live")))
        evaluated.append(_cpu(lambda: house.monitoring.evaluate("live")))
        rows += part.height
    each = 1e3 / (len(observed) - WARM)
    yield Figure("predictions of a day", rows / len(observed), "rows")
    yield Figure("CPU of counting a day: predictions and labels", sum(observed[WARM:]) * each, "ms")
    yield Figure("CPU of judging it", sum(evaluated[WARM:]) * each, "ms")
    yield Figure("both", (sum(observed[WARM:]) + sum(evaluated[WARM:])) * each, "ms")


def _watched(house: House, frame: pl.DataFrame) -> None:
    reference = frame.select(*FEATURES, "scheduled", pl.col(LABEL))
    made = house.data.ingest("flights", reference)
    model = LogisticRegression().fit(np.zeros((10, len(FEATURES))), np.arange(10) % 2)
    levels = {name: sorted(frame[name].drop_nulls().unique().to_list()) for name in TEXT}
    house.registry.register(
        "late",
        model,
        example=frame.select(FEATURES).drop_nulls().head(3),
        encoding=levels,
        reference=made.ref,
        metrics={"brier": 0.15},
    )
    house.serving.deploy("live", "late", 1)
    house.monitoring.watch("live")


def _log(house: House, day: pl.DataFrame, number: int) -> None:
    ids = [f"day{number}-{i}" for i in range(day.height)]
    times = day["scheduled"].cast(pl.Datetime("us")).to_physical().to_list()
    scores = (0.05 + 0.3 * day["departure_minute"] / 1440 + 0.1 * day["precip"].fill_null(0).clip(0, 1)).to_list()
    cells, asked = day.select(FEATURES).iter_rows(), ASKED_US + number * SECOND_US
    rows = [
        {"id": name, "request_id": name, "key": name, "inputs": list(row), "at": asked, "event_at": at,
         "outputs": {"probability": score, "label": 0}}
        for name, at, row, score in zip(ids, times, cells, scores, strict=True)
    ]  # fmt: skip
    path = house.folder / "serving" / SPOOLS / "worker.sqlite"
    spools.write(path, rows, columns=KINDS)
    with closing(sqlite3.connect(path)) as conn, conn:  # its rows follow those of the days before
        conn.execute("update prediction set seq = seq + ?", (number * MOST_ROWS,))
    house.serving.compact()
    known = [(name, late) for name, late in zip(ids, day[LABEL].to_list(), strict=True) if late is not None]
    house.serving.feedback("live", [Feedback(name, int(late)) for name, late in known])


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
