"""Counting a table in the cells of a grid."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.errors import Conflict
from mainspring.core.values import dataclass
from mainspring.data.sketch.deriving import derive
from mainspring.data.sketch.grid import (
    Floats,
    Grid,
    GridColumn,
    kind_of,
    learn_cells,
    learn_grid,
    learn_levels,
    numbers,
    rows_of_levels,
)

Counts = NDArray[np.int64]
UNSEEN = 32
_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class ColumnSketch:
    """The rows of one column, counted.

    Attributes:
        cells: The cells of the column.
        counts: Rows per cell, shape (cells,).
        sums: Sum of the finite values per cell, shape (cells,); shape (0,) when values are not numbers.
        nulls: Rows without a value, NaN among them.
        invalid: Rows whose value the kind of the column cannot read.
        squares: Sum of squared distances of finite values from `cells.origin`.
        least: Smallest finite value; infinite when there is none.
        most: Largest finite value; minus infinite when there is none.
        unseen: Exact counts of at most 32 levels outside the grid, those of the smallest hash, so that merging stays
            exact.
    """

    cells: GridColumn
    counts: Counts
    sums: Floats
    nulls: int = 0
    invalid: int = 0
    squares: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    unseen: Mapping[str, int] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """Rows with a readable value."""
        return int(self.counts.sum())

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.nulls + self.invalid

    @property
    def other(self) -> int:
        """Rows whose level has no cell of its own; 0 for a column of numbers."""
        return int(self.counts[-1]) if self.cells.kind == "categorical" else 0

    @property
    def mean(self) -> float | None:
        """Mean of the values, or None when there is none or it is not finite."""
        return _finite(float(self.sums.sum()) / self.present) if self.cells.is_number and self.present else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the values (dividing by the rows), or None when there is none or it is not finite."""
        if self.mean is None or not math.isfinite(self.squares):
            return None
        return _finite(math.sqrt(max(0.0, self.squares / self.present - (self.mean - self.cells.origin) ** 2)))

    def quantile(self, share: float) -> float | None:
        """The upper edge of the cell in which this share of the values is reached; None without values."""
        if not self.cells.is_number or not math.isfinite(self.least):
            return None
        reached = np.searchsorted(np.cumsum(self.counts), share * self.present, side="left")
        edges = self.cells.edges
        edge = float(edges[reached]) if reached < len(edges) else self.most
        return min(max(edge, self.least), self.most)

    def levels(self) -> dict[str, int]:
        """Rows per level that has a cell, most frequent first; empty for a column of numbers."""
        counted = {level: int(n) for level, n in zip(self.cells.levels, self.counts, strict=False)}
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def merge(self, other: ColumnSketch) -> ColumnSketch:
        """The sketch of both sets of rows together."""
        unseen = {
            level: self.unseen.get(level, 0) + other.unseen.get(level, 0) for level in (*self.unseen, *other.unseen)
        }
        return ColumnSketch(
            self.cells,
            self.counts + other.counts,
            self.sums + other.sums,
            self.nulls + other.nulls,
            self.invalid + other.invalid,
            self.squares + other.squares,
            min(self.least, other.least),
            max(self.most, other.most),
            least_hashes(unseen),
        )


@dataclass(frozen=True, eq=False)
class Sketch:
    """The rows of a table, counted in the cells of a grid."""

    grid: Grid
    rows: int
    columns: tuple[ColumnSketch, ...]

    def column(self, name: str) -> ColumnSketch | None:
        """The counts of a column, or None when the grid has no such column."""
        return next((column for column in self.columns if column.cells.name == name), None)

    def merge(self, other: Sketch) -> Sketch:
        """The sketch of both sets of rows together.

        Raises:
            Conflict: The sketches were counted on different grids.
        """
        _refuse_other_cells(self.grid, other.grid)
        with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest number, as in one table
            columns = tuple(mine.merge(theirs) for mine, theirs in zip(self.columns, other.columns, strict=True))
        return Sketch(self.grid, self.rows + other.rows, columns)

    @staticmethod
    def empty(grid: Grid) -> Sketch:
        """The sketch of no rows."""
        return Sketch(grid, 0, tuple(no_rows(cells) for cells in grid.columns))

    @staticmethod
    def total(grid: Grid, parts: Iterable[Sketch]) -> Sketch:
        """The merge of any number of sketches, also none.

        Raises:
            Conflict: One of them was counted on another grid.
        """
        every = list(parts)
        for part in every:
            _refuse_other_cells(part.grid, grid)
        if not every:
            return Sketch.empty(grid)
        counts = _sum_of_each([[column.counts for column in part.columns] for part in every])
        sums = _sum_of_each([[column.sums for column in part.columns] for part in every])
        columns = zip(zip(*(part.columns for part in every), strict=True), counts, sums, strict=True)
        totals = tuple(_added(parts, mine.astype(np.int64), theirs) for parts, mine, theirs in columns)
        return Sketch(grid, sum(part.rows for part in every), totals)

    def to_bytes(self) -> bytes:
        """Compact bytes, about 1.3 KB for a column of numbers whose cells are all filled, less for few rows."""
        from mainspring.data.sketch.codec import encode

        return encode(self)

    @staticmethod
    def from_bytes(data: bytes, grid: Grid) -> Sketch:
        """Read a sketch back; counts are exact, sums keep seven digits.

        Raises:
            Corrupt: The bytes are not a sketch on this grid.
        """
        from mainspring.data.sketch.codec import decode

        return decode(data, grid)


def _refuse_other_cells(one: Grid, other: Grid) -> None:
    if one is not other and one.digest != other.digest:
        raise Conflict("these sketches have different cells", hint="sketch both tables on one grid before merging")


def _sum_of_each(rows: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """The sum over rows of each of their arrays; of hundreds of small arrays the calls cost."""
    total = np.concatenate(rows[0])
    with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest number, as in one table
        for row in rows[1:]:
            total += np.concatenate(row)
    return np.split(total, np.cumsum([len(array) for array in rows[0]])[:-1])


def _added(parts: Sequence[ColumnSketch], counts: Counts, sums: Floats) -> ColumnSketch:
    """The sketch of all rows of sketches of one column, at least one, whose counts and sums are added already."""
    unseen: dict[str, int] = {}
    for part in parts:
        if part.unseen:
            for level, rows in part.unseen.items():
                unseen[level] = unseen.get(level, 0) + rows
    return ColumnSketch(
        parts[0].cells,
        counts,
        sums,
        sum([part.nulls for part in parts]),
        sum([part.invalid for part in parts]),
        sum([part.squares for part in parts]),
        min([part.least for part in parts]),
        max([part.most for part in parts]),
        least_hashes(unseen),
    )


def sketch(frame: pl.DataFrame, grid: Grid) -> Sketch:
    """Count the rows of a table in the cells of a grid.

    Args:
        frame: Any table. Columns the grid does not know are left out; columns the table lacks count as null in every
            row.
        grid: The cells, from `learn_grid` on the reference.
    Returns:
        The sketch. Never raises on odd data: a value that cannot be read as the column's kind is counted as invalid.

    >>> from mainspring.data.sketch import learn_grid
    >>> grid = learn_grid(pl.DataFrame({"x": [1.0, 2.0]}))
    >>> sketch(pl.DataFrame({"x": [2.0, None, float("nan")]}), grid).columns[0].nulls
    2
    """
    made = derive(frame, grid.derivations)
    return count_made(frame.with_columns(made.values()) if made else frame, grid)


def count_made(frame: pl.DataFrame, grid: Grid) -> Sketch:
    """The same of a table that has the columns which stand for its texts and vectors already."""
    return Sketch(grid, frame.height, tuple(_count(frame, cells) for cells in grid.columns))


def _count(frame: pl.DataFrame, cells: GridColumn) -> ColumnSketch:
    if cells.name not in frame.columns:
        return no_rows(cells, nulls=0 if cells.source else frame.height)
    column = frame[cells.name]
    return count_column(column.drop_nulls() if cells.source else column, cells)


def learn_column(column: pl.Series) -> ColumnSketch:
    """The sketch of a column in the cells learned from it: both from one sort.

    >>> learn_column(pl.Series("x", [3.0, 1.0, None])).counts.tolist()
    [0, 1, 0, 1, 0]
    """
    kind = kind_of(column.dtype)
    if kind == "categorical":
        return learn_counted(column.name, rows_of_levels(column))
    if kind == "opaque":
        return count_column(column, learn_grid(column.to_frame()).columns[0])
    values, invalid = numbers(column)
    return _count_sorted(values, learn_cells(column.name, kind, values), column.len() - len(values) - invalid, invalid)


def learn_counted(name: str, counted: pl.DataFrame) -> ColumnSketch:
    """The sketch of a column of levels, in cells learned from it, by the rows of each level.

    Args:
        name: The column.
        counted: What `rows_of_levels` gives.
    """
    return count_counted(counted, GridColumn(name, "categorical", np.empty(0), learn_levels(counted)))


def count_column(column: pl.Series, cells: GridColumn) -> ColumnSketch:
    """The sketch of one column in given cells."""
    if cells.is_number:
        values, invalid = numbers(column)
        return _count_sorted(values, cells, column.len() - len(values) - invalid, invalid)
    if cells.kind == "categorical":
        return _count_levels(column, cells)
    return ColumnSketch(cells, np.array([column.len() - column.null_count()]), np.empty(0), column.null_count())


def no_rows(cells: GridColumn, nulls: int = 0) -> ColumnSketch:
    """The sketch of a column without values, `nulls` rows of it null."""
    sums = np.zeros(cells.cells if cells.is_number else 0)
    return ColumnSketch(cells, np.zeros(cells.cells, np.int64), sums, nulls)


def _count_sorted(values: Floats, cells: GridColumn, nulls: int, invalid: int) -> ColumnSketch:
    if not len(values):
        return ColumnSketch(cells, np.zeros(cells.cells, np.int64), np.zeros(cells.cells), nulls, invalid)
    ends = np.append(np.searchsorted(values, cells.edges, side="right"), len(values))
    counts = np.diff(ends, prepend=0).astype(np.int64)
    first, last = np.searchsorted(values, -math.inf, "right"), np.searchsorted(values, math.inf, "left")
    finite = values[first:last]
    with np.errstate(over="ignore"):
        parts = (finite[at : at + _AT_ONCE] - cells.origin for at in range(0, len(finite), _AT_ONCE))
        squares = float(sum(np.square(part, out=part).sum() for part in parts))
        sums = np.zeros(cells.cells)
        filled = counts > 0
        summed = values if len(finite) == len(values) else np.where(np.isfinite(values), values, 0.0)
        sums[filled] = np.add.reduceat(summed, (ends - counts)[filled])
    least, most = (float(finite[0]), float(finite[-1])) if len(finite) else (math.inf, -math.inf)
    return ColumnSketch(cells, counts, sums, nulls, invalid, squares, least, most)


def _count_levels(column: pl.Series, cells: GridColumn) -> ColumnSketch:
    if kind_of(column.dtype) == "opaque":
        nulls = column.null_count()
        return ColumnSketch(cells, np.zeros(cells.cells, np.int64), np.empty(0), nulls, column.len() - nulls)
    return count_counted(rows_of_levels(column), cells)


def count_counted(counted: pl.DataFrame, cells: GridColumn) -> ColumnSketch:
    """The sketch of a column of levels in given cells, by the rows of each level."""
    found: dict[str | None, int] = dict(zip(counted["level"].to_list(), counted["count"].to_list(), strict=True))
    nulls = found.pop(None, 0)
    known = [found.pop(level, 0) for level in cells.levels]
    counts = np.array([*known, sum(found.values())], np.int64)
    outside = {level: rows for level, rows in found.items() if level is not None}
    return ColumnSketch(cells, counts, np.empty(0), nulls, unseen=least_hashes(outside))


def total(squares: Floats) -> float:
    """The sum of squares, in the stretches in which `sketch` adds them."""
    if len(squares) <= _AT_ONCE:
        return float(squares.sum())
    return float(sum(squares[at : at + _AT_ONCE].sum() for at in range(0, len(squares), _AT_ONCE)))


def least_hashes(levels: dict[str, int]) -> dict[str, int]:
    """Rows of at most 32 levels: a sample that does not depend on how rows were split, as what is least among all is
    least in its part."""
    if len(levels) > UNSEEN:
        names = list(levels)
        hashes = np.fromiter(map(zlib.crc32, map(str.encode, names)), np.uint32, len(names))
        bar = np.partition(hashes, UNSEEN - 1)[UNSEEN - 1]  # a table of ids has a level for each row: few are sorted
        least = [(hashes[at], names[at]) for at in np.flatnonzero(hashes <= bar)]
        levels = {level: levels[level] for _, level in sorted(least)[:UNSEEN]}
    return dict(sorted(levels.items()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
