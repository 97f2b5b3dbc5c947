"""The Hellinger distance."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between
from mainspring.monitoring.rules.statistics.samples import divergence, samples

SAYS = "Hellinger distance, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.02
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """The root of half the squared distance of the roots of the shares.

    Source: Hellinger (1909); Pardo (2006) for the error of its square.
    """
    two = samples(reference, current)
    roots = np.sqrt(two.p), np.sqrt(two.q)
    value = float(np.square(roots[0] - roots[1]).sum() / 2)
    slopes = tuple(
        (1 - other / np.maximum(own, 1e-6)) / 2 for own, other in ((roots[0], roots[1]), (roots[1], roots[0]))
    )
    found = divergence(two, value, (slopes[0], slopes[1]), scale=1 / 8)
    low, high = (math.sqrt(end or 0.0) for end in (found.low, found.high))
    return between(min(1.0, math.sqrt(value)), low, high, found.p, most=1.0)
