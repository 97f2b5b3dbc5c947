"""The L-infinity distance: the largest change of the share of a single group."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between, normal_tail
from mainspring.monitoring.rules.statistics.samples import samples

SAYS = "largest change of the share of one level or group, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.02
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Each group is tested by its z; the least p-value is paid for by all of them (Bonferroni).

    The interval is Hoeffding's for every group at once.

    Source: Hoeffding (1963), theorem 1.
    """
    two = samples(reference, current)
    changes = np.abs(two.p - two.q)
    value = float(changes.max())
    pooled = (two.p * two.n + two.q * two.m) / (two.n + two.m)
    errors = np.sqrt(pooled * (1 - pooled) * two.spread)
    most = float((changes[errors > 0] / errors[errors > 0]).max(initial=0.0))
    reach = math.sqrt(math.log(2 * two.groups / 0.05) / 2 * two.spread)
    return between(value, value - reach, value + reach, two.groups * normal_tail(most), most=1.0)
