"""The population stability index."""

from __future__ import annotations

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate
from mainspring.monitoring.rules.statistics.samples import divergence, samples

SAYS = "population stability index over fixed groups, in nats"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical"})
FLOOR = 0.01
ON_VALUES = True
_LEAST_SHARE = 1e-4


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """A share below 1e-4 counts as that, so that an empty group does not give infinity.

    Source: The symmetric divergence J of Kullback and Leibler (1951), section 2, on shares.
    """
    two = samples(reference, current)
    p, q = (np.maximum(side, _LEAST_SHARE) for side in (two.p, two.q))
    ratio = np.log(p / q)
    value = max(0.0, float(((p - q) * ratio).sum()))
    return divergence(two, value, (ratio + 1 - q / p, 1 - p / q - ratio), scale=1.0)
