"""Searching for runs: by what they logged, by what they are, by what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.storage.keyset import SortKey
from mainspring.storage.matching import matches
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.grammar.tree import ATTRIBUTES, EVERYTHING, And, Compare, Field, Node, Order, all_of
from mainspring.tracking.model import STATUSES, RunGroup
from mainspring.tracking.records.columns import state
from mainspring.tracking.records.search.columns import stored
from mainspring.tracking.records.search.conditions import (
    Condition,
    Known,
    condition,
    looked_up,
    number_matches,
    text_matches,
)
from mainspring.tracking.records.search.keys import Keys, fields_of, keys_of, owned
from mainspring.tracking.records.search.narrow import (
    KEPT_TAGS,
    TEXTS,
    WALKED,
    deleted,
    marked,
    narrowest,
    shared,
    shared_texts,
)
from mainspring.tracking.records.search.paged import (
    NOT_NAN,
    Ahead,
    Bounds,
    Hit,
    Item,
    Meeting,
    Narrowed,
    Near,
    Question,
    Way,
    among_numbers,
    attribute,
    listed,
    logged_text,
    measured,
    met,
)
from mainspring.tracking.records.tables import (
    experiment,
    input_dataset,
    metric_latest,
    run,
    run_input,
)
from mainspring.tracking.rules import joined

FEW = 10_000
"""Up to so many runs are sorted once they are found; among more of them, the order is walked until a page is full."""
STEPS = 3_000
"""So many runs an order is walked, before it is asked whether it has those at its end that the filter lets through."""
SOME = 50_000
"""Up to so many are sorted then, fewer when marking several parts of the filter leaves fewer still."""
SEVERAL = 0.4
"""The share of `SOME` in that case, and on Postgres, where looking one up costs more beside a step of a walk."""
MANY = 1_000_000
"""Up to so many are marked then, so that a run on the way is looked up only if it is one of them."""
PASSED = 2_000
"""Up to so many that columns of metrics leave are sorted, more of them met in the order."""
GONE = 50_000
"""Up to so many deleted runs are left out before the others are looked up."""
ROOMY = 10
"""When they are so many times a page, what comes near in the order is looked for first."""
LEVELS = 10
"""So many values that many runs share are walked one by one before the order is walked as it is."""
SEPARATE = 50
"""Up to so many experiments are walked one by one, as an index holds them; more of them are sorted together."""
_OF = run.c.experiment == experiment.c.number
_KNOWN: Mapping[str, Known] = {
    **{name: Known(run.c[name]) for name in ("id", "name", "status", "user_id", "parent", "created_by")},
    **{name: Known(run.c[name], int, optional=True) for name in ("ended_at", "duration", "deleted_at", "seed")},
    "started_at": Known(run.c.started_at, int),
    "experiment": Known(sa.select(experiment.c.name).where(_OF).scalar_subquery()),
    "experiment_id": Known(sa.select(experiment.c.id).where(_OF).scalar_subquery()),
    "artifact_uri": Known(
        sa.select(experiment.c.location + "/" + run.c.id + "/artifacts").where(_OF).scalar_subquery()
    ),
}
"""What the attributes of a run are."""
_TAGS: Mapping[Field, Known] = {
    field: Known(sa.func.nullif(column, ""), optional=True) for field, column in KEPT_TAGS.items()
}
"""What they are; an empty one is missing."""
_LEVEL = ("ended_at", "duration", "name")
"""Attributes that many runs may share, with an index."""
_STATUS = Field(ATTRIBUTES, "status")
TIES = (Order(Field(ATTRIBUTES, "started_at"), descending=True), Order(Field(ATTRIBUTES, "id")))
"""What settles ties: the newest first, then by id."""


@dataclass(frozen=True, slots=True)
class RunSearch:
    """What to find.

    Args:
        experiments: By number; None for all of the project.
        view: active, deleted or all.
        beyond: Only runs that have a value after this one in what is sorted by first, or none.
    """

    project: str
    experiments: tuple[int, ...] | None
    filter: Node
    order: tuple[Order, ...]
    view: str = "active"
    beyond: tuple[Key, ...] = ()

    @property
    def sorted_by(self) -> tuple[Order, ...]:
        """The order without ties."""
        asked = [order.field for order in self.order]
        return (*self.order, *(order for order in TIES if order.field not in asked))


def key_types(order: Sequence[Order]) -> tuple[type, ...]:
    """What each sort key of an order is."""
    search = RunSearch("", (), EVERYTHING, tuple(order))
    return tuple(kind for item in search.sorted_by for kind in _types(item.field))


def _types(field: Field) -> tuple[type, ...]:
    if field.entity == "metrics":
        return int, int, float
    known = _known(field)
    return (int, str) if known is None else (int, known.kind) if known.optional else (known.kind,)


def _known(field: Field) -> Known | None:
    """What an attribute is, or a tag that is kept as one."""
    return _KNOWN[field.key] if field.entity == ATTRIBUTES else _TAGS.get(field)


def find(conn: Connection, search: RunSearch, *, after: Sequence[Key], limit: int) -> list[Hit]:
    """The next runs in the order of a search."""
    numbers = search.experiments
    if numbers is None and _walks_experiments(search):
        numbers = tuple(conn.execute(owned(search.project)).scalars())
    search = replace(search, experiments=numbers)
    keys = keys_of(conn, search.project, numbers, search.filter, search.order)
    few = narrowest(conn, search.filter, keys, numbers, most=PASSED if _has_columns(conn, search.filter) else FEW)
    if few is not None:
        return _picked(conn, search, keys, few, after, limit)
    found, rest = _level(conn, search, keys, after, limit)
    if rest is None:
        return found
    more = _walked(conn, rest, keys, () if rest.beyond else after, limit - len(found))
    return [*found, *more]


def _has_columns(conn: Connection, node: Node) -> bool:
    """Whether there are columns of metrics that may tell of a filter."""
    return any(field.entity == "metrics" for field in fields_of(node)) and state(conn).built > 0


def _level(
    conn: Connection, search: RunSearch, keys: Keys, after: Sequence[Key], limit: int
) -> tuple[list[Hit], RunSearch | None]:
    """The next runs as long as many are level in what is sorted by first, and the search for those that follow.

    Among runs that are level the rest of the order has an index to walk, where else all of them had to be sorted.
    """
    found: list[Hit] = []
    index = _first_index(conn, search, keys)
    if index is None or (after and index.ranked and after[0] != 0):
        return found, search
    order, rest = search.order[0], replace(search, order=search.order[1:])
    rank = (0,) if index.ranked else ()
    width = len(rank) + len(index.columns)
    begin, tail = tuple(after[len(rank) : width]), after[width:]
    beyond: tuple[Key, ...] = ()
    for _ in range(LEVELS):
        where = [*index.where, *_after(index.columns, beyond, descending=order.descending)]
        down = order.descending
        value = shared(conn, index.columns, where, descending=down, begin=() if beyond else begin, steps=STEPS)
        if value is None:
            break
        plain = joined(value[1], value[0]) if order.field.entity == "metrics" else value[0]
        same = replace(rest, filter=all_of((search.filter, Compare(order.field, "=", plain))))
        hits = find(conn, same, after=tail if value == begin else (), limit=limit - len(found))
        found += [Hit(hit.number, (*rank, *value, *hit.keys)) for hit in hits]
        if len(found) == limit:
            return found, None
        beyond = value
    return found, replace(search, beyond=beyond)


@dataclass(frozen=True, slots=True)
class _Index:
    """An index by what is sorted by first: its columns, what it holds together, and whether keys begin with a phase."""

    columns: tuple[sa.ColumnElement[Any], ...]
    where: list[Condition]
    ranked: bool = True


def _first_index(conn: Connection, search: RunSearch, keys: Keys) -> _Index | None:
    """The index by what is sorted by first, where many runs may be level in it."""
    field = search.sorted_by[0].field
    if _known(field) is None and field.entity in TEXTS:
        texts = shared_texts(conn, field)
        return None if texts is None else _Index((texts[0],), texts[1])
    if search.experiments is None or len(search.experiments) != 1:
        return None
    if field.entity == "metrics":
        last = metric_latest.c
        return _Index((last.sort, last.value), [keys.is_(last.key, field.key), last.sort >= NOT_NAN])
    if field.entity != ATTRIBUTES or field.key not in _LEVEL:
        return None
    column = run.c[field.key]
    return _Index((column,), [_scope(search), column.is_not(None)], ranked=_KNOWN[field.key].optional)


def _after(
    columns: Sequence[sa.ColumnElement[Any]], beyond: Sequence[Key], *, descending: bool
) -> tuple[Condition, ...]:
    """What comes after a value in the order, if there is one."""
    if not beyond:
        return ()
    row, bound = sa.tuple_(*columns), sa.tuple_(*beyond)
    return (row < bound if descending else row > bound,)


def _walked(conn: Connection, search: RunSearch, keys: Keys, after: Sequence[Key], limit: int) -> list[Hit]:
    """The next runs, along an index in the order; among those that a filter lets through where these are far off."""
    dialect, numbers = conn.dialect.name, search.experiments
    groups = [search] if numbers is None or len(numbers) > SEPARATE else [_one(search, number) for number in numbers]
    walks = [_question(group, keys.within(group.experiments), dialect) for group in groups]
    found = [walk.tried(conn, after=after, limit=limit, steps=STEPS) for walk in walks]
    if None in found:
        meeting, few = _by_columns(conn, search, keys)
        if few is not None:
            return _sorted(conn, search, keys, few, after, limit)
        if meeting is None:
            several = isinstance(search.filter, And) and len(search.filter.parts) > 1
            most = int(SOME * SEVERAL) if several or dialect == "postgresql" else SOME
            some = narrowest(conn, search.filter, keys, numbers, most=most)
            if some is not None:
                return _picked(conn, search, keys, some, after, limit)
            marks = marked(conn, search.filter, keys, numbers, most=MANY)
            meeting = None if marks is None else partial(_along, conn, marks.tobytes())
        nears = [_question(group, keys.within(group.experiments), dialect, indexed=False) for group in groups]
        found = [
            walk.walk(conn, after=after, limit=limit, meeting=meeting, near=near) if hits is None else hits
            for walk, near, hits in zip(walks, nears, found, strict=True)
        ]
    together = [hit for hits in found for hit in hits or ()]
    return walks[0].merged(together, limit) if len(walks) > 1 else together


def _by_columns(conn: Connection, search: RunSearch, keys: Keys) -> tuple[Meeting | None, Sequence[int] | None]:
    """How to meet only runs that the filter lets through, as columns of metrics tell, or these runs if they are few."""
    columns = stored(conn, keys)
    if columns is None:
        return None, None
    marks = marked(conn, search.filter, keys, search.experiments, most=MANY, columns=columns)
    if marks is None:
        return None, None
    gone = deleted(conn, most=GONE) if search.view != "all" else None
    if gone is not None:
        marks[gone[gone < len(marks)]] &= search.view == "deleted"
    if int(marks.sum()) <= PASSED:
        return None, marks.nonzero()[0].tolist()

    def meeting(way: Way) -> Callable[[int], Near]:
        return columns.first_of(way, marks) if way.ahead.metric else _along(conn, marks.tobytes(), way)

    return meeting, None


def _along(conn: Connection, marks: bytes, way: Way) -> Callable[[int], Near]:
    return partial(met, conn, marks, way)


def _picked(
    conn: Connection, search: RunSearch, keys: Keys, some: Narrowed, after: Sequence[Key], limit: int
) -> list[Hit]:
    """The next runs, from sorting those among which all are that the filter lets through."""
    asked = _question(search, keys, conn.dialect.name, indexed=False)
    if some.count > ROOMY * limit:
        near = asked.nearest(conn, after=after, limit=limit, among=some)
        if near is not None:
            return near
    return _sorted(conn, search, keys, conn.execute(some.runs).scalars().all(), after, limit)


def _sorted(
    conn: Connection, search: RunSearch, keys: Keys, numbers: Sequence[int], after: Sequence[Key], limit: int
) -> list[Hit]:
    """The next runs, from sorting these, among which all are that the filter lets through."""
    if not numbers:
        return []
    asked = _question(search, keys, conn.dialect.name, indexed=False)
    return asked.only(among_numbers(run.c.number, numbers, conn.dialect.name)).sort(conn, after=after, limit=limit)


def groups(
    conn: Connection, search: RunSearch, by: Field, metrics: Sequence[str], *, most: int, limit: int
) -> tuple[list[RunGroup], bool]:
    """The runs of a search by their value of a param, tag or attribute, and whether there are more.

    Args:
        metrics: Of which the means are wanted.
        most: How many runs are counted, the newest ones.
        limit: How many groups are given, the largest ones.
    """
    dialect, named = conn.dialect.name, [Order(Field("metrics", name)) for name in metrics]
    keys = keys_of(conn, search.project, search.experiments, search.filter, named)
    few = narrowest(conn, search.filter, keys, search.experiments, most=FEW)
    asked = _question(search, keys, dialect, indexed=few is None)
    if few is not None:
        asked = asked.only(among_numbers(run.c.number, conn.execute(few.runs).scalars().all(), dialect))
    found = sa.select(run.c.number, _value_of(by).label("value")).where(*asked.where)
    newest = found.order_by(run.c.started_at.desc()).limit(most).subquery()
    lasts = [metric_latest.alias() for _ in metrics]
    source: sa.FromClause = newest
    for name, last in zip(metrics, lasts, strict=True):
        mine = sa.and_(last.c.run == newest.c.number, keys.is_(last.c.key, name), last.c.sort == 0)
        source = source.outerjoin(last, mine)
    runs, value = sa.func.count().label("runs"), sa.cast(newest.c.value, sa.Text).label("value")
    counted = sa.select(value, runs, *(sa.func.avg(last.c.value) for last in lasts)).select_from(source)
    counted = counted.group_by(value).order_by(value.is_(None), runs.desc(), value).limit(limit + 1)
    rows = conn.execute(counted).all()
    means = [zip(metrics, row[2:], strict=True) for row in rows]
    made = [
        RunGroup(row[0], row[1], {name: float(mean) for name, mean in own if mean is not None})
        for row, own in zip(rows, means, strict=True)
    ]
    return made[:limit], len(rows) > limit or sum(row.runs for row in rows) >= most


def _value_of(by: Field) -> sa.ColumnElement[Any]:
    known = _known(by)
    if known is not None:
        return known.column
    table = TEXTS[by.entity]
    return sa.select(table.c.value).where(table.c.run == run.c.number, table.c.key == by.key).scalar_subquery()


def _one(search: RunSearch, number: int) -> RunSearch:
    return replace(search, experiments=(number,))


def _walks_experiments(search: RunSearch) -> bool:
    """Whether the index that a search walks holds the runs of each experiment together."""
    first = search.sorted_by[0].field
    return first.entity != ATTRIBUTES or (first.key in WALKED and first.key != "started_at")


def _question(search: RunSearch, keys: Keys, dialect: str, *, indexed: bool = True) -> Question:
    """The question for a search; not `indexed` keeps databases from going through all runs of an experiment."""
    where = [condition(search.filter, partial(_leaf, keys=keys, dialect=dialect))]
    scope = _scope(search, indexed=indexed)
    if search.view != "all":
        where.append(run.c.deleted_at.is_(None) if search.view == "active" else run.c.deleted_at.is_not(None))
    items = [_item(order, search, keys, dialect) for order in search.sorted_by]
    return Question(run, (scope, *where), tuple(items), (scope,))


def _scope(search: RunSearch, *, indexed: bool = True) -> Condition:
    """Of which project or experiments."""
    if search.experiments is None:
        return (run.c.project if indexed else run.c.project + "") == search.project
    owner = run.c.experiment if indexed else run.c.experiment + 0
    return owner == search.experiments[0] if len(search.experiments) == 1 else owner.in_(search.experiments)


def _leaf(asked: Compare, *, keys: Keys, dialect: str) -> Condition:
    if asked.field.entity == "metrics":
        return _metric_matches(asked, keys)
    if asked.field in _TAGS:
        return _TAGS[asked.field].matches(asked, dialect)
    if asked.field.entity in TEXTS:
        return text_matches(TEXTS[asked.field.entity].alias(), run.c.number, asked, dialect)
    if asked.field.entity == "datasets":
        return _dataset_matches(asked, dialect)
    return _KNOWN[asked.field.key].matches(asked, dialect)


def _metric_matches(asked: Compare, keys: Keys) -> Condition:
    last = metric_latest.alias()
    mine = (last.c.run == run.c.number, keys.is_(last.c.key, asked.field.key))
    if asked.op in ("IS NULL", "IS NOT NULL"):
        there = looked_up(last, *mine)
        return there if asked.op == "IS NOT NULL" else sa.not_(there)
    return looked_up(last, *mine, number_matches(last.c.sort, last.c.value, asked.op, asked.value))


def _dataset_matches(asked: Compare, dialect: str) -> Condition:
    read, dataset = run_input.alias(), input_dataset.alias()
    column = read.c.context if asked.field.key == "context" else dataset.c[asked.field.key]
    mine = (read.c.run == run.c.number, dataset.c.number == read.c.dataset)
    if asked.op in ("IS NULL", "IS NOT NULL"):
        there = sa.exists().where(*mine, column != "").correlate(run)
        return there if asked.op == "IS NOT NULL" else sa.not_(there)
    return sa.exists().where(*mine, matches(column, asked.op, asked.value, dialect)).correlate(run)


def _item(order: Order, search: RunSearch, keys: Keys, dialect: str) -> Item:
    beyond = search.beyond if order is search.sorted_by[0] else ()
    if order.field.entity == "metrics":
        return _metric_item(order, search, keys, beyond)
    known = _known(order.field)
    if order.field == _STATUS:
        is_followed = search.sorted_by[1:2] == TIES[:1]
        ahead = _ahead_of_runs(search, run.c.started_at, descending=True) if is_followed else None
        return listed(run.c.status, STATUSES, descending=order.descending, ahead=ahead)
    if known is not None:
        ahead = _ahead_of_runs(search, known.column, descending=order.descending)
        only = _after((known.column,), beyond, descending=order.descending)
        bounds = _bounds(order.field, search.filter, lambda asked: known.matches(asked, dialect))
        return attribute(known, dialect, descending=order.descending, bounds=bounds, only=only, ahead=ahead)
    table = TEXTS[order.field.entity]
    return logged_text(table, run.c.number, order.field.key, dialect, descending=order.descending, beyond=beyond)


def _metric_item(order: Order, search: RunSearch, keys: Keys, beyond: Sequence[Key]) -> Item:
    last, other = metric_latest.alias(), metric_latest.alias()
    mine = sa.and_(last.c.run == run.c.number, keys.is_(last.c.key, order.field.key))
    there = sa.exists().where(other.c.run == run.c.number, keys.is_(other.c.key, order.field.key)).correlate(run)
    ranged = partial(number_matches, last.c.sort, last.c.value, ranged=True)
    bounds = _bounds(order.field, search.filter, lambda asked: ranged(asked.op, asked.value))
    only = _after((last.c.sort, last.c.value), beyond, descending=order.descending)
    lead = tuple(SortKey(column, descending=order.descending) for column in (last.c.sort, last.c.value))
    numbers = tuple(keys.of(order.field.key))
    ahead = Ahead(last, last.c.run, (keys.is_(last.c.key, order.field.key),), lead, numbers, tuple(beyond))
    return measured(last, mine, sa.not_(there), descending=order.descending, bounds=bounds, only=only, ahead=ahead)


def _ahead_of_runs(search: RunSearch, column: sa.ColumnElement[Any], *, descending: bool) -> Ahead | None:
    """How far a walk along a column of runs reaches, if there is an index for that."""
    if search.experiments is None:
        walked = column is run.c.started_at
    else:
        walked = len(search.experiments) == 1 and any(column is other for other in WALKED.values())
    if not walked:
        return None
    return Ahead(run, run.c.number, (_scope(search),), (SortKey(column, descending=descending),))


def _bounds(field: Field, node: Node, compared: Callable[[Compare], Condition]) -> Bounds:
    """What a filter says of what is sorted by from below and from above.

    Args:
        compared: The condition of a comparison with it.
    """
    parts = node.parts if isinstance(node, And) else (node,)
    said = [part for part in parts if isinstance(part, Compare) and part.field == field]
    below = tuple(compared(part) for part in said if part.op in ("=", ">", ">="))
    above = tuple(compared(part) for part in said if part.op in ("=", "<", "<="))
    return below, above
