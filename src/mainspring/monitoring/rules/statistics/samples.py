"""Two samples of a column as shares of the same few groups, and the error of a divergence between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, chi_squared_tail

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Shares of two samples over the same groups; groups that are empty in both are left out.

    Attributes:
        p: Shares of the reference, shape (groups,).
        q: Shares of the current rows, shape (groups,).
        n: Rows with a value in the reference.
        m: Rows with a value now.
        chosen: By how much the share of rare levels is expected to rise because the levels that have a group were
            chosen from the reference, where they happened to be frequent.
    """

    p: Floats
    q: Floats
    n: int
    m: int
    chosen: float = 0.0

    @property
    def tested(self) -> Floats:
        """The current shares with that expected rise of the rare levels, which come last, taken off for a test."""
        rise = min(self.chosen, max(0.0, float(self.q[-1] - self.p[-1])))
        if not rise or self.groups < 2:
            return self.q
        found = self.q * (1 + rise / max(1 - float(self.q[-1]), rise))
        found[-1] = self.q[-1] - rise
        return found

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.p)

    @property
    def spread(self) -> float:
        """1/n + 1/m: the variance of a difference of shares grows with it."""
        return 1 / self.n + 1 / self.m


def samples(reference: ColumnSketch, current: ColumnSketch) -> Samples:
    """Both samples over the groups of the grid: levels, values of a column of few, or ten stretches of numbers."""
    labels = reference.cells.groups
    before, now = (np.bincount(labels, column.counts) for column in (reference, current))
    filled = before + now > 0
    chosen = choice_of_levels(reference) if filled[-1] else 0.0
    return Samples(before[filled] / before.sum(), now[filled] / now.sum(), int(before.sum()), int(now.sum()), chosen)


def choice_of_levels(reference: ColumnSketch) -> float:
    """The share of rows that is expected to move from levels with a cell to those without, though nothing changed.

    Levels that were seen k times, k being the fewest that earned a cell, would by the same luck have been seen less
    often, and those seen k - 1 times more often: k f_k / n, f_k smoothed over a deviation.

    Source: Good (1953), The population frequencies of species, section 2.
    """
    counts = reference.counts[:-1]
    counts = counts[counts > 0]
    if reference.cells.kind != "categorical" or not len(counts):
        return 0.0
    if not reference.other:  # every level was kept, so what is missing is as frequent as what was seen once
        return int(np.count_nonzero(counts == 1)) / reference.present
    least = int(counts.min())
    width = math.ceil(math.sqrt(least))
    return least * int(np.count_nonzero(counts <= least + width)) / (width + 1) / reference.present


def divergence(two: Samples, value: float, slopes: tuple[Floats, Floats], *, scale: float) -> Estimate:
    """A divergence with its interval and p-value.

    A smooth divergence is `scale` times chi-squared over the effective rows: under no change with one degree of freedom
    a group, else non-central, whose variance 2 k + 4 lambda is the sum of that under no change and of what the delta
    method gives.

    Args:
        two: The samples.
        value: The divergence of their shares.
        slopes: How it grows with each share of the reference and of the current rows; finite.
        scale: Its value for each unit of the sum of squared changes of shares over the shares, near no change.
    Source: Pardo (2006), Statistical inference based on divergence measures, section 3.
    """
    freedom, unit = two.groups - 1, scale * two.spread
    at_null = 2 * freedom * unit * unit
    delta = _variance(two.p, slopes[0]) / two.n + _variance(two.q, slopes[1]) / two.m
    reach = Z95 * math.sqrt(at_null + delta)
    centre = value - freedom * unit
    return between(value, centre - reach, centre + reach, chi_squared_tail(value / unit, freedom))


def _variance(shares: Floats, slopes: Floats) -> float:
    mean = float(shares @ slopes)
    return max(0.0, float(shares @ np.square(slopes - mean)))
