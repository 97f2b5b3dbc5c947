"""How many more rows have a level without a cell: one the reference does not have, or hardly."""

from __future__ import annotations

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, difference_of_shares

SAYS = "share of values whose level is outside the reference, now less before"
SYMMETRIC = False
KINDS = frozenset({"categorical"})
FLOOR = 0.01
ON_VALUES = True


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Identifiers have rare levels in the reference already; only more of them is news."""
    return difference_of_shares(reference.other, reference.present, current.other, current.present)
