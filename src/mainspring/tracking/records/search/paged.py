"""An order as phases. What has no value comes last, so the first item of an order is walked in parts that each follow
an index: first what has a value, then NaN, then what has none. The rest of the order only settles ties.

A sort key is the same numbers and texts whichever way a page was found, so the next page may be found another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cmp_to_key
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.keyset import SortKey, following
from mainspring.storage.matching import bytewise
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.records.search.conditions import Condition, Known

Join = Callable[[sa.FromClause], sa.FromClause]
_NOT_NAN = -1
"""The least `sort` of a value that is not NaN; see `rules.split`."""


@dataclass(frozen=True, slots=True)
class Part:
    """How one item of an order is read: tables joined, rows left out, and its keys, some of them the same for all.

    Args:
        keys: A constant, or the column that has the key.
        joined: Adds the tables that the columns are of.
        only: What rows must be like.
        first: What says where in an index the rows begin that come first. Rows after others need it no more, and an
            index takes one beginning only.
    """

    keys: tuple[SortKey | Key, ...]
    joined: Join = field(default=lambda source: source)
    only: tuple[Condition, ...] = ()
    first: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an order.

    Args:
        types: What each of its keys is.
        descending: For each key, whether the greatest comes first.
        whole: How it is read when rows of every phase are wanted.
        phases: How it is read phase by phase; the first key of each is its number.
    """

    types: tuple[type, ...]
    descending: tuple[bool, ...]
    whole: Part
    phases: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found, by number, with its sort keys."""

    number: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for among the rows of one table.

    Args:
        table: The table.
        where: Conditions on it.
        items: The order, which leaves no ties.
    """

    table: sa.Table
    where: tuple[Condition, ...]
    items: tuple[Item, ...]

    @property
    def types(self) -> tuple[type, ...]:
        """What each sort key is."""
        return tuple(kind for item in self.items for kind in item.types)

    def walk(self, conn: Connection, *, after: Sequence[Key], limit: int) -> list[Hit]:
        """The next rows, phase by phase of the first item."""
        found: list[Hit] = []
        for phase in self.items[0].phases:
            left = limit - len(found)
            if left > 0 and not _is_over(phase, after):
                found += self._read(conn, (phase, *(item.whole for item in self.items[1:])), after, left)
        return found

    def sort(self, conn: Connection, *, after: Sequence[Key], limit: int) -> list[Hit]:
        """The next rows, all phases at once: for few rows."""
        return list(self._read(conn, tuple(item.whole for item in self.items), after, limit))

    def only(self, *conditions: Condition) -> Question:
        """The same among fewer rows."""
        return replace(self, where=(*self.where, *conditions))

    def merged(self, found: Iterable[Hit], limit: int) -> list[Hit]:
        """The first of hits that come from several walks."""
        descending = [flag for item in self.items for flag in item.descending]

        def compared(one: Hit, other: Hit) -> int:
            for mine, theirs, down in zip(one.keys, other.keys, descending, strict=True):
                if mine != theirs:
                    return 1 if (mine > theirs) != down else -1  # type: ignore[operator]  # keys at one place are alike
            return 0

        return sorted(found, key=cmp_to_key(compared))[:limit]

    def _read(self, conn: Connection, parts: Sequence[Part], after: Sequence[Key], limit: int) -> Iterator[Hit]:
        keys = [key for part in parts for key in part.keys]
        columns = [key for key in keys if isinstance(key, SortKey)]
        source: sa.FromClause = self.table
        for part in parts:
            source = part.joined(source)
        shown = [key.column.label(f"key_{number}") for number, key in enumerate(columns)]
        found = sa.select(self.table.c.number, *shown).select_from(source)
        found = found.where(*self.where, *(condition for part in parts for condition in part.only))
        if _continues(parts[0], after):
            bound = [entry for key, entry in zip(keys, after, strict=True) if isinstance(key, SortKey)]
            found = found.where(following(columns, bound))
        else:
            found = found.where(*parts[0].first)
        for row in conn.execute(found.order_by(*(key.order() for key in columns)).limit(limit)).all():
            values = iter(row[1:])
            yield Hit(row[0], tuple(next(values) if isinstance(key, SortKey) else key for key in keys))


def _is_over(phase: Part, after: Sequence[Key]) -> bool:
    """Whether a page ended in a later phase."""
    number = phase.keys[0]
    return bool(after) and not isinstance(number, SortKey) and number < after[0]  # type: ignore[operator]


def _continues(first: Part, after: Sequence[Key]) -> bool:
    """Whether the page before ended among these rows."""
    number = first.keys[0]
    return bool(after) and (isinstance(number, SortKey) or number == after[0])


def plain(column: sa.ColumnElement[Any], kind: type, *, descending: bool = False) -> Item:
    """An item whose values are never missing."""
    part = Part((SortKey(column, descending=descending),))
    return Item((kind,), (descending,), part, (part,))


def attribute(known: Known, dialect: str, *, descending: bool = False) -> Item:
    """An item of an attribute; texts sort by their bytes, and what is missing comes last."""
    column = bytewise(known.column, dialect) if known.kind is str else known.column
    if known.optional:
        return optional(column, known.kind, column.is_(None), descending=descending)
    return plain(column, known.kind, descending=descending)


def logged_text(
    table: sa.Table, owner: sa.ColumnElement[Any], key: str, dialect: str, *, descending: bool = False
) -> Item:
    """An item of a param or tag.

    Args:
        table: The table of texts: owner, key, value.
        owner: The number whose texts these are.
        key: Its name.
    """
    texts, other = table.alias(), table.alias()
    mine = sa.and_(texts.columns[0] == owner, texts.c.key == key)
    there = sa.exists().where(other.columns[0] == owner, other.c.key == key).correlate(owner.table)
    return optional(
        bytewise(texts.c.value, dialect),
        str,
        sa.not_(there),
        descending=descending,
        inner=lambda source: source.join(texts, mine),
        outer=lambda source: source.outerjoin(texts, mine),
    )


def optional(
    column: sa.ColumnElement[Any],
    kind: type,
    missing: Condition,
    *,
    descending: bool = False,
    inner: Join | None = None,
    outer: Join | None = None,
) -> Item:
    """An item of a value that may be missing, which may be in a table of its own.

    Args:
        missing: Without the join, whether a row has no value.
        inner: Joins the table of the values, leaving out rows that have none.
        outer: Joins it, leaving out none.
    """
    nothing: Key = "" if kind is str else kind(0)
    same: Join = lambda source: source  # noqa: E731  # a name for what does nothing
    here = SortKey(column, descending=descending)
    rank = SortKey(sa.case((column.is_(None), 1), else_=0))
    there = SortKey(sa.func.coalesce(column, nothing), descending=descending)
    present = Part((0, here), inner or same, () if inner else (column.is_not(None),))
    absent = Part((1, nothing), same, (missing,))
    return Item((int, kind), (False, descending), Part((rank, there), outer or same), (present, absent))


def measured(
    last: sa.FromClause,
    mine: Condition,
    missing: Condition,
    *,
    descending: bool,
    bounds: tuple[Sequence[Condition], Sequence[Condition]] = ((), ()),
) -> Item:
    """An item of a metric: numbers first, then NaN, then what has none.

    Args:
        last: The table with the latest value, as columns `sort` and `value`; see `rules.split`.
        mine: Joins it.
        missing: Without the join, whether a row has no value.
        bounds: What the filter says of this metric from below and from above, so that only what is between is walked.
    """
    inner: Join = lambda source: source.join(last, mine)  # noqa: E731
    outer: Join = lambda source: source.outerjoin(last, mine)  # noqa: E731
    number = last.c.sort >= _NOT_NAN
    rank = sa.case((last.c.sort.is_(None), 2), (number, 0), else_=1)
    # NaN is kept as the value 0 of the least sort, but all NaN are alike here
    sort, value = sa.case((number, last.c.sort), else_=0), sa.case((number, last.c.value), else_=0.0)
    whole = (SortKey(rank), SortKey(sort, descending=descending), SortKey(value, descending=descending))
    walked = (0, SortKey(last.c.sort, descending=descending), SortKey(last.c.value, descending=descending))
    below, above = tuple(bounds[0]) or (number,), tuple(bounds[1])
    ends = (below, above) if descending else (above, below)
    phases = (
        Part(walked, inner, *ends),
        Part((1, 0, 0.0), inner, (last.c.sort < _NOT_NAN,)),
        Part((2, 0, 0.0), only=(missing,)),
    )
    return Item((int, int, float), (False, descending, descending), Part(whole, outer), phases)
