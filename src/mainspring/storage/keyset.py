"""Pages by where the last one ended: stable while rows come and go, and as fast for the last page as for the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa


class SortKey:
    """One column of an order that leaves no ties. It is never null.

    Args:
        column: What is sorted by.
        descending: From the greatest down.
    """

    def __init__(self, column: sa.ColumnElement[Any], *, descending: bool = False) -> None:
        self.column = column
        self.descending = descending

    def order(self) -> sa.UnaryExpression[Any]:
        """For ORDER BY."""
        return self.column.desc() if self.descending else self.column.asc()

    def beyond(self, value: object) -> sa.ColumnElement[bool]:
        """Whether a row comes strictly after those that have this value."""
        return self.column < value if self.descending else self.column > value


def following(keys: Sequence[SortKey], values: Sequence[object]) -> sa.ColumnElement[bool]:
    """Whether a row comes after the one whose sort keys have these values.

    The first comparison says nothing new: it is there for an index, which can't use alternatives.
    """
    condition: sa.ColumnElement[bool] = sa.false()
    for key, value in zip(reversed(keys), reversed(values), strict=True):
        condition = sa.or_(key.beyond(value), sa.and_(key.column == value, condition))
    first = 1
    while first < len(keys) and keys[first].descending == keys[0].descending:
        first += 1
    row, bound = sa.tuple_(*(key.column for key in keys[:first])), sa.tuple_(*values[:first])
    return sa.and_(row <= bound if keys[0].descending else row >= bound, condition)
