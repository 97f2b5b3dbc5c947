"""How far the mean moved, in standard deviations of the reference."""

from __future__ import annotations

import math

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, normal_tail, not_estimable

SAYS = "mean now less before, in standard deviations of the reference"
SYMMETRIC = False
KINDS = frozenset({"numeric", "boolean", "timestamp"})
FLOOR = 0.05
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Welch's test: each sample has its own variance.

    Source: Welch (1938), The significance of the difference between two means when the variances are unequal.
    """
    means, deviations = (reference.mean, current.mean), (reference.deviation, current.deviation)
    if means[0] is None or means[1] is None or deviations[0] is None or deviations[1] is None:
        return not_estimable("its values are not finite")
    if not deviations[0]:
        return not_estimable("every value of the reference is the same")
    value = (means[1] - means[0]) / deviations[0]
    error = math.sqrt(1 / reference.present + (deviations[1] / deviations[0]) ** 2 / current.present)
    reach = Z95 * error
    return between(value, value - reach, value + reach, normal_tail(value / error), least=-math.inf)
