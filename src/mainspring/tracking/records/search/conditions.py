"""Filters as conditions. A comparison of what is missing is false and never null, so NOT needs no third value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mainspring.storage.matching import matches
from mainspring.storage.schema import Real
from mainspring.tracking.grammar.tree import And, Compare, Node, Not, Value
from mainspring.tracking.rules import split

Condition = sa.ColumnElement[bool]
_NOT_NAN = -1
"""The least `sort` of a value that compares with numbers; see `rules.split`."""


def condition(node: Node, leaf: Callable[[Compare], Condition]) -> Condition:
    """The condition of a filter, given that of a comparison."""
    if isinstance(node, Compare):
        return leaf(node)
    if isinstance(node, Not):
        return sa.not_(condition(node.part, leaf))
    parts = [condition(part, leaf) for part in node.parts]
    return sa.and_(sa.true(), *parts) if isinstance(node, And) else sa.or_(sa.false(), *parts)


def number_matches(sort: sa.ColumnElement[Any], value: sa.ColumnElement[Any], op: str, wanted: Value) -> Condition:
    """Whether a metric's value compares so with a number. NaN does only with `!=`."""
    assert isinstance(wanted, (int, float))
    number, kind = split(float(wanted))
    if op in ("=", "!="):
        same = sa.and_(sort == kind, value == number)
        return same if op == "=" else sa.not_(same)
    row, bound = sa.tuple_(sort, value), sa.tuple_(sa.literal(kind, sort.type), sa.literal(number, value.type))
    if op in (">", ">="):
        return row > bound if op == ">" else row >= bound
    return sa.and_(sort >= _NOT_NAN, row < bound if op == "<" else row <= bound)


@dataclass(frozen=True, slots=True)
class Known:
    """What an attribute is: a column, what its values are, and whether some rows have none."""

    column: sa.ColumnElement[Any]
    kind: type = str
    optional: bool = False

    def matches(self, asked: Compare, dialect: str) -> Condition:
        """Whether it compares so; a text counts as missing when it is empty."""
        if asked.op in ("IS NULL", "IS NOT NULL"):
            missing = self.column.is_(None) if self.optional else self.column == "" if self.kind is str else sa.false()
            return missing if asked.op == "IS NULL" else sa.not_(missing)
        column, value = self.column, asked.value
        if isinstance(value, float):
            whole = value.is_integer() and abs(value) < 2**63
            column, value = (column, int(value)) if whole else (sa.cast(column, Real), value)
        found = matches(column, asked.op, value, dialect)
        return sa.and_(column.is_not(None), found) if self.optional else found


def text_matches(
    keys: sa.FromClause, owner: sa.ColumnElement[Any], asked: Compare, dialect: str, *, also: tuple[Condition, ...] = ()
) -> Condition:
    """Whether something has a text of this key that compares so.

    Args:
        keys: The table of texts: owner, key, value.
        owner: The number whose texts these are.
        also: What else a text must be like.
    """
    mine = (keys.columns[0] == owner, keys.c.key == asked.field.key, *also)
    if asked.op in ("IS NULL", "IS NOT NULL"):
        there = sa.exists().where(*mine).correlate_except(keys)
        return sa.not_(there) if asked.op == "IS NULL" else there
    return sa.exists().where(*mine, matches(keys.c.value, asked.op, asked.value, dialect)).correlate_except(keys)
