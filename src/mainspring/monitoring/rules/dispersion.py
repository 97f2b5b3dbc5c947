"""How much ordinary days differ from each other: their moods, how long a mood lasts, and the season of the week.

All of it is learnt from the windows of the reference. What few windows cannot tell is taken from the other columns, as
far as these agree with each other, and what nobody can tell makes the tails of the test heavier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mainspring.core.clock import DAY_US
from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch, WindowSketch
from mainspring.monitoring.rules.moderation import opinions, stands_out

Floats = NDArray[np.float64]
REFERENCE_WINDOWS = 20
SAMPLING = 0.25
"""The largest variance that rows drawn independently give the share below any value, times their number."""
_MEAN_SQUARE = math.pi**2 / 12
_SUPREMUM = 0.8687
_BETWEEN_POINTS = 0.5826
_POINTS = 1024
_LEAST_SQUARE = 0.01
WEEK = 7
_REPEATS = 3
_SEASON_PAYS = 1.5
_LEAST_WINDOWS = 3
_UNKNOWN_DAY = 0.04**2
_UNKNOWN_MEMORY = 0.7
_MOST_MEMORY = 0.9
_HIDDEN_MEMORY = 0.5
_FEW_COLUMNS = 4
_MOODY = 2.0
_SPREAD_OF_ROWS = 0.4
"""Variance of n D^2 for independent rows, over its squared mean; that of moods is 2."""
_LEAST_FREEDOM = 6.0
_LEAST_TAIL = 0.5


@dataclass(frozen=True, slots=True)
class Usual:
    """How much the windows of each column differ although nothing changed; every array has the shape (columns,).

    Attributes:
        day: Variance of the distance that the mood of a single window gives.
        doubt: Standard deviation of that variance, as it is only estimated.
        memory: Correlation of the moods of windows that follow each other, in [0, 0.9].
        tail: Excess kurtosis of moods, 0 where they are normal.
        days: How many windows of one size the whole reference has, those without a sketch of their own too.
    """

    day: Floats
    doubt: Floats
    memory: Floats
    tail: Floats
    days: Floats

    def moods(self, windows: Floats | float) -> Floats:
        """The variance that a run of windows has beside the whole reference, in units of `day`."""
        return lasting(self.memory, windows) / windows + lasting(self.memory, self.days) / self.days

    def test(self, windows: Floats | float, effective: Floats) -> tuple[Floats, Floats, Floats]:
        """Variance of the distance of a run of windows from the reference, its degrees of freedom, and what share of it
        comes from moods.

        Args:
            windows: How many windows the run has, shape (columns,).
            effective: Its rows and those of the reference, as n m / (n + m), shape (columns,).
        Source: Welch (1947) and Satterthwaite (1946) for the degrees of freedom; those of the kurtosis are of the
            t-distribution that has it.
        """
        moods = self.moods(windows)
        whole = SAMPLING / effective + self.day * moods
        heavy = self.tail * (self.day * moods / whole) ** 2 * lasting(self.memory, windows) / windows
        unsure = (self.doubt * moods / whole) ** 2 / 2
        freedom = np.maximum(1 / (unsure + 1 / (4 + 6 / np.maximum(heavy, 1e-9))), _LEAST_FREEDOM)
        return whole, freedom, self.day * moods / whole

    def dispersion(self, rows: Floats | float) -> Floats:
        """How much more a window of so many rows varies than rows drawn independently, at least 1."""
        return np.asarray(1 + self.day * rows / _MEAN_SQUARE, np.float64)


def lasting(memory: Floats, windows: Floats | float) -> Floats:
    """How much more the sum of a run of moods varies than if each were drawn on its own, for an AR(1) of this memory.

    >>> lasting(np.array([0.0, 0.5]), 2.0)
    array([1. , 1.5])
    """
    gone = 1 - memory
    return np.asarray((1 + memory) / gone - 2 * memory * (1 - memory**windows) / (windows * gone**2), np.float64)


@dataclass(frozen=True, slots=True)
class Season:
    """The reference by days of the week: rows per cell on each of them, shape (7, cells)."""

    counts: Floats


def cells_of(column: ColumnSketch) -> Floats:
    """Rows of a column by cell, those of its values first, then the invalid and the null ones, shape (cells + 2,).

    Of a timestamp, which always moves on, only whether there is one.
    """
    counts = np.empty(len(column.counts) + 2)
    counts[:-2], counts[-2], counts[-1] = column.counts, column.invalid, column.nulls
    return counts if is_watched(column) else np.array([counts[:-2].sum(), counts[-2], counts[-1]])


def cumulated(columns: Sequence[Floats]) -> Floats:
    """Cells of columns, added up and brought to one width, shape (columns, widest column)."""
    width = max(map(len, columns), default=0)
    found = np.empty((len(columns), width))
    for row, cells in zip(found, columns, strict=True):
        np.cumsum(cells, out=row[: len(cells)])
        row[len(cells) :] = row[len(cells) - 1]
    return found


def is_watched(column: ColumnSketch) -> bool:
    """Whether values are watched for drift: those of a timestamp, which always moves on, only for being there."""
    return column.cells.kind != "timestamp"


@dataclass(frozen=True, slots=True)
class _Column:
    """What the windows of one column say, each against the others.

    Attributes:
        squares: n D^2 over what it is on average for independent rows; shape (windows,), 0 for one without rows.
        rows: Effective rows, shape (windows,).
        mean_square: What n D^2 is on average for independent rows.
        together: Products of the deviations of neighbours, shape (windows - 1,), NaN where there is a gap.
        own: Squares of the deviations, less what independent rows give, shape (windows,).
    """

    squares: Floats
    rows: Floats
    mean_square: float
    together: Floats
    own: Floats

    @property
    def dispersion(self) -> float:
        return float(self.squares.mean())


def learn(windows: Sequence[WindowSketch], rows: int) -> tuple[Usual, list[Season | None]]:
    """How windows of each column differ, and which columns go with the day of the week.

    Args:
        windows: Of the reference.
        rows: Of the whole reference.
    """
    columns = len(windows[0].sketch.columns) if windows else 0
    if len(windows) < _LEAST_WINDOWS:
        return unknown(columns), [None] * columns
    joined = np.array([a.end == b.start for a, b in pairwise(windows)])
    found, seasons = [], []
    weekday = _weekdays(windows)
    for at in range(columns):
        counts = np.stack([cells_of(window.sketch.columns[at]) for window in windows])
        column, season = _column(counts, counts.sum(0), joined), None
        if weekday is not None:
            totals = np.stack([counts[weekday == day].sum(0) for day in range(WEEK)])
            apart = _column(counts, totals[weekday], joined) if totals.sum(1).all() else column
            if apart.dispersion * _SEASON_PAYS < column.dispersion:
                column, season = apart, Season(totals)
        found.append(column)
        seasons.append(season)
    sizes = np.array([window.sketch.rows for window in windows], np.float64)
    size, even = float(sizes.mean()), float(sizes.mean() ** 2 / max(np.square(sizes).mean(), 1.0))
    usual = _pooled(found, max(1.0, even * max(len(windows), rows / max(size, 1))))
    days = np.array([usual.days[i] / (1 if one is None else WEEK) for i, one in enumerate(seasons)])
    return replace(usual, days=np.maximum(days, 1.0)), seasons


def unknown(columns: int) -> Usual:
    """Days that nothing is known of: they are taken to differ by a tenth of a standard deviation and to last."""
    same = np.ones(columns)
    day, memory = _UNKNOWN_DAY * same, _UNKNOWN_MEMORY * same
    return Usual(day, day * math.sqrt(2 / _LEAST_FREEDOM), memory, _LEAST_TAIL * same, same)


def _weekdays(windows: Sequence[WindowSketch]) -> NDArray[np.int64] | None:
    """The day of the week of each window; None before there are 3 weeks of single days."""
    if len(windows) < REFERENCE_WINDOWS or any(window.end - window.start != DAY_US for window in windows):
        return None
    weekday = np.array([window.start // DAY_US % WEEK for window in windows], np.int64)
    return weekday if np.bincount(weekday, minlength=WEEK).min() >= _REPEATS else None


def _column(counts: Floats, totals: Floats, joined: NDArray[np.bool_]) -> _Column:
    rows, others = counts.sum(1), totals - counts
    rest = others.sum(1)
    effective = rows * rest / np.maximum(rows + rest, 1)
    gaps = np.cumsum(counts / np.maximum(rows, 1)[:, None] - others / np.maximum(rest, 1)[:, None], axis=1)
    gaps *= (effective > 0)[:, None]
    mass = counts.sum(0) / max(counts.sum(), 1)
    below = np.cumsum(mass)
    mean_square = _mean_square(mass)
    noise = float(mass @ (below * (1 - below))) / np.maximum(effective, 1)
    together = np.where(joined, (gaps[:-1] * gaps[1:]) @ mass, np.nan)
    squares = effective * np.square(np.abs(gaps).max(1)) / mean_square
    return _Column(squares, effective, mean_square, together, np.square(gaps) @ mass - noise)


def _mean_square(mass: Floats) -> float:
    """The mean of n D^2 over cells of these shares, for independent rows: pi^2/12, and less where cells are few.

    Source: Siegmund (1985), Sequential analysis, chapter X, for the largest of a walk that is seen at `_POINTS` only.
    """
    paths = _bridges()
    at = np.unique(np.rint(np.cumsum(mass) * _POINTS).astype(np.int64).clip(0, _POINTS))
    fine = _MEAN_SQUARE * (1 - _BETWEEN_POINTS / math.sqrt(_POINTS) / _SUPREMUM) ** 2
    return max(fine * float((paths[:, at].max(1) ** 2).mean() / (paths.max(1) ** 2).mean()), _LEAST_SQUARE)


@cache
def _bridges() -> Floats:
    """Sizes of Brownian bridges at evenly spaced points, always the same ones, shape (paths, points + 1)."""
    steps = np.random.default_rng(0).normal(size=(400, _POINTS)) / math.sqrt(_POINTS)
    walk = np.cumsum(np.hstack([np.zeros((400, 1)), steps]), axis=1)
    return np.asarray(np.abs(walk - walk[:, -1:] * np.linspace(0, 1, _POINTS + 1)), np.float64)


def _pooled(found: Sequence[_Column], days: float) -> Usual:
    """Moods of all columns: each one's own estimate, drawn to what columns have in common as far as they agree.

    A column that stands out keeps its own, with the doubt of its own windows: the others are calmer than it is.

    Source: Smyth (2004), Linear models and empirical Bayes methods, section 4, for the variances.
    """
    squares = np.stack([column.squares for column in found])
    windows = squares.shape[1]
    dispersion = np.maximum(squares.mean(1), 1e-3)
    memory = _memory(found, windows)
    share = np.maximum(0.0, 1 - 1 / dispersion)
    repeats = 1 + share**2 * ((1 + memory**2) / (1 - memory**2) - 1)
    own = float((np.maximum(squares.var(1) / dispersion**2, _SPREAD_OF_ROWS) * repeats).mean()) / windows
    day_by_day = (squares / dispersion[:, None]).mean(0)
    common = float(day_by_day.var()) * float(repeats.mean()) / windows
    logs = np.log(dispersion)
    between = (
        max(0.0, float(logs.var()) - own * (1 + math.sqrt(2 / len(found)))) if len(found) >= _FEW_COLUMNS else math.inf
    )
    weight = 1.0 if math.isinf(between) else between / (between + own)
    apart = 0.0 if math.isinf(between) else (1 - weight) ** 2 * (common + between / len(found))
    middle = float(dispersion.mean())
    alone = stands_out(dispersion, middle, own)
    drawn = np.where(alone, dispersion, np.exp(weight * logs + (1 - weight) * math.log(middle)))
    luck = np.maximum(own, (_SPREAD_OF_ROWS + (2 - _SPREAD_OF_ROWS) * share) * repeats / windows)
    error = drawn * np.sqrt(np.where(alone, luck, weight * own + apart))
    shown = np.clip((drawn - 1) / error - 1, 0.0, 1.0)
    memory = shown * memory + (1 - shown) * np.minimum(memory, _HIDDEN_MEMORY)
    seen = (1 - 1 / windows) ** 2 / np.maximum(1 - lasting(memory, float(windows)) / windows, 0.1)
    unit = seen * np.array([column.mean_square / max(float(column.rows.mean()), 1) for column in found])
    day, doubt = unit * np.maximum(drawn - 1, error / 2), unit * error * shown
    return Usual(day, doubt, memory, _tail(squares, dispersion, drawn), days * np.ones(len(found)))


def _memory(found: Sequence[_Column], windows: int) -> Floats:
    """How moods follow each other: the correlation of neighbours, all columns together, with its bias and one error.

    Source: Kendall (1954), Note on bias in the estimation of autocorrelation.
    """
    same = np.ones(len(found))
    if windows < 2 * _LEAST_WINDOWS:
        return _UNKNOWN_MEMORY * same
    scale = np.array([float((column.own + 0.0).mean()) for column in found])
    noise = np.array([column.mean_square / max(float(column.rows.mean()), 1) for column in found]) / 5
    weight = 1 / np.maximum(np.abs(scale), noise)
    together = np.stack([column.together for column in found])
    pairs = np.nansum(together * weight[:, None], axis=0)[~np.isnan(together[0])]
    mass = float((scale * weight).sum())
    if len(pairs) < _LEAST_WINDOWS or mass <= 0:
        return _MOST_MEMORY * same
    seen = float(pairs.mean()) / mass
    error = float(pairs.std()) / math.sqrt(len(pairs)) / mass
    kept = 1 - 3 / windows
    return np.asarray(np.clip((seen + 1 / windows + error) / kept, 0.0, _MOST_MEMORY) * same, np.float64)


def _tail(squares: Floats, dispersion: Floats, drawn: Floats) -> Floats:
    """Excess kurtosis of the moods of each column: its own or that of all together, whichever is more, and an error.

    The error is that of as many columns as they count for: one, where they all have the same moods, and for a column
    that is not taken to have moods, of which nothing is known but its own windows.
    """
    windows = squares.shape[1]
    scaled = np.square(squares / dispersion[:, None]).mean(1) - 3
    moody = dispersion > _MOODY
    own = np.where(moody, scaled, 0.0)
    together = float(scaled[moody].mean()) if moody.any() else 0.0
    many = np.where(drawn > _MOODY, opinions(squares[moody]), 1.0)
    return np.asarray(np.maximum(own, max(0.0, together)) + np.sqrt(6 / windows / many), np.float64)
