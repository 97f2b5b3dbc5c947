"""An order as phases. What has no value comes last, so the first item of an order is walked in parts that each follow
an index: first what has a value, then NaN, then what has none. The rest of the order only settles ties.

A sort key is the same numbers and texts whichever way a page was found, so the next page may be found another way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import cmp_to_key, partial
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY

from mainspring.core.values import dataclass
from mainspring.storage.keyset import SortKey, following
from mainspring.storage.matching import bytewise
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.records.search.conditions import Condition, Known

Join = Callable[[sa.FromClause], sa.FromClause]
Numbers: TypeAlias = "sa.Select[int] | sa.CompoundSelect[int]"
Near: TypeAlias = "tuple[list[int], Callable[[tuple[Key, ...]], bool]]"
"""Numbers in the order of an index, and whether what one of them has there is surely before what is not among them:
those level with the last may not all be."""
Bounds: TypeAlias = "tuple[tuple[Condition, ...], tuple[Condition, ...]]"
"""What a filter says of what is sorted by, from below and from above, so that only what is between is walked."""
NO_BOUNDS: Bounds = ((), ())
_NEAR = 4
"""So many times a page is looked at first of what comes near."""
_GLANCE = 6
"""Such a part of the steps is gone before the others."""
_WALKED = {"sqlite": ("param",), "postgresql": ()}
"""The tables of texts with an index that one can walk."""
NOT_NAN = -1
"""The least `sort` of a value that is not NaN; see `rules.split`."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The index that a part is walked along, so that one can look how far so many rows of it reach.

    Args:
        source: The table it is of.
        owner: Its column with the number of the row that is looked for.
        only: What the index holds together.
        lead: Its columns in the order of the walk, all in one direction: the first keys of the part that are columns.
        metric: The numbers of a metric's name, when the index is of its latest values.
        beyond: Of these only values that come after this one, as sort and value, if there is one.
    """

    source: sa.FromClause
    owner: sa.ColumnElement[Any]
    only: tuple[Condition, ...]
    lead: tuple[SortKey, ...]
    metric: tuple[int, ...] = ()
    beyond: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """How one item of an order is read: tables joined, rows left out, and its keys, some of them the same for all.

    Args:
        keys: A constant, or the column that has the key.
        joined: Adds the tables that the columns are of.
        only: What rows must be like.
        first: What says where in an index the rows begin that come first. Rows after others need it no more, and an
            index takes one beginning only.
        ahead: The index it is walked along, if there is one.
    """

    keys: tuple[SortKey | Key, ...]
    joined: Join = field(default=lambda source: source)
    only: tuple[Condition, ...] = ()
    first: tuple[Condition, ...] = ()
    ahead: Ahead | None = None


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
class Narrowed:
    """Numbers of rows, as a statement, and how many they are."""

    runs: Numbers
    count: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for among the rows of one table.

    Args:
        table: The table.
        where: Conditions on it.
        items: The order, which leaves no ties.
        scope: Those of the conditions that its indexes begin with.
    """

    table: sa.Table
    where: tuple[Condition, ...]
    items: tuple[Item, ...]
    scope: tuple[Condition, ...] = ()

    @property
    def types(self) -> tuple[type, ...]:
        """What each sort key is."""
        return tuple(kind for item in self.items for kind in item.types)

    def walk(
        self,
        conn: Connection,
        *,
        after: Sequence[Key],
        limit: int,
        meeting: Meeting | None = None,
        near: Question | None = None,
    ) -> list[Hit]:
        """The next rows, phase by phase of the first item.

        Args:
            meeting: How to meet, along an index, only some rows among which all are.
            near: The question that is asked of those that were met so.
        """
        found: list[Hit] = []
        for phase, parts in self._phases(after):
            if len(found) == limit:
                break
            wanted = limit - len(found)
            if phase.ahead is not None and meeting is not None:
                way = Way(phase.ahead, parts, after)
                found += (near or self)._first_of(conn, meeting(way), way, wanted)
            else:
                found += self._read(conn, parts, after, wanted)
        return found

    def tried(self, conn: Connection, *, after: Sequence[Key], limit: int, steps: int) -> list[Hit] | None:
        """The next rows, if the first so many of each phase have a page of them or there are no more; else None.

        A few of these steps are gone first: when hardly any row is met there, the others are spared.
        """
        for some in (steps // _GLANCE, steps):
            found, whole = self._begun(conn, after, limit, some)
            if whole:
                return found
            if _GLANCE * len(found) < limit:
                break
        return None

    def _begun(self, conn: Connection, after: Sequence[Key], limit: int, steps: int) -> tuple[list[Hit], bool]:
        """The next rows within the first so many of each phase, and whether these are all that were asked for."""
        found: list[Hit] = []
        for phase, parts in self._phases(after):
            if len(found) == limit:
                break
            if phase.ahead is None and not self._has_at_most(conn, steps):
                return found, False
            only = _reached(conn, phase.ahead, parts, after, steps) if phase.ahead else ()
            found += self._read(conn, parts, after, limit - len(found), only)
            if only and len(found) < limit:
                return found, False
        return found, True

    def nearest(self, conn: Connection, *, after: Sequence[Key], limit: int, among: Narrowed) -> list[Hit] | None:
        """The next rows of the first phase, out of numbers among which all are; None when they do not fill a page.

        First only their values of what is sorted by are read; the rest of the filter and of the order is looked up for
        those that come first.
        """
        phase, parts = next(self._phases(after))
        if phase.ahead is None:
            return None
        near = partial(_nearest, conn, phase.ahead, parts, after, among.runs)
        hits = self._first_of(conn, near, Way(phase.ahead, parts, after), limit)
        return hits if len(hits) == limit else None

    def _first_of(self, conn: Connection, near: Callable[[int], Near], way: Way, limit: int) -> list[Hit]:
        """The next rows of one phase out of those that come near in the order, of which more are asked for as needed.

        Args:
            near: So many of those among which all are, the first ones along the index; fewer when there are no more.
        """
        count = _NEAR * limit
        while True:
            numbers, is_before = near(count)
            here = self.only(among_numbers(self.table.c.number, numbers, conn.dialect.name))
            hits = here.sort(conn, after=way.after, limit=limit)
            if len(numbers) < count:
                return hits
            start, width = _start(way.parts), len(way.ahead.lead)
            hits = [hit for hit in hits if is_before(hit.keys[start : start + width])]
            if len(hits) == limit:
                return hits
            count *= _NEAR

    def _phases(self, after: Sequence[Key]) -> Iterator[tuple[Part, tuple[Part, ...]]]:
        """The phases in which there may be rows, each with the rest of the order."""
        first, *rest = self.items
        for phase in first.phases:
            if not _is_over(phase, after, descending=first.descending[0]):
                yield phase, (phase, *(item.whole for item in rest))

    def _has_at_most(self, conn: Connection, count: int) -> bool:
        some = sa.select(self.table.c.number).where(*self.scope).limit(count + 1).subquery()
        return conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() <= count

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

    def _read(
        self,
        conn: Connection,
        parts: Sequence[Part],
        after: Sequence[Key],
        limit: int,
        only: Sequence[Condition] = (),
    ) -> Iterator[Hit]:
        keys = _keys(parts)
        columns = [key for key in keys if isinstance(key, SortKey)]
        source: sa.FromClause = self.table
        for part in parts:
            source = part.joined(source)
        shown = [key.column.label(f"key_{number}") for number, key in enumerate(columns)]
        found = sa.select(self.table.c.number, *shown).select_from(source)
        found = found.where(*self.where, *only, *(condition for part in parts for condition in part.only))
        if _continues(parts[0], after):
            bound = [entry for key, entry in zip(keys, after, strict=True) if isinstance(key, SortKey)]
            found = found.where(following(columns, bound))
        else:
            found = found.where(*parts[0].first)
        for row in conn.execute(found.order_by(*(key.order() for key in columns)).limit(limit)).all():
            values = iter(row[1:])
            yield Hit(row[0], tuple(next(values) if isinstance(key, SortKey) else key for key in keys))


def _is_over(phase: Part, after: Sequence[Key], *, descending: bool) -> bool:
    """Whether a page ended in a later phase."""
    key = phase.keys[0]
    if not after or isinstance(key, SortKey) or key == after[0]:
        return False
    return (key < after[0]) != descending  # type: ignore[operator]  # keys at one place are alike


def _reached(
    conn: Connection, ahead: Ahead, parts: Sequence[Part], after: Sequence[Key], steps: int
) -> tuple[Condition, ...]:
    """What keeps a walk to its first so many rows and those level with the last; nothing when it has no more."""
    lead = [key.column for key in ahead.lead]
    far = sa.select(*lead).select_from(ahead.source).where(*_within(ahead, parts, after))
    end = conn.execute(far.order_by(*(key.order() for key in ahead.lead)).limit(1).offset(steps)).first()
    if end is None:
        return ()
    row = sa.tuple_(*lead)
    return (row >= sa.tuple_(*end) if ahead.lead[0].descending else row <= sa.tuple_(*end),)


@dataclass(frozen=True, slots=True)
class Way:
    """The index that a phase is walked along, from where the page before ended."""

    ahead: Ahead
    parts: Sequence[Part]
    after: Sequence[Key]

    @property
    def begin(self) -> tuple[Key, ...]:
        """What the last row of the page before has in the index; empty when this is not the phase it ended in."""
        if not _continues(self.parts[0], self.after):
            return ()
        start = _start(self.parts)
        return tuple(self.after[start : start + len(self.ahead.lead)])


Meeting: TypeAlias = Callable[[Way], Callable[[int], Near]]
"""Gives what gives so many numbers that come first on a way."""


def met(conn: Connection, marks: bytes, way: Way, count: int) -> Near:
    """The first so many numbers along an index that are marked: there is a byte for each number, which is 1 then."""
    ahead = way.ahead
    found = sa.select(ahead.owner, *(key.column for key in ahead.lead)).select_from(ahead.source)
    found = found.where(*_within(ahead, way.parts, way.after), _is_marked(ahead.owner, marks, conn.dialect.name))
    rows = conn.execute(found.order_by(*(key.order() for key in ahead.lead)).limit(count)).all()
    return [row[0] for row in rows], _unlike(rows[-1][1:] if rows else ())


def _is_marked(number: sa.ColumnElement[int], marks: bytes, dialect: str) -> Condition:
    """Whether there is a 1 at the place of a number. Databases read it off the value without a copy."""
    value = sa.literal(marks, sa.LargeBinary)
    if dialect == "sqlite":
        return sa.func.substr(value, number + 1, 1) == sa.literal(b"\x01", sa.LargeBinary)
    byte = sa.func.get_byte(value, sa.cast(number, sa.Integer))
    return sa.case((number < len(marks), byte), else_=0) == 1


def _nearest(
    conn: Connection, ahead: Ahead, parts: Sequence[Part], after: Sequence[Key], among: Numbers, count: int
) -> Near:
    """Out of some numbers those that come first along an index, with their values there; null when they have none.

    They are looked up in the order of the table; the outer join has SQLite begin with them.
    """
    some = among.order_by(*among.selected_columns).limit(2**62).subquery()
    own = sa.and_(ahead.owner == some.columns[0], *_within(ahead, parts, after))
    found = sa.select(some.columns[0], *(key.column for key in ahead.lead))
    found = found.select_from(some.outerjoin(ahead.source, own))
    order = [ahead.lead[0].column.is_(None), *(key.order() for key in ahead.lead)]
    rows = [tuple(row) for row in conn.execute(found.order_by(*order).limit(count))]
    return [row[0] for row in rows if row[1] is not None], _unlike(rows[-1][1:] if rows else ())


def _unlike(last: Sequence[Any]) -> Callable[[tuple[Key, ...]], bool]:
    """Whether a row is not level with the last."""
    return lambda keys: keys != tuple(last)


def _within(ahead: Ahead, parts: Sequence[Part], after: Sequence[Key]) -> list[Condition]:
    """What the index of a phase is read by, from where the page before ended."""
    conditions = [*ahead.only, *parts[0].only]
    if not _continues(parts[0], after):
        return [*conditions, *parts[0].first]
    start = _start(parts)
    begin = sa.tuple_(*after[start : start + len(ahead.lead)])
    row = sa.tuple_(*(key.column for key in ahead.lead))
    return [*conditions, row <= begin if ahead.lead[0].descending else row >= begin]


def _start(parts: Sequence[Part]) -> int:
    """The place of the first key that is a column."""
    return next(place for place, key in enumerate(_keys(parts)) if isinstance(key, SortKey))


def among_numbers(column: sa.ColumnElement[Any], numbers: Iterable[int], dialect: str) -> Condition:
    """Whether it is one of these, which go as one value: thousands of them are no statement to write and read."""
    if dialect == "sqlite":
        each = sa.func.json_each(json.dumps(sorted(numbers))).table_valued("value")
        return column.in_(sa.select(each.c.value))
    return column == sa.any_(sa.literal(sorted(numbers), ARRAY(sa.BigInteger)))


def _keys(parts: Sequence[Part]) -> list[SortKey | Key]:
    return [key for part in parts for key in part.keys]


def _continues(first: Part, after: Sequence[Key]) -> bool:
    """Whether the page before ended among these rows."""
    number = first.keys[0]
    return bool(after) and (isinstance(number, SortKey) or number == after[0])


def plain(
    column: sa.ColumnElement[Any],
    kind: type,
    *,
    descending: bool = False,
    bounds: Bounds = NO_BOUNDS,
    only: tuple[Condition, ...] = (),
    ahead: Ahead | None = None,
) -> Item:
    """An item whose values are never missing."""
    key = (SortKey(column, descending=descending),)
    end, first = _ends(bounds, only, descending=descending)
    return Item((kind,), (descending,), Part(key, only=only), (Part(key, only=end, first=first, ahead=ahead),))


def _ends(
    bounds: Bounds, only: tuple[Condition, ...], *, descending: bool
) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """What a phase is read by from its end, and from its beginning if that is not where `only` says."""
    below, above = bounds
    end, first = (below, above) if descending else (above, below)
    return (*end, *only), () if only else first


def listed(
    column: sa.ColumnElement[Any], values: Iterable[str], *, descending: bool = False, ahead: Ahead | None = None
) -> Item:
    """An item of a few texts that are known beforehand, walked text by text."""
    phases = (
        Part(
            (value,),
            only=(column == value,),
            ahead=ahead,
        )
        for value in sorted(values, reverse=descending)
    )
    return Item((str,), (descending,), Part((SortKey(column, descending=descending),)), tuple(phases))


def attribute(
    known: Known,
    dialect: str,
    *,
    descending: bool = False,
    bounds: Bounds = NO_BOUNDS,
    only: tuple[Condition, ...] = (),
    ahead: Ahead | None = None,
) -> Item:
    """An item of an attribute; texts sort by their bytes, and what is missing comes last.

    Args:
        bounds: What the filter says of it.
        only: What a value must be like that is not missing.
    """
    column = bytewise(known.column, dialect) if known.kind is str else known.column
    if known.optional:
        missing = column.is_(None)
        return optional(column, known.kind, missing, descending=descending, bounds=bounds, only=only, ahead=ahead)
    return plain(column, known.kind, descending=descending, bounds=bounds, only=only, ahead=ahead)


def logged_text(
    table: sa.Table,
    owner: sa.ColumnElement[Any],
    key: str,
    dialect: str,
    *,
    descending: bool = False,
    beyond: Sequence[Key] = (),
) -> Item:
    """An item of a param or tag.

    Args:
        table: The table of texts: owner, key, value.
        owner: The number whose texts these are.
        key: Its name.
        beyond: Of texts only those that come after this one, if there is one.
    """
    texts, other = table.alias(), table.alias()
    mine = sa.and_(texts.columns[0] == owner, texts.c.key == key)
    there = sa.exists().where(other.columns[0] == owner, other.c.key == key).correlate(owner.table)
    value = bytewise(texts.c.value, dialect)
    lead = (SortKey(texts.c.value, descending=descending),)
    # on Postgres the index has short texts only, so that none is walked by it
    ahead = Ahead(texts, texts.columns[0], (texts.c.key == key,), lead) if table.name in _WALKED[dialect] else None
    return optional(
        value,
        str,
        sa.not_(there),
        descending=descending,
        only=tuple(value < text if descending else value > text for text in beyond),
        inner=lambda source: source.join(texts, mine),
        outer=lambda source: source.outerjoin(texts, mine),
        ahead=ahead,
    )


def optional(
    column: sa.ColumnElement[Any],
    kind: type,
    missing: Condition,
    *,
    descending: bool = False,
    bounds: Bounds = NO_BOUNDS,
    only: tuple[Condition, ...] = (),
    inner: Join | None = None,
    outer: Join | None = None,
    ahead: Ahead | None = None,
) -> Item:
    """An item of a value that may be missing, which may be in a table of its own.

    Args:
        missing: Without the join, whether a row has no value.
        bounds: What the filter says of the value.
        only: What a value must be like that is not missing.
        inner: Joins the table of the values, leaving out rows that have none.
        outer: Joins it, leaving out none.
    """
    nothing: Key = "" if kind is str else kind(0)
    same: Join = lambda source: source  # noqa: E731  # a name for what does nothing
    here = SortKey(column, descending=descending)
    rank = SortKey(sa.case((column.is_(None), 1), else_=0))
    there = SortKey(sa.func.coalesce(column, nothing), descending=descending)
    end, first = _ends(bounds, only, descending=descending)
    present = Part((0, here), inner or same, end if inner else (column.is_not(None), *end), first, ahead)
    absent = Part((1, nothing), same, (missing,))
    whole = Part((rank, there), outer or same, (sa.or_(column.is_(None), *only),) if only else ())
    return Item((int, kind), (False, descending), whole, (present, absent))


def measured(
    last: sa.FromClause,
    mine: Condition,
    missing: Condition,
    *,
    descending: bool,
    bounds: Bounds = NO_BOUNDS,
    only: tuple[Condition, ...] = (),
    ahead: Ahead | None = None,
) -> Item:
    """An item of a metric: numbers first, then NaN, then what has none.

    Args:
        last: The table with the latest value, as columns `sort` and `value`; see `rules.split`.
        mine: Joins it.
        missing: Without the join, whether a row has no value.
        bounds: What the filter says of this metric.
        only: What a number must be like that comes next.
    """
    inner: Join = lambda source: source.join(last, mine)  # noqa: E731
    outer: Join = lambda source: source.outerjoin(last, mine)  # noqa: E731
    number = last.c.sort >= NOT_NAN
    rank = sa.case((last.c.sort.is_(None), 2), (number, 0), else_=1)
    # NaN is kept as the value 0 of the least sort, but all NaN are alike here
    sort, value = sa.case((number, last.c.sort), else_=0), sa.case((number, last.c.value), else_=0.0)
    whole = (SortKey(rank), SortKey(sort, descending=descending), SortKey(value, descending=descending))
    walked = (0, SortKey(last.c.sort, descending=descending), SortKey(last.c.value, descending=descending))
    end, first = _ends((bounds[0] or (number,), bounds[1]), only, descending=descending)
    some = (sa.or_(last.c.sort.is_(None), sa.not_(number), *only),) if only else ()
    phases = (
        Part(walked, inner, end, first, ahead),
        Part((1, 0, 0.0), inner, (last.c.sort < NOT_NAN,)),
        Part((2, 0, 0.0), only=(missing,)),
    )
    return Item((int, int, float), (False, descending, descending), Part(whole, outer, some), phases)
