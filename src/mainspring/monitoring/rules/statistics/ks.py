"""Kolmogorov's distance: the largest gap between the shares of values up to a point."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.drift import kolmogorov_survival
from mainspring.monitoring.rules.statistics.estimates import Estimate, between

SAYS = "largest gap between the two distributions, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp"})
FLOOR = 0.02
ON_VALUES = True
_REACH = math.sqrt(math.log(2 / 0.025) / 2)


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Within 1e-3 of the distance of the rows: it is taken at the edges of the cells.

    The interval is that of Dvoretzky, Kiefer and Wolfowitz around each of the two, 97.5 % each, and holds for any
    distribution and any number of rows.

    Source: Massart (1990) for the interval; Stephens (1970), section 4, for the p-value.
    """
    n, m = reference.present, current.present
    gaps = np.cumsum(reference.counts) / n - np.cumsum(current.counts) / m
    value = min(1.0, float(np.abs(gaps).max()))
    reach = _REACH * (1 / math.sqrt(n) + 1 / math.sqrt(m))
    root = math.sqrt(n * m / (n + m))
    p = kolmogorov_survival((root + 0.12 + 0.11 / root) * value)
    return between(value, value - reach, value + reach, p, most=1.0)
