"""The Jensen-Shannon distance."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between
from mainspring.monitoring.rules.statistics.samples import divergence, samples

SAYS = "Jensen-Shannon distance, base 2, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.02
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """The root of the divergence; its interval is the root of the interval of the divergence.

    Source: Lin (1991), Divergence measures based on the Shannon entropy; Endres, Schindelin (2003) for the distance.
    """
    two = samples(reference, current)
    half = (two.p + two.q) / 2
    slopes = tuple(np.log2(np.maximum(side, 1e-12) / half) / 2 for side in (two.p, two.q))
    value = max(0.0, float(two.p @ slopes[0] + two.q @ slopes[1]))
    found = divergence(two, value, (slopes[0], slopes[1]), scale=1 / (8 * math.log(2)))
    low, high = (math.sqrt(end or 0.0) for end in (found.low, found.high))
    return between(min(1.0, math.sqrt(value)), low, high, found.p, most=1.0)
