"""A grid, the sketch of the table it was learned from, and the sketches of that table's days."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from mainspring.core.errors import Corrupt
from mainspring.core.values import dataclass
from mainspring.data.sketch.counting import Sketch, count_made
from mainspring.data.sketch.derivation import Derivation, SeparateColumns
from mainspring.data.sketch.deriving import derive_reference, learn_derivations
from mainspring.data.sketch.grid import Grid, kind_of, learn_grid

DAY_US = 86_400_000_000
LEAST_ROWS = 200
MOST_WINDOWS = 96
_RUN = 8
_BLOCKS = 20
_MAGIC = b"MSP1"
_WINDOW = struct.Struct("<qqI")


@dataclass(frozen=True, eq=False)
class WindowSketch:
    """The sketch of a stretch of time.

    Attributes:
        start: First microsecond of the window, UTC.
        end: First microsecond after it. Both are 0 when rows were grouped by their order and not by time.
        sketch: Its rows.
    """

    start: int
    end: int
    sketch: Sketch


@dataclass(frozen=True, eq=False)
class Profile:
    """What a table looks like, and how much its days differ.

    Attributes:
        grid: The cells.
        sketch: All rows.
        windows: At most 96 days of at least 200 rows each, in runs of 8 when there are more, in order of time, with
            counts only. They tell how different ordinary days are.
    """

    grid: Grid
    sketch: Sketch
    windows: tuple[WindowSketch, ...] = ()

    @property
    def separate(self) -> tuple[str, ...]:
        """What numbered columns have in common that somebody said are no places of a vector."""
        return tuple(one.name for one in self.grid.derivations if isinstance(one, SeparateColumns))

    def to_bytes(self) -> bytes:
        """Bytes that `from_bytes` reads back; they hold the grid too."""
        parts = [_packed(self.grid.to_bytes()), _packed(self.sketch.to_bytes())]
        for window in self.windows:
            data = window.sketch.to_bytes()
            parts.append(_WINDOW.pack(window.start, window.end, len(data)) + data)
        return _MAGIC + b"".join(parts)

    @staticmethod
    def from_bytes(data: bytes) -> Profile:
        """Read a profile back.

        Raises:
            Corrupt: The bytes are not a profile.
        """
        if not data.startswith(_MAGIC):
            raise Corrupt("these bytes are not a profile", where=repr(data[:4]), hint="ingest the dataset again")
        grid_bytes, at = _unpacked(data, len(_MAGIC))
        sketch_bytes, at = _unpacked(data, at)
        grid = Grid.from_bytes(grid_bytes)
        windows = []
        while at < len(data):
            start, end, size = _WINDOW.unpack_from(data, at)
            at += _WINDOW.size + size
            windows.append(WindowSketch(start, end, Sketch.from_bytes(data[at - size : at], grid)))
        return Profile(grid, Sketch.from_bytes(sketch_bytes, grid), tuple(windows))


def _packed(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _unpacked(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", data, at)
    return data[at + 4 : at + 4 + size], at + 4 + size


def learn_profile(frame: pl.DataFrame, *, time_column: str | None = None, separate: Iterable[str] = ()) -> Profile:
    """Summarise a table, and its days when a column tells the time.

    Args:
        frame: The table.
        time_column: A date or datetime column. Without one, rows are grouped into 20 blocks by their order, which shows
            how much the table changes along the way when it was written in order of time, and nothing when it was
            shuffled.
        separate: What numbered columns have in common that are no places of a vector.
    Returns:
        The profile; `windows` is empty under 400 rows.
    """
    derivations = learn_derivations(frame, separate=separate)
    made = derive_reference(frame, derivations)
    wide = frame.with_columns(made.values())
    grid = _learn_grid(wide, derivations, made)
    timed = (
        time_column is not None and time_column in frame.columns and kind_of(frame[time_column].dtype) == "timestamp"
    )
    windows = _days(wide, str(time_column), grid) if timed else _blocks(wide, grid)
    return Profile(grid, count_made(wide, grid), windows)


def _learn_grid(wide: pl.DataFrame, derivations: tuple[Derivation, ...], made: Iterable[str]) -> Grid:
    """The cells of a table and of the columns that stand for its texts and vectors."""
    sources = {one.name for one in derivations}
    of = {name: source for name in made if (source := name.rpartition(": ")[0]) in sources}
    columns = [replace(one, source=of.get(one.name, "")) for one in learn_grid(wide).columns]
    return Grid(tuple(columns), derivations)


def _days(frame: pl.DataFrame, time_column: str, grid: Grid) -> tuple[WindowSketch, ...]:
    ordered = frame.drop_nulls(time_column).sort(time_column)
    if ordered.height < 2 * LEAST_ROWS:
        return ()
    at = ordered[time_column].cast(pl.Datetime("us")).to_physical().to_numpy()
    days, first = np.unique(at // DAY_US, return_index=True)
    spans = _spans(days, np.append(first, len(at)))
    if len(spans) > MOST_WINDOWS:
        starts = np.linspace(0, len(spans) - _RUN, MOST_WINDOWS // _RUN).astype(int)
        spans = [spans[i] for i in sorted({int(start) + step for start in starts for step in range(_RUN)})]
    return tuple(
        WindowSketch(
            int(start) * DAY_US, int(end) * DAY_US, _counts_only(count_made(ordered.slice(low, high - low), grid))
        )
        for start, end, low, high in spans
    )


def _counts_only(counted: Sketch) -> Sketch:
    columns = (replace(column, sums=np.zeros_like(column.sums), squares=0.0) for column in counted.columns)
    return replace(counted, columns=tuple(columns))


def _spans(
    days: np.ndarray[tuple[int], np.dtype[np.int64]], ends: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> list[tuple[int, int, int, int]]:
    """Runs of days of at least 200 rows: (first day, day after, first row, row after); a short rest is dropped."""
    spans = []
    begin = 0
    for i in range(len(days)):
        if ends[i + 1] - ends[begin] >= LEAST_ROWS:
            spans.append((int(days[begin]), int(days[i]) + 1, int(ends[begin]), int(ends[i + 1])))
            begin = i + 1
    return spans


def _blocks(frame: pl.DataFrame, grid: Grid) -> tuple[WindowSketch, ...]:
    blocks = min(_BLOCKS, frame.height // LEAST_ROWS)
    if blocks < 2:
        return ()
    bounds = np.linspace(0, frame.height, blocks + 1).astype(int)
    return tuple(
        WindowSketch(0, 0, _counts_only(count_made(frame.slice(int(low), int(high - low)), grid)))
        for low, high in pairwise(bounds)
    )
