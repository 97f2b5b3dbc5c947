"""The share of rows that moved, missing values among them: what the alarms of a monitor are about."""

from __future__ import annotations

import math

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.drift import distance, kolmogorov_survival
from mainspring.monitoring.rules.statistics.estimates import Estimate, between
from mainspring.monitoring.rules.statistics.l_infinity import one_group
from mainspring.monitoring.rules.statistics.samples import samples

SAYS = "share of rows that moved, missing values among them, 0 to 1"
SYMMETRIC = True
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical", "opaque"})
FLOOR = 0.02
ON_VALUES = False
_REACH = math.sqrt(math.log(2 / 0.025) / 2)


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Kolmogorov's distance over the cells and what is missing; for levels, the largest change of one if that is more.

    Times always move on, so of these only whether they are there is compared. Rows are taken as independent of each
    other; a monitor learns from the days of its reference how far that is wrong.

    Source: Massart (1990) for the interval, with as much again for a single level, which is a difference of two shares.
    """
    n, m = reference.rows, current.rows
    found = distance(reference, current)
    value = max(found.ks, found.change)
    reach = _REACH * (1 / math.sqrt(n) + 1 / math.sqrt(m)) * (2 if found.change > found.ks else 1)
    root = math.sqrt(n * m / (n + m))
    p = kolmogorov_survival((root + 0.12 + 0.11 / root) * found.ks)
    if reference.cells.kind == "categorical" and reference.present and current.present:
        p = min(1.0, 2 * min(p, one_group(samples(reference, current))))
    return between(value, value - reach, value + reach, p, most=1.0)
