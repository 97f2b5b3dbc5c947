"""Comparisons of columns that mean the same on both databases: LIKE minds the case, ILIKE does not for A to Z."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]
Condition = sa.ColumnElement[bool]
_COMPARE: Mapping[str, Callable[[Column, Any], Condition]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "IN": lambda column, value: column.in_(value),
    "NOT IN": lambda column, value: column.not_in(value),
}
_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


def matches(column: Column, op: str, value: object, dialect: str) -> Condition:
    """Whether a column that is not null compares so with a value.

    Args:
        op: `= != < <= > >= IN`, `NOT IN`, or `LIKE`, `ILIKE` and `RLIKE`, all with `NOT` too; patterns know `%` and
            `_` and have no way to escape them. Those of `RLIKE` are regular expressions that both databases know.
        value: A sequence for `IN` and `NOT IN`.
        dialect: "sqlite" or "postgresql".
    """
    if op.startswith("NOT ") and "LIKE" in op:
        return sa.not_(matches(column, op.removeprefix("NOT "), value, dialect))
    if op == "RLIKE":
        if dialect == "sqlite":
            return column.op("REGEXP", is_comparison=True)(value)
        # By the database's own collation: compared by bytes, only A to Z would be letters.
        return sa.collate(column, "default").op("~", is_comparison=True)(sa.literal(str(value), sa.Text()))
    if op in ("LIKE", "ILIKE"):
        return _like(column, str(value), dialect, exact=op == "LIKE")
    return _COMPARE[op](column, value)


def bytewise(column: Column, dialect: str) -> Column:
    """The column, sorting by its bytes, as SQLite does anyway."""
    return column if dialect == "sqlite" else sa.collate(column, "C")


def _like(column: Column, pattern: str, dialect: str, *, exact: bool) -> Condition:
    if dialect == "sqlite":  # its LIKE never minds the case of A to Z, its GLOB always does
        return column.op("GLOB", is_comparison=True)(pattern.translate(_GLOB)) if exact else column.like(pattern)
    plain = pattern.replace("\\", "\\\\")  # Postgres takes a backslash for an escape
    return column.like(plain) if exact else sa.collate(column, "C").op("ILIKE", is_comparison=True)(plain)
