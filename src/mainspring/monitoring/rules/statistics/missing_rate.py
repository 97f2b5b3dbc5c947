"""How many more values are missing."""

from __future__ import annotations

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import Estimate, difference_of_shares

SAYS = "share of missing values, now less before"
SYMMETRIC = False
KINDS = frozenset({"numeric", "boolean", "timestamp", "categorical", "opaque"})
FLOOR = 0.02
ON_VALUES = False


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """Values that cannot be read as the kind of the column are missing too: no model can use them."""
    before, now = (column.nulls + column.invalid for column in (reference, current))
    return difference_of_shares(before, reference.rows, now, current.rows)
