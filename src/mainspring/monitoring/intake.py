"""From rows of the prediction log to what is counted: sketches per hour, answers that wait for labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.core.scores import score_cells
from mainspring.core.values import dataclass
from mainspring.data.sketch import Grid, Sketch
from mainspring.data.sketch.parts import sketch_parts
from mainspring.monitoring.records import Answer
from mainspring.monitoring.rules.budget import SERVICE_US
from mainspring.monitoring.rules.performance import MOST_AREAS, Outcomes
from mainspring.monitoring.rules.requests import CELLS_PER_OCTAVE, ServiceCounts
from mainspring.serving.log import after

Position = dict[str, int]
_ASKED = ("id", "request_id", "version", "at", "latency_us", "status")
BETWEEN = "\x1f"
"""Stands between the segments of a row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of the log that were not counted yet, the position after them, and whether they are all there were.

    `asked` has every row, answered or not, with how long it took and how it ended; `rows` those that were answered.
    """

    rows: pl.DataFrame
    asked: pl.DataFrame
    position: Position
    is_last: bool

    @property
    def watermark(self) -> int:
        """Latest event time, 0 without rows."""
        latest = self.rows["event"].max() if self.rows.height else 0
        return latest if isinstance(latest, int) else 0


def next_batch(log: pl.LazyFrame, position: Position, limit: int) -> Batch | None:
    """The next rows of the log after a position, at most `limit`; None when there are none.

    A row's place is its spool and its number in there. An event time more than a day ahead of the wall clock is a clock
    gone wrong and is not believed, so that one such row cannot close every window.
    """
    behind = log.filter(after(position))
    asked = behind.head(limit + 1).collect()
    is_last = asked.height <= limit
    if not is_last:  # which rows come first is only known once the places of all are
        places = behind.select("spool", "seq").collect().sort("spool", "seq").head(limit)
        asked = log.filter(_between(_seqs(places, "min"), _seqs(places, "max"))).collect()
    if not asked.height:
        return None
    reached = {**position, **_seqs(asked, "max")}
    rows = asked.filter(pl.col("status") < 400)
    event = pl.min_horizontal(pl.col("event_at"), pl.col("at") + DAY_US).clip(lower_bound=0)
    unique = rows.with_columns(event.alias("event")).unique("id", keep="first", maintain_order=True)
    return Batch(unique, asked.select(_ASKED), reached, is_last=is_last)


def _seqs(places: pl.DataFrame, which: Literal["min", "max"]) -> Position:
    """The least or the largest number of each spool."""
    seq = pl.col("seq").min() if which == "min" else pl.col("seq").max()
    return dict(places.group_by("spool").agg(seq).iter_rows())


def _between(first: Position, last: Position) -> pl.Expr:
    """Rows of each spool from one number to another."""
    return pl.any_horizontal(
        (pl.col("spool") == spool) & pl.col("seq").is_between(first[spool], last[spool]) for spool in first
    )


def with_segments(rows: pl.DataFrame, levels: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Rows with the column "segments": the segments each lies in, such as "carrier=AA", between `BETWEEN`.

    Args:
        rows: Of the log.
        levels: The levels that are counted of each column; all others are one segment, "carrier=(other)".
    """
    inputs = rows["inputs"].struct.unnest() if levels else pl.DataFrame()
    parts = [
        pl.when(inputs[name].is_null())
        .then(pl.lit(f"{name}=(missing)"))
        .when(inputs[name].cast(pl.String).is_in(list(known)))
        .then(pl.concat_str(pl.lit(f"{name}="), inputs[name].cast(pl.String)))
        .otherwise(pl.lit(f"{name}=(other)"))
        for name, known in levels.items()
        if name in inputs.columns
    ]
    return rows.with_columns((pl.concat_str(parts, separator=BETWEEN) if parts else pl.lit("")).alias("segments"))


def answers_of(rows: pl.DataFrame, parts: Mapping[int, str | None]) -> list[Answer]:
    """What was answered to each row, as much as a label needs.

    Args:
        rows: Of the log, with "segments".
        parts: For versions with a pack the input that tells the part of a row, "" where the request does.
    """
    labelled = pl.lit(value=False).alias("is_labelled")
    score = pl.coalesce("probability", "prediction", pl.col("probabilities").list.max())
    columns = rows.select(
        "id",
        "version",
        "event",
        score,
        pl.col("label_out").fill_null(""),
        labelled,
        "segments",
        *_of_packs(rows, parts),
        pl.lit(None, dtype=pl.Float64).alias("label"),
        class_cells(rows),
    )
    return [Answer(*values) for values in columns.iter_rows()]


def class_cells(rows: pl.DataFrame) -> pl.Series:
    """The cells of the probabilities of each row, two hexadecimal digits each; "" without, or with too many of them."""
    few = rows["probabilities"].list.len().is_between(2, MOST_AREAS).fill_null(value=False)
    if not few.any():
        return pl.Series("cells", [""] * rows.height, pl.String)
    kept = rows["probabilities"].filter(few)
    values = kept.explode().fill_null(0.0).fill_nan(0.0).to_numpy()
    digits, ends = score_cells(values).astype(np.uint8).tobytes().hex(), np.cumsum(kept.list.len().to_numpy()) * 2
    found = iter([digits[a:b] for a, b in pairwise([0, *ends.tolist()])])
    return pl.Series("cells", [next(found) if one else "" for one in few.to_list()], pl.String)


def _of_packs(rows: pl.DataFrame, parts: Mapping[int, str | None]) -> list[pl.Expr | pl.Series]:
    """The part and the interval of each row, where its version has a pack."""
    names = [field.name for field in rows.schema["inputs"].fields] if "inputs" in rows.columns else []  # type: ignore[attr-defined]
    mine: pl.Expr = pl.lit("")
    for version, column in parts.items():
        if column is not None:
            told = pl.col("inputs").struct.field(column).cast(pl.String) if column in names else pl.col("request_id")
            mine = pl.when(pl.col("version") == version).then(told.fill_null("")).otherwise(mine)
    held = pl.col("version").is_in([version for version, column in parts.items() if column is not None])
    bounds = [
        (pl.when(held).then(pl.col(name)) if name in rows.columns else pl.lit(None, dtype=pl.Float64)).alias(name)
        for name in ("low", "high")
    ]
    return [mine.alias("part"), *bounds]


def hours_of(rows: pl.DataFrame, grids: Mapping[int, Grid]) -> Iterator[tuple[int, int, Sketch]]:
    """The sketches of rows: (version, start of the hour, sketch). Without a grid only the rows are counted."""
    keyed = rows.select("version", (pl.col("event") - pl.col("event") % HOUR_US).alias("hour"), "inputs")
    for (version,), part in keyed.partition_by("version", as_dict=True, maintain_order=True).items():
        ordered = part.sort("hour", maintain_order=True)
        hours = ordered["hour"].to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist()]
        grid = grids.get(int(version), Grid(()))
        counted = sketch_parts(ordered["inputs"].struct.unnest(), grid, [*starts[1:], len(hours)])
        for start, one in zip(starts, counted, strict=True):
            yield int(version), int(hours[start]), one


def requests_of(asked: pl.DataFrame) -> dict[tuple[int, int], ServiceCounts]:
    """Requests by (version, first microsecond of their five minutes); a request of many rows counts once."""
    first = (pl.col("id") == pl.col("request_id")) | (pl.col("id") == pl.col("request_id") + ".0")
    rows = asked.filter(first).select(
        pl.col("version").fill_null(0),
        (pl.col("at") - pl.col("at") % SERVICE_US).alias("start"),
        latency_cells(pl.col("latency_us").fill_null(0)).alias("cell"),
        (pl.col("status") >= 500).alias("failed"),
        pl.col("status").is_between(400, 499).alias("refused"),
    )
    counted: dict[tuple[int, int], list[ServiceCounts]] = {}
    for version, start, cell, failed, refused, rows_ in rows.group_by(rows.columns).len().iter_rows():
        one = ServiceCounts(rows_, rows_ * failed, rows_ * refused, {int(cell): rows_})
        counted.setdefault((version, start), []).append(one)
    return {window: ServiceCounts.total(ones) for window, ones in counted.items()}


def latency_cells(micros: pl.Expr) -> pl.Expr:
    """As `latency_cell`, of a column."""
    return (micros.clip(lower_bound=1).log(2) * CELLS_PER_OCTAVE + 1e-9).floor().cast(pl.Int64)


def predicted_per_hour(rows: pl.DataFrame) -> dict[tuple[int, int, str], Outcomes]:
    """Predictions and their scores by (version, first microsecond of the hour, segment)."""
    chance = rows.select(pl.coalesce("probability", pl.col("probabilities").list.max())).to_series()
    known = chance.is_between(0.0, 1.0).fill_null(value=False)
    cells = pl.Series(score_cells(chance.fill_null(0.5).fill_nan(0.5).to_numpy()))
    hour = (pl.col("event") - pl.col("event") % HOUR_US).alias("hour")
    counted = rows.select("version", hour, "segments").with_columns(
        pl.when(known).then(cells).alias("cell"), pl.when(known).then(chance).alias("chance"), class_cells(rows)
    )
    parts = [counted.with_columns(segments=pl.lit(""))]
    if (rows["segments"] != "").any():
        parts.append(counted.with_columns(pl.col("segments").str.split(BETWEEN)).explode("segments"))
    keys = ["version", "hour", "segments"]
    every = pl.concat(parts)
    classed = _classed(every, keys)
    summed = every.group_by([*keys, "cell"]).agg(pl.len().alias("rows"), pl.col("chance").sum())
    found: dict[tuple[int, int, str], Outcomes] = {}
    for key, part in summed.partition_by(keys, as_dict=True, include_key=False).items():
        version, start, segment = key
        scored = {cell: [float(n), total] for cell, n, total in part.iter_rows() if cell is not None}
        found[int(version), int(start), str(segment)] = Outcomes(
            predictions=sum(part["rows"]), scored=scored, classed=classed.get(key, {})
        )
    return found


def _classed(counted: pl.DataFrame, keys: Sequence[str]) -> dict[tuple[object, ...], dict[int, dict[int, list[int]]]]:
    """Predictions by the keys of their rows, place of a class, and cell of its probability."""
    some = counted.filter(pl.col("cells") != "")
    if not some.height:
        return {}
    codes = np.frombuffer(bytes.fromhex("".join(some["cells"].to_list())), np.uint8)
    sizes = (some["cells"].str.len_bytes() // 2).to_numpy()
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    each = some.select(keys)[np.repeat(np.arange(some.height), sizes)].with_columns(
        place=pl.Series(place), cell=pl.Series(codes).cast(pl.Int64)
    )
    found: dict[tuple[object, ...], dict[int, dict[int, list[int]]]] = {}
    for version, hour, segment, at, cell, rows in each.group_by(each.columns).len().iter_rows():
        found.setdefault((version, hour, segment), {}).setdefault(at, {})[cell] = [rows, 0, 0]
    return found
