"""How much wider or narrower the values are spread."""

from __future__ import annotations

import math

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, normal_tail, not_estimable

SAYS = "logarithm of the ratio of standard deviations, now over before"
SYMMETRIC = False
KINDS = frozenset({"numeric", "boolean", "timestamp"})
FLOOR = 0.05
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """The error takes the kurtosis of each sample from its cells: heavy tails make a deviation uncertain.

    Source: Layard (1973), Robust large-sample tests for homogeneity of variances, section 2.
    """
    before, now = reference.deviation, current.deviation
    if before is None or now is None:
        return not_estimable("its values are not finite")
    if not before or not now:
        return not_estimable(f"every value of {'the current rows' if before else 'the reference'} is the same")
    value = math.log(now / before)
    error = math.sqrt(_variance(reference, before) + _variance(current, now))
    return between(value, value - Z95 * error, value + Z95 * error, normal_tail(value / error), least=-math.inf)


def _variance(column: ColumnSketch, deviation: float) -> float:
    """Of the logarithm of a standard deviation: (kurtosis - 1) / (4 rows)."""
    filled = column.counts > 0
    counts = column.counts[filled]
    centred = (column.sums[filled] / counts - (column.mean or 0.0)) / deviation
    kurtosis = float(counts @ centred**4) / column.present
    return max(kurtosis - 1, 0.5) / (4 * column.present)
