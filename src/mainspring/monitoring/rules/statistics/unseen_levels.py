"""How many more rows have a level without a cell: one the reference does not have, or hardly."""

from __future__ import annotations

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, between, difference_of_shares
from mainspring.monitoring.rules.statistics.samples import choice_of_levels

SAYS = "share of values whose level is outside the reference, now less before"
SYMMETRIC = False
KINDS = frozenset({"categorical"})
FLOOR = 0.01
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Identifiers have rare levels in the reference already; only more of them is news.

    The rise that comes of choosing the levels from the reference is taken off for the test.
    """
    rows = reference.present, current.present
    found = difference_of_shares(reference.other, rows[0], current.other, rows[1])
    rise = min(choice_of_levels(reference), max(0.0, found.value or 0.0))
    tested = difference_of_shares(reference.other, rows[0], current.other - rise * rows[1], rows[1])
    low, high = (min(found.low or 0.0, tested.low or 0.0), found.high or 0.0)
    return between(found.value or 0.0, low, high, tested.p, least=-1.0)
