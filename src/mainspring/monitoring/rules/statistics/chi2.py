"""The two-sample test of chi-squared: both samples are uncertain, neither is taken as the truth."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, chi_squared_tail
from mainspring.monitoring.rules.statistics.samples import Floats, Samples, samples

SAYS = "chi-squared of the two-sample table, rare levels pooled"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.0
ON_VALUES = True
_LEAST_EXPECTED = 5.0


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Groups of which fewer than 5 rows are expected in the smaller sample are pooled, rarest first.

    The interval is that of the non-centrality: what the statistic would be without sampling error.

    Source: Pearson (1900) and Cochran (1954), Some methods for strengthening the common chi-squared tests.
    """
    two = samples(reference, current)
    value, freedom = _statistic(two, two.q)
    tested = value if two.tested is two.q else _statistic(two, two.tested)[0]
    centre = max(0.0, value - freedom)
    reach = Z95 * math.sqrt(2 * freedom + 4 * centre)
    return between(value, centre - reach, centre + reach, chi_squared_tail(tested, freedom))


def _statistic(two: Samples, shares: Floats) -> tuple[float, int]:
    """The statistic and its degrees of freedom."""
    before, now = _pooled(two.p * two.n, shares * two.m)
    total = before + now
    expected = total * (two.n / (two.n + two.m)), total * (two.m / (two.n + two.m))
    value = float((np.square(before - expected[0]) / expected[0] + np.square(now - expected[1]) / expected[1]).sum())
    return value, len(total) - 1


def _pooled(before: Floats, now: Floats) -> tuple[Floats, Floats]:
    """The counts with rare groups joined to one that is not."""
    total = before + now
    least = total * min(before.sum(), now.sum()) / total.sum()
    order = np.argsort(total, kind="stable")
    rare = int(np.count_nonzero(least < _LEAST_EXPECTED))
    while 0 < rare < len(order) and least[order[:rare]].sum() < _LEAST_EXPECTED:
        rare += 1
    if rare < 2:
        return before, now
    joined, kept = order[:rare], np.sort(order[rare:])
    return np.append(before[kept], before[joined].sum()), np.append(now[kept], now[joined].sum())
