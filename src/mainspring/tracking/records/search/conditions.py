"""Filters as conditions. A comparison of what is missing is false and never null, so NOT needs no third value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from mainspring.core.values import dataclass
from mainspring.storage.matching import matches
from mainspring.storage.schema import Real
from mainspring.tracking.grammar.tree import And, Compare, Node, Not, Value
from mainspring.tracking.rules import split

Condition = sa.ColumnElement[bool]
RANGES = ("=", "<", "<=", ">", ">=")
"""Comparisons that let through what lies together in an index."""
_NOT_NAN = -1
"""The least `sort` of a value that compares with numbers; see `rules.split`."""


Every = Callable[[Sequence[Node], Callable[[Node], Condition]], Iterable[Condition]]


def condition(node: Node, leaf: Callable[[Compare], Condition], every: Every | None = None) -> Condition:
    """The condition of a filter, given that of a comparison.

    Args:
        every: The conditions of parts joined by AND, where some of them are about one thing; takes the parts and what
            makes a condition of each.
    """
    if isinstance(node, Compare):
        return leaf(node)
    if isinstance(node, Not):
        return sa.not_(condition(node.part, leaf, every))
    down = partial(condition, leaf=leaf, every=every)
    parts = every(node.parts, down) if every and isinstance(node, And) else map(down, node.parts)
    return sa.and_(sa.true(), *parts) if isinstance(node, And) else sa.or_(sa.false(), *parts)


def number_matches(
    sort: sa.ColumnElement[Any], value: sa.ColumnElement[Any], op: str, wanted: Value, *, ranged: bool = False
) -> Condition:
    """Whether a metric's value compares so with a number. NaN does only with `!=`.

    Args:
        ranged: As a range that an index over `sort` and `value` can be read by; else no index is tempted.
    """
    assert isinstance(wanted, (int, float))
    number, kind = split(float(wanted))
    if op in ("=", "!="):
        same = sa.and_(sort == kind, value == number)
        return same if op == "=" else sa.not_(same)
    if not ranged:
        beyond = sa.or_(sort > kind, sa.and_(sort == kind, value > number))
        below = sa.and_(sort >= _NOT_NAN, sa.or_(sort < kind, sa.and_(sort == kind, value < number)))
        found = beyond if op in (">", ">=") else below
        return sa.or_(found, sa.and_(sort == kind, value == number)) if "=" in op else found
    row, bound = sa.tuple_(sort, value), sa.tuple_(sa.literal(kind, sort.type), sa.literal(number, value.type))
    if op in (">", ">="):
        return row > bound if op == ">" else row >= bound
    return sa.and_(sort >= _NOT_NAN, row < bound if op == "<" else row <= bound)


def number_ranges(
    sort: sa.ColumnElement[Any], value: sa.ColumnElement[Any], asked: Compare
) -> Iterator[tuple[Condition, ...]]:
    """The stretches of an index over `sort` and `value` in which a metric's value compares so with a number.

    As one stretch each row of it would be compared with the end as a pair, which takes twice as long.
    """
    assert isinstance(asked.value, (int, float))
    number, kind = split(float(asked.value))
    bound = {"=": value == number, "<": value < number, "<=": value <= number, ">": value > number}
    yield sort == kind, bound.get(asked.op, value >= number)
    if asked.op in (">", ">="):
        yield (sort > kind,)
    elif asked.op in ("<", "<="):
        yield sort >= _NOT_NAN, sort < kind


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


def looked_up(table: sa.FromClause, *conditions: Condition) -> Condition:
    """Whether a table has a row, of which there can be one only.

    It is no EXISTS, which Postgres would join: it then finds all that a filter lets through to sort them, where a walk
    in the order asks row by row until a page is full. What is few is found beforehand; see `runs.find`.
    """
    found: sa.Select[int] = sa.select(sa.literal_column("1")).select_from(table).where(*conditions)
    return found.correlate_except(table).scalar_subquery().is_not(None)


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
        there = looked_up(keys, *mine)
        return sa.not_(there) if asked.op == "IS NULL" else there
    return looked_up(keys, *mine, matches(keys.c.value, asked.op, asked.value, dialect))
