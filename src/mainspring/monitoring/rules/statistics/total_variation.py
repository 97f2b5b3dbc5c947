"""Total variation: the share of rows that would have to move to another group."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between
from mainspring.monitoring.rules.statistics.samples import samples

SAYS = "share of rows that moved to another group, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.02
ON_VALUES = True
_REACH = math.log(2 / 0.05) / 2


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Interval and p-value hold for any number of rows: one row moves the value by at most its own share.

    Source: McDiarmid (1989), On the method of bounded differences, lemma 1.2.
    """
    two = samples(reference, current)
    value = min(1.0, float(np.abs(two.p - two.q).sum() / 2))
    pooled = (two.p * two.n + two.q * two.m) / (two.n + two.m)
    bias = float(np.sqrt(pooled * (1 - pooled) * two.spread).sum() / 2)
    reach = math.sqrt(_REACH * two.spread)
    p = math.exp(-2 * max(0.0, value - bias) ** 2 / two.spread)
    return between(value, value - bias - reach, value + reach, p, most=1.0)
