"""The L-infinity distance: the largest change of the share of a single group."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between
from mainspring.monitoring.rules.statistics.samples import Samples, samples

SAYS = "largest change of the share of one level or group, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.02
ON_VALUES = True
_FEW = 200


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Each group is tested; the least p-value is paid for by all of them (Bonferroni).

    The interval is Hoeffding's for every group at once.

    Source: Hoeffding (1963), theorem 1.
    """
    two = samples(reference, current)
    value = float(np.abs(two.p - two.q).max())
    reach = math.sqrt(math.log(2 * two.groups / 0.05) / 2 * two.spread)
    return between(value, value - reach, value + reach, one_group(two), most=1.0)


def one_group(two: Samples) -> float:
    """How likely it is that any share of a group changes by as much as the one that changed most.

    Given all rows of a group, those of now are hypergeometric. Of few rows they are nearly binomial, which is a little
    wider; of many they are nearly normal.

    Source: Fisher (1935), The logic of inductive inference, on tables of two by two.
    """
    from scipy.special import bdtr, bdtrc, erfc

    shares = two.tested
    before, now = two.p * two.n, np.round(shares * two.m)
    total, share = before + now, two.m / (two.n + two.m)
    pooled = total / (two.n + two.m)
    errors = np.sqrt(pooled * (1 - pooled) * two.spread)
    normal = np.where(errors > 0, erfc(np.abs(two.p - shares) / np.maximum(errors, 1e-300) / math.sqrt(2)), 1.0)
    few = total < _FEW
    rows, counts = np.round(total[few]).astype(np.int64), now[few]
    above = np.where(counts > 0, bdtrc(np.maximum(counts - 1, 0), rows, share), 1.0)
    normal[few] = 2 * np.minimum(above, bdtr(counts, rows, share))
    return min(1.0, two.groups * float(normal.min()))
