"""How rows are dealt. The same rows and the same wish are always dealt alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.data.splits.model import HISTORY, TEST, SplitSpec

if TYPE_CHECKING:
    import polars as pl

Assignment = NDArray[np.uint8]
"""For each row the number of the fold that it validates, `TEST` or `HISTORY`; shape (rows,)."""
LEAST_OF_FOLD = 3
_TENTHS = 10


def assign(frame: pl.DataFrame, spec: SplitSpec) -> Assignment:
    """Deal the rows of a table.

    Args:
        frame: The rows; of its columns only `spec.column` matters.
        spec: The wish.
    Raises:
        Invalid: There are too few rows or groups, or the column is missing or has gaps where that is not possible.
    """
    least = LEAST_OF_FOLD * (spec.folds + (spec.test > 0))
    if frame.height < least:
        raise Invalid(
            f"{frame.height} rows are too few for {spec.folds} folds", where="split", hint=f"bring {least} rows or more"
        )
    if spec.column and spec.column not in frame.columns:
        hint = did_you_mean(spec.column, frame.columns) or "columns are " + ", ".join(frame.columns[:20])
        raise Invalid(f"no column {spec.column!r}", where="split column", hint=hint)
    ways = {"random": _random, "stratified": _stratified, "group": _grouped, "time": _by_time}
    return ways[spec.kind](frame, spec)


def part_names(folds: int) -> dict[int, str]:
    """The name of each part by its number in an assignment.

    >>> part_names(2)
    {0: 'test', 255: 'history', 1: 'fold-1', 2: 'fold-2'}
    """
    return {TEST: "test", HISTORY: "history", **{number: f"fold-{number}" for number in range(1, folds + 1)}}


def _random(frame: pl.DataFrame, spec: SplitSpec) -> Assignment:
    order = np.random.default_rng(spec.seed).permutation(frame.height)
    return _dealt([order], frame.height, spec)


def _stratified(frame: pl.DataFrame, spec: SplitSpec) -> Assignment:
    """Rows of one class after the other; where one class ends in the round of folds, the next goes on."""
    column = frame[spec.column]
    many = column.dtype.is_float() or (column.dtype.is_integer() and column.n_unique() > 2 * _TENTHS)
    codes = _tenths(column) if many else _codes(column)
    shuffled = np.random.default_rng(spec.seed).permutation(frame.height)
    ordered = shuffled[np.argsort(codes[shuffled], kind="stable")]
    borders = np.flatnonzero(np.diff(codes[ordered])) + 1
    return _dealt(np.split(ordered, borders), frame.height, spec)


def _dealt(strata: list[NDArray[np.intp]], rows: int, spec: SplitSpec) -> Assignment:
    found = np.empty(rows, dtype=np.uint8)
    owed, dealt = 0.0, 0
    for stratum in strata:
        owed += spec.test * len(stratum)
        sealed = round(owed)
        owed -= sealed
        found[stratum[:sealed]] = TEST
        rest = stratum[sealed:]
        found[rest] = 1 + (dealt + np.arange(len(rest))) % spec.folds
        dealt += len(rest)
    return found


def _grouped(frame: pl.DataFrame, spec: SplitSpec) -> Assignment:
    """The largest groups first, each to the part that lacks most of its share; groups of one size in drawn order."""
    codes = _codes(frame[spec.column])
    sizes = np.bincount(codes)
    least = spec.folds + (spec.test > 0)
    if len(sizes) < least:
        raise Invalid(
            f"{spec.column} has {len(sizes)} group{'s' * (len(sizes) != 1)}, {least} parts need one each",
            where="split column",
            hint=f"use fewer folds, or another column than {spec.column}",
        )
    drawn = np.random.default_rng(spec.seed).permutation(len(sizes))
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    sealed = spec.test * frame.height
    lacking = np.array([sealed] + [(frame.height - sealed) / spec.folds] * spec.folds)
    part_of = np.zeros(len(sizes), dtype=np.uint8)
    empty = [*range(0 if spec.test else 1, spec.folds + 1)]
    for place, group in enumerate(order):
        among = empty if len(order) - place <= len(empty) else [*range(0 if spec.test else 1, spec.folds + 1)]
        part = max(among, key=lambda number: lacking[number])
        part_of[group] = part
        lacking[part] -= sizes[group]
        empty = [number for number in empty if number != part]
    return part_of[codes]


def _by_time(frame: pl.DataFrame, spec: SplitSpec) -> Assignment:
    """Stretches of time, rows of one moment never parted: history, the folds, and what is sealed."""
    column = frame[spec.column]
    if not (column.dtype.is_temporal() or column.dtype.is_numeric()):
        hint = "a time column holds dates, times or numbers"
        raise Invalid(f"{spec.column} is {column.dtype}, which tells no time", where="split column", hint=hint)
    if column.null_count():
        hint = "leave these rows out, or split in another way"
        raise Invalid(f"{column.null_count()} rows have no {spec.column}", where="split column", hint=hint)
    ranks = column.rank("dense").to_numpy().astype(np.int64) - 1
    sizes = np.bincount(ranks)
    sealed = spec.test * frame.height
    stretch = (frame.height - sealed) / (spec.folds + 1)
    middle = np.cumsum(sizes) - sizes / 2
    parts = np.minimum(np.floor(middle / stretch), spec.folds + 1).astype(np.int64)
    if not spec.test:
        parts = np.minimum(parts, spec.folds)
    wanted = spec.folds + 1 + (spec.test > 0)
    if len(np.unique(parts)) < wanted:
        what = f"{spec.column} has {len(sizes)} moments, too few for {wanted} stretches"
        raise Invalid(what, where="split column", hint="use fewer folds, or another column")
    numbers: Assignment = np.array([HISTORY, *range(1, spec.folds + 1), TEST], dtype=np.uint8)
    found: Assignment = numbers[parts][ranks]
    return found


def _codes(column: pl.Series) -> NDArray[np.int64]:
    """The number of each row's value among the values in their order; rows without one are a value of their own."""
    found: NDArray[np.int64] = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return np.unique(found, return_inverse=True)[1]


def _tenths(column: pl.Series) -> NDArray[np.int64]:
    ranks = column.rank("ordinal").fill_null(0).to_numpy().astype(np.int64)
    tenths: NDArray[np.int64] = ranks * _TENTHS // (len(ranks) + 1)
    return tenths
