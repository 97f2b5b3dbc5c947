"""Counting a table that comes in parts, such as the hours of a day: each column once, for all parts together.

A part of a few rows costs what its calls cost, a part for each hour and a call for each column of it. What is found is
what `sketch` finds of each part, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.values import dataclass
from mainspring.data.sketch.counting import ColumnSketch, Sketch, least_hashes, no_rows, total
from mainspring.data.sketch.derivation import SeparateColumns
from mainspring.data.sketch.deriving import derive
from mainspring.data.sketch.grid import Grid, GridColumn, floats, kind_of

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows that follow each other in parts.

    Attributes:
        ends: The row after each part, in order, shape (parts,).
    """

    ends: Sequence[int]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First row of each part, and the row after it."""
        return list(pairwise([0, *self.ends]))

    @cached_property
    def rows(self) -> Whole:
        """Rows of each part, shape (parts,)."""
        return np.asarray(np.diff(np.array(self.ends, np.int64), prepend=0), np.int64)

    @cached_property
    def of(self) -> Whole:
        """The part of each row, shape (rows,)."""
        return np.repeat(np.arange(len(self.ends)), self.rows)

    def count(self, rows: NDArray[np.bool_]) -> Whole:
        """In how many rows of each part something holds, shape (parts,)."""
        return np.bincount(self.of[rows], minlength=len(self.ends))


def sketch_parts(frame: pl.DataFrame, grid: Grid, ends: Sequence[int]) -> list[Sketch]:
    """The sketch of each part of a table.

    Args:
        frame: The table, the rows of a part beside each other.
        grid: The cells.
        ends: The row after each part, in order; the last one is the number of rows.

    >>> from mainspring.data.sketch import learn_grid
    >>> grid = learn_grid(pl.DataFrame({"x": [1.0, 2.0]}))
    >>> [part.rows for part in sketch_parts(pl.DataFrame({"x": [2.0, None, 1.0]}), grid, [1, 3])]
    [1, 2]
    """
    parts = Parts(ends)
    frame = _with_derived(frame, grid, parts)
    columns = [_count(frame, cells, parts) for cells in grid.columns]
    return [Sketch(grid, int(rows), tuple(one[at] for one in columns)) for at, rows in enumerate(parts.rows)]


def _with_derived(frame: pl.DataFrame, grid: Grid, parts: Parts) -> pl.DataFrame:
    """With the columns that stand for texts and vectors: made part by part, as a product of matrices is not the same to
    the last bit when it has other rows."""
    if all(isinstance(one, SeparateColumns) for one in grid.derivations):
        return frame
    made = [derive(frame.slice(begin, end - begin), grid.derivations) for begin, end in parts.spans]
    return frame.with_columns(pl.concat([one[name] for one in made]).alias(name) for name in (made[0] if made else ()))


def _count(frame: pl.DataFrame, cells: GridColumn, parts: Parts) -> list[ColumnSketch]:
    if cells.name not in frame.columns:
        return [no_rows(cells, nulls=0 if cells.source else rows) for rows in parts.rows.tolist()]
    column = frame[cells.name]
    absent = parts.count(column.is_null().to_numpy()) if column.null_count() else np.zeros_like(parts.rows)
    nulls = np.zeros_like(absent) if cells.source else absent
    if cells.kind == "opaque":
        pairs = zip((parts.rows - absent).tolist(), nulls.tolist(), strict=True)
        return [ColumnSketch(cells, np.array([present]), np.empty(0), gone) for present, gone in pairs]
    if kind_of(column.dtype) == "opaque":
        triples = zip(nulls.tolist(), (parts.rows - absent).tolist(), strict=True)
        return [replace(no_rows(cells, gone), invalid=unread) for gone, unread in triples]
    return (_count_numbers if cells.is_number else _count_levels)(column, cells, parts, nulls, parts.rows - absent)


def _count_numbers(
    column: pl.Series, cells: GridColumn, parts: Parts, nulls: Whole, present: Whole
) -> list[ColumnSketch]:
    read = floats(column)
    values = read.to_numpy()
    known = ~np.isnan(values)
    unread = read.null_count() - column.null_count()
    invalid = parts.count((read.is_null() & column.is_not_null()).to_numpy()) if unread else np.zeros_like(nulls)
    values, of = values[known] + 0.0, parts.of[known]  # no -0.0
    sizes = np.bincount(of, minlength=len(parts.rows))
    ends = np.cumsum(sizes)
    for begin, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        values[begin:end].sort()
    key = of * cells.cells + np.searchsorted(cells.edges, values)
    shape = (len(sizes), cells.cells)
    counts = np.bincount(key, minlength=math.prod(shape)).reshape(shape)
    finite = np.isfinite(values)
    sums, squared = np.zeros(math.prod(shape)), np.zeros(0)
    with np.errstate(over="ignore", invalid="ignore"):
        if len(values):
            starts = np.append(0, np.flatnonzero(key[1:] != key[:-1]) + 1)
            sums[key[starts]] = np.add.reduceat(values if finite.all() else np.where(finite, values, 0.0), starts)
            squared = np.square(values - cells.origin)
        firsts, lasts = ends - sizes, ends
        if not finite.all():
            firsts = firsts + np.bincount(of[values == -math.inf], minlength=len(sizes))
            lasts = lasts - np.bincount(of[values == math.inf], minlength=len(sizes))
        squares = [total(squared[first:last]) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    nulls = nulls + (present - invalid - sizes)  # NaN among them
    has, at = lasts > firsts, len(values) - 1
    least = np.where(has, values[np.minimum(firsts, at)], math.inf) if len(values) else np.full(len(has), math.inf)
    most = np.where(has, values[lasts - 1], -math.inf) if len(values) else np.full(len(has), -math.inf)
    each = zip(nulls.tolist(), invalid.tolist(), squares, least.tolist(), most.tolist(), strict=True)
    return [
        ColumnSketch(cells, mine, added, *rest)
        for mine, added, rest in zip(counts, sums.reshape(shape), each, strict=True)
    ]


def _count_levels(
    column: pl.Series, cells: GridColumn, parts: Parts, nulls: Whole, present: Whole
) -> list[ColumnSketch]:
    other, none = len(cells.levels), cells.cells
    place: dict[str | None, int] = {**{level: at for at, level in enumerate(cells.levels)}, None: none}
    levels = column.cast(pl.String).to_list()
    found = np.fromiter((place.get(level, other) for level in levels), np.int64, len(levels))
    shape = (len(parts.rows), cells.cells + 1)
    counts = np.bincount(parts.of * shape[1] + found, minlength=math.prod(shape)).reshape(shape)
    unseen: list[dict[str, int]] = [{} for _ in parts.rows]
    outside = np.flatnonzero(found == other)
    for part, row in zip(parts.of[outside].tolist(), outside.tolist(), strict=True):
        unseen[part][levels[row]] = unseen[part].get(levels[row], 0) + 1
    # a value that has no text is none
    gone = nulls + (counts[:, none] - (parts.rows - present))
    return [
        ColumnSketch(cells, mine, np.empty(0), rows, unseen=least_hashes(outside))
        for mine, rows, outside in zip(counts[:, :none], gone.tolist(), unseen, strict=True)
    ]
