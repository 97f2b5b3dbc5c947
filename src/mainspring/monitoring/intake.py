"""From rows of the prediction log to what is counted: sketches per hour, answers that wait for labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from mainspring.core.clock import DAY_US, HOUR_US, day_of
from mainspring.data.sketch import Grid, Sketch, sketch
from mainspring.monitoring.records import Answer
from mainspring.serving.log import after

Position = dict[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of the log that were not counted yet, the position after them, and whether they are all there were."""

    rows: pl.DataFrame
    position: Position
    is_last: bool

    @property
    def watermark(self) -> int:
        """Latest event time, 0 without rows."""
        latest = self.rows["event"].max() if self.rows.height else 0
        return latest if isinstance(latest, int) else 0


def next_batch(log: pl.LazyFrame, position: Position, limit: int) -> Batch | None:
    """The next rows of the log after a position, at most `limit`; None when there are none.

    A row's place is its spool and its number in there. Rows that were not answered are passed over. An event time more
    than a day ahead of the wall clock is a clock gone wrong and is not believed, so that one such row cannot close
    every window.
    """
    places = log.filter(after(position)).select("spool", "seq").collect().sort("spool", "seq").head(limit)
    if not places.height:
        return None
    ends = places.group_by("spool").agg(pl.col("seq").min().alias("first"), pl.col("seq").max().alias("last"))
    reached = {**position, **dict(ends.select("spool", "last").iter_rows())}
    parts = [(pl.col("spool") == spool) & pl.col("seq").is_between(*between) for spool, *between in ends.iter_rows()]
    rows = log.filter(pl.any_horizontal(parts) & (pl.col("status") < 400)).collect()
    event = pl.min_horizontal(pl.col("event_at"), pl.col("at") + DAY_US).clip(lower_bound=0)
    unique = rows.with_columns(event.alias("event")).unique("id", keep="first", maintain_order=True)
    return Batch(unique, reached, is_last=places.height < limit)


def answers_of(rows: pl.DataFrame) -> list[Answer]:
    """What was answered to each row, as much as a label needs."""
    score = pl.coalesce("probability", "prediction")
    columns = rows.select("id", "version", "event", score, pl.col("label_out").fill_null(""))
    return [Answer(*values) for values in columns.iter_rows()]


def hours_of(rows: pl.DataFrame, grids: Mapping[int, Grid]) -> Iterator[tuple[int, int, Sketch]]:
    """The sketches of rows: (version, start of the hour, sketch). Without a grid only the rows are counted."""
    keyed = rows.with_columns((pl.col("event") - pl.col("event") % HOUR_US).alias("hour"))
    for (version, hour), part in keyed.partition_by("version", "hour", as_dict=True, maintain_order=True).items():
        yield int(version), int(hour), sketch(part["inputs"].struct.unnest(), grids.get(int(version), Grid(())))


def predictions_per_day(rows: pl.DataFrame) -> dict[tuple[int, int], int]:
    """Rows by (version, first microsecond of the day)."""
    counted: dict[tuple[int, int], int] = {}
    for version, event in rows.select("version", "event").iter_rows():
        counted[version, day_of(event)] = counted.get((version, day_of(event)), 0) + 1
    return counted
