"""Whether a column of a window differs from the reference by more than ordinary days differ from each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mainspring.data.sketch import ColumnSketch, WindowSketch

Floats = NDArray[np.float64]
TOLERANCE = 0.02
LEAST_ROWS = 200
REFERENCE_WINDOWS = 20
_MEAN_SQUARE = math.pi**2 / 12
_POOLED_MARGIN = 1.3
_BLOCKS = (1, 2, 4, 8)
_COMMON_ERROR = math.pi / math.sqrt(12)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart two windows of a column are.

    Attributes:
        ks: Kolmogorov distance over the cells in their order, then invalid, then null; in [0, 1].
        change: The largest change of the share of a single level, in [0, 1]; 0 for numbers.
        level: The level it is about; "" for numbers and for levels outside the reference.
    """

    ks: float
    change: float = 0.0
    level: str = ""


def shares(column: ColumnSketch) -> Floats:
    """Share of the rows in each cell, the invalid and the null ones last; shape (cells + 2,), zeros without rows."""
    counts = np.append(column.counts, [column.invalid, column.nulls]).astype(np.float64)
    return counts / max(column.rows, 1)


def is_watched(column: ColumnSketch) -> bool:
    """Whether values are watched for drift: those of a timestamp, which always moves on, only for being there."""
    return column.cells.kind != "timestamp"


def distance(reference: ColumnSketch, window: ColumnSketch) -> Distance:
    """The distance of a window from the reference; no values in either of them is no distance but for the nulls."""
    before, now = shares(reference), shares(window)
    if not is_watched(reference):
        before, now = (np.array([side[:-2].sum(), side[-2], side[-1]]) for side in (before, now))
    ks = float(np.abs(np.cumsum(before - now)).max()) if reference.rows and window.rows else 0.0
    if reference.cells.kind != "categorical" or not window.rows:
        return Distance(min(ks, 1.0))
    changes = np.abs(before - now)[: len(reference.counts)]
    at = int(changes.argmax())
    levels = reference.cells.levels
    return Distance(min(ks, 1.0), float(changes[at]), levels[at] if at < len(levels) else "")


def kolmogorov_survival(x: float) -> float:
    """P(K > x) for Kolmogorov's K.

    >>> round(kolmogorov_survival(1.358), 3)
    0.05
    """
    if x < 0.2:
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 9))))


def p_value(
    d: float, *, reference_rows: int, rows: int, dispersion: float, columns: int, tolerance: float = TOLERANCE
) -> float:
    """How surprising a distance is if at most `tolerance` of the rows moved and days differ as they did in the
    reference.

    Args:
        d: Kolmogorov distance of the window from the reference.
        reference_rows: Rows of the reference.
        rows: Rows of the window.
        dispersion: How much more windows vary than rows drawn independently, at least 1.
        columns: Columns that are watched, which share the risk of an unlucky reference.
    Returns:
        In [0, 1]. With a reference of under 10 windows' rows its own error, common to all windows, is bounded once for
        all of them.
    Source: Massart (1990) for the second branch. The error of an overdispersed reference is taken off the distance in
        both.

    >>> p_value(0.01, reference_rows=10_000, rows=1_000, dispersion=1.0, columns=50)
    1.0
    """
    if not rows or not reference_rows:
        return 1.0
    if reference_rows < 10 * rows:
        error = math.sqrt(dispersion * math.log(2 * max(columns, 1) / 0.01) / (2 * reference_rows))
        return min(1.0, 2 * math.exp(-2 * rows / dispersion * max(0.0, d - tolerance - error) ** 2))
    error = _COMMON_ERROR * math.sqrt(max(0.0, dispersion - 1.5) / reference_rows)
    effective = reference_rows * rows / (reference_rows + rows) / dispersion
    return kolmogorov_survival(max(0.0, d - tolerance - error) * math.sqrt(effective))


def level_p_value(
    change: float, *, reference_rows: int, rows: int, dispersion: float, levels: int, tolerance: float = TOLERANCE
) -> float:
    """How surprising the largest change of one of `levels` levels is, by Hoeffding's bound for each of them."""
    if not rows or not reference_rows:
        return 1.0
    effective = reference_rows * rows / (reference_rows + rows) / dispersion
    return min(1.0, 2 * levels * math.exp(-2 * effective * max(0.0, change - tolerance) ** 2))


def smallest_change(*, reference_rows: int, rows: int, dispersion: float, columns: int, level: float) -> float:
    """The least distance that raises an alarm in a single window; above 1 when none does."""
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        p = p_value(middle, reference_rows=reference_rows, rows=rows, dispersion=dispersion, columns=columns)
        low, high = (middle, high) if p * level**2 > 0.25 else (low, middle)
    return high


def dispersions(windows: Sequence[WindowSketch]) -> list[float]:
    """How much more windows vary than rows drawn independently, for each column.

    The mean of n D^2 over reference windows is pi^2/12 for independent rows, n the effective rows of a window against
    all others. The same is done for runs of 2, 4 and 8 consecutive windows and the largest is taken, so that days that
    follow each other in mood (storms, sales weeks) are not counted as independent. Few windows get a margin of 1 + 1.7
    / sqrt(windows); under 20 of them, columns are pooled, with a margin of 1.3.

    Returns:
        At least 1 for each column; empty without windows.
    """
    if len(windows) < 2:
        return [1.0] * len(windows[0].sketch.columns) if windows else []
    columns = range(len(windows[0].sketch.columns))
    pooled = len(windows) < REFERENCE_WINDOWS
    found = [_dispersion(windows, column, pooled=pooled) for column in columns]
    return [max(1.0, sum(found) / len(found))] * len(found) if pooled and found else [max(1.0, phi) for phi in found]


def _dispersion(windows: Sequence[WindowSketch], column: int, *, pooled: bool) -> float:
    parts = [window.sketch.columns[column] for window in windows]
    counts = np.array([np.append(part.counts, [part.invalid, part.nulls]) for part in parts], np.float64)
    if not is_watched(parts[0]):
        counts = np.stack([counts[:, :-2].sum(1), counts[:, -2], counts[:, -1]], axis=1)
    largest = 0.0
    for size in _BLOCKS:
        blocks = np.array([counts[low : low + size].sum(0) for low in _runs(windows, size)])
        if len(blocks) < (2 if size == 1 else 3):
            continue
        margin = _POOLED_MARGIN if pooled else 1 + 1.7 / math.sqrt(len(blocks))
        largest = max(largest, margin * _mean_statistic(blocks) / _MEAN_SQUARE)
    return largest


def _runs(windows: Sequence[WindowSketch], size: int) -> list[int]:
    """Where runs of `size` windows without a gap begin, not overlapping."""
    joined = [left.end == right.start for left, right in pairwise(windows)]
    starts, at = [], 0
    while at + size <= len(windows):
        whole = all(joined[at : at + size - 1])
        if whole:
            starts.append(at)
        at += size if whole else 1
    return starts


def _mean_statistic(blocks: Floats) -> float:
    total = blocks.sum(0)
    rows = blocks.sum(1)
    rest = rows.sum() - rows
    kept = (rows > 0) & (rest > 0)
    if not kept.any():
        return 0.0
    mine = np.cumsum(blocks[kept], axis=1) / rows[kept, None]
    others = np.cumsum(total - blocks[kept], axis=1) / rest[kept, None]
    effective = rows[kept] * rest[kept] / rows.sum()
    return float((effective * np.abs(mine - others).max(axis=1) ** 2).mean())


def which_columns(p_values: dict[str, float], effects: dict[str, float], *, rate: float = 0.01) -> list[str]:
    """The columns that moved, by Benjamini-Hochberg at `rate` and an effect above 0, largest effect first.

    Source: Benjamini, Hochberg (1995).

    >>> which_columns({"a": 0.0001, "b": 0.5, "c": 0.004}, {"a": 0.1, "b": 0.2, "c": 0.3})
    ['c', 'a']
    """
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    passed = [i for i, (_, p) in enumerate(ordered, start=1) if p <= rate * i / len(ordered)]
    chosen = [name for name, _ in ordered[: max(passed, default=0)] if effects[name] > 0]
    return sorted(chosen, key=lambda name: (-effects[name], name))
