"""How many values lie beyond the least and the largest of the reference."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between, not_estimable, wilson

SAYS = "share of values outside the range of the reference"
SYMMETRIC = False
KINDS = frozenset({"numeric", "boolean", "timestamp"})
FLOOR = 0.01
ON_VALUES = True
_MOST_TERMS = 2000


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Cells wholly outside are counted, which is exact when the cells were learned from the reference.

    When nothing changed, the number outside is beta-binomial with 2 and n - 1, as the two ends of the reference are
    the ends of a sample.

    Source: Wilks (1941), Determination of sample sizes for setting tolerance limits.
    """
    if not math.isfinite(reference.least):
        return not_estimable("no finite values in the reference")
    edges = reference.cells.edges
    starts, ends = np.append(-math.inf, edges), np.append(edges, math.inf)
    beyond = (ends < reference.least) | (starts >= reference.most)
    outside = int(current.counts[beyond & (reference.counts == 0)].sum())  # an infinity is beyond, and was there
    rows = current.present
    low, high = wilson(outside, rows)
    return between(outside / rows, low, high, _tail(outside, rows, reference.present), most=1.0)


def _tail(outside: int, rows: int, reference_rows: int) -> float:
    if not outside or reference_rows < 2:  # a single value has no range
        return 1.0
    from scipy.special import betaincc, betaln

    last = reference_rows - 1
    if outside > _MOST_TERMS:
        return float(betaincc(2, last, outside / rows))
    k = np.arange(outside)
    choose = -np.log(rows + 1) - betaln(rows - k + 1, k + 1)
    return 1.0 - float(np.exp(choose + betaln(k + 2, rows - k + last) - betaln(2, last)).sum())
