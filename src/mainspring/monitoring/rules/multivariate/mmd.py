"""Maximum mean discrepancy: how far the tables lie apart in the space of a Gaussian kernel."""

from __future__ import annotations

import numpy as np

from mainspring.monitoring.rules.multivariate.encoding import Floats
from mainspring.monitoring.rules.multivariate.energy import distances, permuted
from mainspring.monitoring.rules.statistics.estimates import Estimate

SAYS = "squared maximum mean discrepancy"
_MOST = 500


def measure(reference: Floats, current: Floats, *, seed: int) -> Estimate:
    """The kernel's width is the median distance between rows; 500 rows of each are drawn.

    Source: Gretton et al. (2012), A kernel two-sample test, sections 2 and 8; the null is that of permuted rows.
    """
    rng = np.random.default_rng(seed)
    drawn = [side[rng.permutation(len(side))[:_MOST]] for side in (reference, current)]
    apart = distances(np.vstack(drawn))
    middle = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    kernel = np.exp(-np.square(apart) / (2 * middle * middle))
    return permuted(kernel, len(drawn[0]), rng)
