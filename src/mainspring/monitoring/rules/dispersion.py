"""How much ordinary days differ from each other: overdispersion and the season of the week, from reference windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mainspring.core.clock import DAY_US
from mainspring.data.sketch import ColumnSketch, WindowSketch

Floats = NDArray[np.float64]
REFERENCE_WINDOWS = 20
_MEAN_SQUARE = math.pi**2 / 12
_POOLED_MARGIN = 1.3
_BLOCKS = (1, 2, 4, 8)
_WEEK = 7
_REPEATS = 3
_SEASON_PAYS = 1.5
_FEW_WINDOWS = 3
_FOLLOW = 1.1
_UNKNOWN_MOOD = 0.0039
"""With too few windows to learn from, the moods of days are taken to differ by a tenth of a standard deviation: so much
does the mean of n D^2 / (pi^2/12) grow with each row of a window."""


@dataclass(frozen=True, slots=True)
class Season:
    """The reference by days of the week.

    Attributes:
        counts: Rows per cell on each day of the week, shape (7, cells).
        dispersion: How much more windows vary around their day of the week than independent rows, at least 1.
    """

    counts: Floats
    dispersion: float

    def expected(self, start: int, end: int) -> tuple[Floats, int]:
        """The shares expected of rows of a stretch of time, shape (cells,), and how many rows they are known from."""
        days = range(start // DAY_US, max(-(-end // DAY_US), start // DAY_US + 1))
        weight = np.bincount([day % _WEEK for day in days], minlength=_WEEK) / len(days)
        rows = self.counts.sum(1)
        known = 1 / float((weight**2 / rows).sum())
        return np.asarray(weight @ (self.counts / rows[:, None]), np.float64), int(known)


def cells_of(column: ColumnSketch) -> Floats:
    """Rows of a column by cell, those of its values first, then the invalid and the null ones, shape (cells + 2,).

    Of a timestamp, which always moves on, only whether there is one.
    """
    counts = np.append(column.counts, [column.invalid, column.nulls]).astype(np.float64)
    return counts if is_watched(column) else np.array([counts[:-2].sum(), counts[-2], counts[-1]])


def is_watched(column: ColumnSketch) -> bool:
    """Whether values are watched for drift: those of a timestamp, which always moves on, only for being there."""
    return column.cells.kind != "timestamp"


def dispersions(windows: Sequence[WindowSketch]) -> list[float]:
    """How much more windows vary than rows drawn independently, for each column.

    The mean of n D^2 over reference windows is pi^2/12 for independent rows, n the effective rows of a window against
    all others. The same is done for runs of 2, 4 and 8 consecutive windows and the largest is taken, so that days that
    follow each other in mood (storms, sales weeks) are not counted as independent. Few windows get a margin of 1 + 1.7
    / sqrt(windows); under 20 of them, columns are pooled, with a margin of 1.3. Runs count where they vary more than
    single windows do even with their margin. From 20 windows on, the wildest of them counts too.

    Returns:
        At least 1 for each column; empty without windows.
    """
    if len(windows) < 2:
        return [1.0] * len(windows[0].sketch.columns) if windows else []
    columns = range(len(windows[0].sketch.columns))
    pooled = len(windows) < REFERENCE_WINDOWS
    found = [_dispersion(windows, column, pooled=pooled) for column in columns]
    return [max(1.0, sum(found) / len(found))] * len(found) if pooled and found else [max(1.0, phi) for phi in found]


def unlearnt(windows: int, rows: int) -> float:
    """The dispersion that windows of so many rows are given while the reference has too few days to learn it from.

    Args:
        windows: Of the reference.
        rows: Of the window that is judged.
    Returns: 1 from 3 reference windows on.
    """
    return 1.0 if windows >= _FEW_WINDOWS else 1.0 + _UNKNOWN_MOOD * rows


def seasons(windows: Sequence[WindowSketch], plain: Sequence[float]) -> list[Season | None]:
    """For each column the reference by days of the week, where that tells days much better than one for all.

    Args:
        windows: Of the reference.
        plain: The dispersion of each column around one reference for all days.
    Returns: None for a column without a season, and for all of them before there are 3 weeks of single days.
    """
    days = [window for window in windows if window.end - window.start == DAY_US]
    weekday = np.array([window.start // DAY_US % _WEEK for window in days], np.int64)
    nothing: list[Season | None] = [None] * len(plain)
    if len(days) < len(windows) or len(days) < REFERENCE_WINDOWS:
        return nothing
    if np.bincount(weekday, minlength=_WEEK).min() < _REPEATS:
        return nothing
    return [_season(days, weekday, column, phi) for column, phi in enumerate(plain)]


def _season(days: Sequence[WindowSketch], weekday: NDArray[np.int64], column: int, plain: float) -> Season | None:
    counts = np.stack([cells_of(window.sketch.columns[column]) for window in days])
    totals = np.stack([counts[weekday == day].sum(0) for day in range(_WEEK)])
    if not totals.sum(1).all():
        return None
    phi = max(1.0, _seasonal_dispersion(days, counts, totals, weekday))
    return Season(totals, phi) if phi * _SEASON_PAYS < plain else None


def _seasonal_dispersion(
    days: Sequence[WindowSketch], counts: Floats, totals: Floats, weekday: NDArray[np.int64]
) -> float:
    """As `dispersions`, each window against the others of its day of the week."""
    rows, others = counts.sum(1), totals[weekday] - counts
    rest = others.sum(1)
    kept = (rows > 0) & (rest > 0)
    expected = np.cumsum(others, axis=1) / np.maximum(rest, 1)[:, None] * rows[:, None]
    seen = np.cumsum(counts, axis=1)
    largest = 0.0
    for size in _BLOCKS:
        runs = [low for low in _runs(days, size) if kept[low : low + size].all()]
        if len(runs) < (2 if size == 1 else 3):
            continue
        block = [slice(low, low + size) for low in runs]
        mine = np.array([rows[part].sum() for part in block])
        spread = np.array([(rows[part] ** 2 / rest[part]).sum() for part in block]) / mine**2
        gap = np.array([np.abs((seen[part] - expected[part]).sum(0)).max() for part in block]) / mine
        statistics = gap**2 / (1 / mine + spread)
        largest = _larger(largest, float(statistics.mean()) / _MEAN_SQUARE, _margin(size, len(runs)))
        largest = max(largest, _wildest(statistics)) if size == 1 else largest
    return largest


def _dispersion(windows: Sequence[WindowSketch], column: int, *, pooled: bool) -> float:
    counts = np.stack([cells_of(window.sketch.columns[column]) for window in windows])
    largest = 0.0
    for size in _BLOCKS:
        blocks = np.array([counts[low : low + size].sum(0) for low in _runs(windows, size)])
        if len(blocks) < (2 if size == 1 else 3):
            continue
        margin = _margin(size, len(blocks)) if not pooled else _POOLED_MARGIN
        statistics = _statistics(blocks)
        largest = _larger(largest, float(statistics.mean()) / _MEAN_SQUARE, margin)
        largest = max(largest, _wildest(statistics)) if size == 1 and not pooled else largest
    return largest


def _wildest(statistics: Floats) -> float:
    """The dispersion that makes the most different window of the reference one that is met in ten such references.

    The mean says little of days of which most are alike and a few are storms.
    """
    return float(statistics.max()) / (math.log(20 * (len(statistics) + 1)) / 2)


def _margin(size: int, blocks: int) -> float:
    """Few windows may have been alike by chance, and few runs of them more so."""
    return 1 + (1.7 if size == 1 else 2.5) / math.sqrt(blocks)


def _larger(before: float, found: float, margin: float) -> float:
    """The dispersion after runs of another length: theirs where they say that days follow each other, else as before.

    Of a few long runs the margin alone would be more than what single windows say.
    """
    return max(before, margin * found) if found > _FOLLOW * before or not before else before


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


def _statistics(blocks: Floats) -> Floats:
    """n D^2 of each block against all others, n the effective rows; zero for a block without rows."""
    total = blocks.sum(0)
    rows = blocks.sum(1)
    rest = rows.sum() - rows
    kept = (rows > 0) & (rest > 0)
    if not kept.any():
        return np.zeros(1)
    mine = np.cumsum(blocks[kept], axis=1) / rows[kept, None]
    others = np.cumsum(total - blocks[kept], axis=1) / rest[kept, None]
    effective = rows[kept] * rest[kept] / rows.sum()
    return np.asarray(effective * np.abs(mine - others).max(axis=1) ** 2, np.float64)
