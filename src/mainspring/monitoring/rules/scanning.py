"""The newest windows in runs of one to 28, each run beside the reference: how surprising is the most surprising one?

A change of which a single window says little is plain in a run of them, and a run tests the reference with its own
error. Every run has a test that holds on its own, so the tests of all runs, columns and days share the budget of false
alarms by addition (Boole), whatever hangs together among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch, Sketch, no_rows
from mainspring.monitoring.rules.dispersion import SAMPLING, cells_of, cumulated
from mainspring.monitoring.rules.drift import p_value
from mainspring.monitoring.rules.evidence import ODD_ROWS, WATCH_SHARE
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.windows import InputWindow

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
LONGEST = 28
_SAME_SIZE = 4
_ODD_WINDOWS = 0.001
"""How often a window of a column is odd."""
_SHORT = 8
_SINGLE_SHARE, _LONG_SHARE = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Stretch:
    """One window or several that follow each other.

    Attributes:
        start: First microsecond.
        end: First microsecond after it.
        windows: How many windows it holds.
        week: Rows of each column that still count, by day of the week, shape (columns, 7).
        squares: Squares of the rows of each column that still count, summed over the windows, shape (columns,).
        counts: Rows up to each cell, shape (columns, widest column); the last one is all rows.
        sketch: The same rows, where more is wanted of them than counts.
    """

    start: int
    end: int
    windows: int
    week: Floats
    squares: Floats
    counts: Floats
    sketch: Sketch | None = None

    @property
    def filled(self) -> Floats:
        """How many windows of one size would be as many moods, at least 1, shape (columns,).

        The mood of a window weighs as much as its rows: one of 1,000 rows and one of 100 are 1.2 windows, not 2.
        """
        return np.maximum(self.counts[:, -1] ** 2 / np.maximum(self.squares, 1.0), 1.0)

    def merge(self, later: Stretch) -> Stretch:
        """This stretch with the one after it."""
        both = self.sketch.merge(later.sketch) if self.sketch and later.sketch else None
        return Stretch(
            self.start,
            later.end,
            self.windows + later.windows,
            self.week + later.week,
            self.squares + later.squares,
            self.counts + later.counts,
            both,
        )

    def without(self, columns: Mask) -> Stretch:
        """The stretch with no rows of some columns."""
        kept = self.sketch
        if kept is not None:
            pairs = zip(kept.columns, columns, strict=True)
            kept = replace(kept, columns=tuple(no_rows(one.cells) if gone else one for one, gone in pairs))
        counts, week = (np.where(columns[:, None], 0.0, each) for each in (self.counts, self.week))
        return replace(self, week=week, squares=np.where(columns, 0.0, self.squares), counts=counts, sketch=kept)

    def less(self, part: Stretch) -> Stretch:
        """What is left of the stretch without a part of it, its sketch and its span unchanged."""
        return replace(
            self, week=self.week - part.week, squares=self.squares - part.squares, counts=self.counts - part.counts
        )


def stretch_of(window: InputWindow) -> Stretch:
    """A window as a stretch; of sums by cell only the total is kept."""
    slim = replace(window.sketch, columns=tuple(map(_slim, window.sketch.columns)))
    counts = counts_of(slim)
    rows, share = counts[:, -1], np.array(window.week) / max(sum(window.week), 1)
    return Stretch(window.start, window.end, 1, rows[:, None] * share, rows**2, counts, slim)


def counts_of(sketch: Sketch) -> Floats:
    """Rows up to each cell, shape (columns, widest column)."""
    return cumulated([cells_of(column) for column in sketch.columns])


def _slim(column: ColumnSketch) -> ColumnSketch:
    sums = np.zeros_like(column.sums)
    if len(sums):
        at = int(np.argmax(column.counts > 0))
        sums[at] = column.sums.sum() if column.counts[at] else 0.0
    return replace(column, sums=sums)


def extended(stretches: Sequence[Stretch], new: Stretch) -> list[Stretch]:
    """Stretches, oldest first, with one more window: at most four of a size, and 28 windows altogether.

    Of five of a size the two oldest become one, so that what is long ago is kept in long stretches.
    """
    kept, size = [*stretches, new], 1
    while len(same := [i for i, one in enumerate(kept) if size <= one.windows < 2 * size]) > _SAME_SIZE:
        first = same[0]
        kept[first : first + 2] = [kept[first].merge(kept[first + 1])]
        size *= 2
    while len(kept) > 1 and sum(one.windows for one in kept) > LONGEST:
        kept.pop(0)
    return kept


def _costs(stretches: Sequence[Stretch]) -> list[float]:
    """By what the p-value of each run is multiplied, shortest run first: all runs together cost as much as one test.

    What a single window can tell is plain anyway, and what takes weeks has time: most goes to runs of 2 to 7 windows.
    """
    sizes = np.cumsum([one.windows for one in reversed(stretches)])
    groups = [(sizes == 1, _SINGLE_SHARE), (sizes >= _SHORT, _LONG_SHARE)]
    middle = (sizes > 1) & (sizes < _SHORT)
    rest = 1 - sum(share for which, share in groups if which.any())
    costs = np.full(len(sizes), 1.0)
    for which, share in [*groups, (middle, rest if middle.any() else 0.0)]:
        costs[which] = which.sum() / max(share, _SINGLE_SHARE)
    return [float(cost) for cost in costs]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the runs say of each column; every array has the shape (columns,).

    Attributes:
        p: Least p-value of a run.
        evidence: What is held against the level: one over p times what the run costs.
        d: Distance of that run.
        change: Largest change of a single level in it.
        cell: The cell of that level.
        run: How many of the newest stretches it has, at least 1.
        rows: Its rows.
        is_odd: One window alone would be an alarm if it could not be merely an odd one.
        is_gone: None of the newest four runs says that anything changed.
    """

    p: Floats
    evidence: Floats
    d: Floats
    change: Floats
    cell: NDArray[np.int64]
    run: NDArray[np.int64]
    rows: Floats
    is_odd: Mask
    is_gone: Mask


@dataclass(frozen=True, slots=True)
class _Run:
    p: Floats
    plain: Floats
    d: Floats
    change: Floats
    cell: NDArray[np.int64]
    rows: Floats


@dataclass(frozen=True)
class Scan:
    """Judges runs of windows against a reference."""

    reference: Reference

    def judge(self, stretches: Sequence[Stretch], *, level: float, tolerance: float) -> Scanned:
        """The most surprising run that ends with the newest stretch, for each column.

        Args:
            stretches: Oldest first, at least one.
            level: What evidence must reach for an alarm.
            tolerance: A distance up to this is none.
        """
        runs: list[_Run] = []
        total: Stretch | None = None
        costs = _costs(stretches)
        for at in range(len(stretches) - 1, -1, -1):
            total = stretches[at] if total is None else stretches[at].merge(total)
            cost = costs[len(runs)]
            run = self._run(total, tolerance, odd_rows=ODD_ROWS if total.windows == 1 else 0.0)
            if total.windows > 1 and (run.p * cost * WATCH_SHARE * level <= 1).any():
                run = replace(
                    run, p=np.maximum(run.p, _ODD_WINDOWS * self._least_telling(total, stretches[at:], tolerance))
                )
            runs.append(run)
        p = np.stack([run.p for run in runs])
        paid = np.minimum(1.0, p * np.array(costs)[:, None])
        best, columns = paid.argmin(0), np.arange(p.shape[1])
        return Scanned(
            p=p[best, columns],
            evidence=1 / np.maximum(paid.min(0), 1e-300),
            d=np.stack([run.d for run in runs])[best, columns],
            change=np.stack([run.change for run in runs])[best, columns],
            cell=np.stack([run.cell for run in runs])[best, columns],
            run=best + 1,
            rows=np.stack([run.rows for run in runs])[best, columns],
            is_odd=(runs[0].plain * costs[0] * level <= 1) & (paid.min(0) * level > 1),
            is_gone=p[:_SAME_SIZE].min(0) * len(p[:_SAME_SIZE]) >= 1,
        )

    def _least_telling(self, total: Stretch, parts: Sequence[Stretch], tolerance: float) -> Floats:
        """The largest p-value of a run without one of its stretches."""
        rests = [self._run(total.less(part), tolerance).p for part in parts]
        return np.asarray(np.stack(rests).max(0), np.float64)

    def _run(self, run: Stretch, tolerance: float, odd_rows: float = 0.0) -> _Run:
        rows = run.counts[:, -1]
        shares, known = self.reference.expected(run.week)
        gaps = run.counts / np.maximum(rows, 1)[:, None] - shares
        d = np.minimum(np.abs(gaps).max(1), 1.0)
        effective = np.maximum(rows * known / np.maximum(rows + known, 1), 1.0)
        variance, freedom, moods = self.reference.usual.test(run.filled, effective)
        seen = (d > tolerance) & (rows > 0) & (known > 0)
        plain = np.where(seen, p_value(d, variance, freedom, moods), 1.0)
        p = np.where(seen, p_value(d - odd_rows, variance, freedom, moods), 1.0) if odd_rows else plain
        change, cell = np.zeros(len(d)), np.zeros(len(d), np.int64)
        at = np.flatnonzero(self.reference.levels)
        if len(at):
            single = np.abs(np.diff(gaps[at], axis=1, prepend=0.0))
            cell[at] = single.argmax(1)
            change[at] = single.max(1) * (rows[at] > 0)
            moved = np.maximum(change[at] - odd_rows, 0.0)
            wide = 4 * variance[at] - 3 * SAMPLING / effective[at]
            alone = np.where(
                change[at] > tolerance, self.reference.levels[at] * p_value(moved, wide, freedom[at], moods[at]), 1.0
            )
            p = p.copy()
            p[at] = np.minimum(1.0, 2 * np.minimum(p[at], alone))
        return _Run(p, plain, d, change, cell, rows)
