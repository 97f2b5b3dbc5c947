"""Searching for runs: by what they logged, by what they are, by what they read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY

from mainspring.storage.matching import matches
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.grammar.tree import ATTRIBUTES, EVERYTHING, And, Compare, Field, Node, Not, Or, Order
from mainspring.tracking.model import RunGroup
from mainspring.tracking.records.search.conditions import (
    Condition,
    Known,
    condition,
    looked_up,
    number_matches,
    text_matches,
)
from mainspring.tracking.records.search.keys import Keys, keys_of, owned
from mainspring.tracking.records.search.paged import Hit, Item, Question, attribute, logged_text, measured
from mainspring.tracking.records.tables import (
    INDEXED_TEXT,
    experiment,
    input_dataset,
    metric_latest,
    param,
    run,
    run_input,
    tag,
)

FEW = 10_000
"""Up to so many runs are sorted once they are found; among more of them, the order is walked until a page is full."""
SEPARATE = 50
"""Up to so many experiments are walked one by one, as an index holds them; more of them are sorted together."""
_TEXTS = {"params": param, "tags": tag}
_OF = run.c.experiment == experiment.c.number
_KNOWN: Mapping[str, Known] = {
    **{name: Known(run.c[name]) for name in ("id", "name", "status", "user_id", "parent", "created_by")},
    **{name: Known(run.c[name], int, optional=True) for name in ("ended_at", "deleted_at", "seed")},
    "started_at": Known(run.c.started_at, int),
    "duration": Known(run.c.ended_at - run.c.started_at, int, optional=True),
    "experiment": Known(sa.select(experiment.c.name).where(_OF).scalar_subquery()),
    "experiment_id": Known(sa.select(experiment.c.id).where(_OF).scalar_subquery()),
    "artifact_uri": Known(
        sa.select(experiment.c.location + "/" + run.c.id + "/artifacts").where(_OF).scalar_subquery()
    ),
}
"""What the attributes of a run are."""
_KEPT_TAGS = {Field("tags", "mlflow.runName"): "name", Field("tags", "mlflow.parentRunId"): "parent"}
_TAGS: Mapping[Field, Known] = {
    field: Known(sa.func.nullif(run.c[name], ""), optional=True) for field, name in _KEPT_TAGS.items()
}
"""Tags of MLflow that are attributes here, and no tags; an empty one is missing."""
TIES = (Order(Field(ATTRIBUTES, "started_at"), descending=True), Order(Field(ATTRIBUTES, "id")))
"""What settles ties: the newest first, then by id."""


@dataclass(frozen=True, slots=True)
class RunSearch:
    """What to find. `experiments` are numbers, None for all of the project; `view` is active, deleted or all."""

    project: str
    experiments: tuple[int, ...] | None
    filter: Node
    order: tuple[Order, ...]
    view: str = "active"

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
    dialect = conn.dialect.name
    numbers = search.experiments
    if numbers is None and _walks_values(search):
        numbers = tuple(conn.execute(owned(search.project)).scalars())
    search = replace(search, experiments=numbers)
    keys = keys_of(conn, search.project, numbers, search.filter, search.order)
    few = _few(conn, search.filter, keys, dialect)
    if few is not None:
        asked = _question(search, keys, dialect, indexed=False).only(_among(few, dialect))
        return asked.sort(conn, after=after, limit=limit) if few else []
    groups = [search] if numbers is None or len(numbers) > SEPARATE else [_one(search, number) for number in numbers]
    walks = [_question(group, keys.within(group.experiments), dialect) for group in groups]
    hits = [hit for walk in walks for hit in walk.walk(conn, after=after, limit=limit)]
    return walks[0].merged(hits, limit) if len(walks) > 1 else hits


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
    few = _few(conn, search.filter, keys, dialect)
    asked = _question(search, keys, dialect, indexed=few is None)
    if few is not None:
        asked = asked.only(run.c.number.in_(sa.bindparam("few", sorted(few), expanding=True, literal_execute=True)))
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
    table = _TEXTS[by.entity]
    return sa.select(table.c.value).where(table.c.run == run.c.number, table.c.key == by.key).scalar_subquery()


def _among(numbers: Iterable[int], dialect: str) -> Condition:
    """Whether a run is one of these, which go as one value: thousands of them are no statement to write and read."""
    if dialect == "sqlite":
        each = sa.func.json_each(json.dumps(sorted(numbers))).table_valued("value")
        return run.c.number.in_(sa.select(each.c.value))
    return run.c.number == sa.any_(sa.literal(sorted(numbers), ARRAY(sa.BigInteger)))


def _one(search: RunSearch, number: int) -> RunSearch:
    return replace(search, experiments=(number,))


def _walks_values(search: RunSearch) -> bool:
    return bool(search.order) and search.order[0].field.entity != ATTRIBUTES


def _question(search: RunSearch, keys: Keys, dialect: str, *, indexed: bool = True) -> Question:
    """The question for a search; not `indexed` keeps databases from going through all runs of an experiment."""
    where = [condition(search.filter, partial(_leaf, keys=keys, dialect=dialect))]
    owner = run.c.experiment if indexed else run.c.experiment + 0
    if search.experiments is None:
        where.append((run.c.project if indexed else run.c.project + "") == search.project)
    elif len(search.experiments) == 1:
        where.append(owner == search.experiments[0])
    else:
        where.append(owner.in_(search.experiments))
    if search.view != "all":
        where.append(run.c.deleted_at.is_(None) if search.view == "active" else run.c.deleted_at.is_not(None))
    items = [_item(order, search, keys, dialect) for order in search.sorted_by]
    return Question(run, tuple(where), tuple(items))


def _leaf(asked: Compare, *, keys: Keys, dialect: str) -> Condition:
    if asked.field.entity == "metrics":
        return _metric_matches(asked, keys)
    if asked.field in _TAGS:
        return _TAGS[asked.field].matches(asked, dialect)
    if asked.field.entity in _TEXTS:
        return text_matches(_TEXTS[asked.field.entity].alias(), run.c.number, asked, dialect)
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
    if order.field.entity == "metrics":
        return _metric_item(order, search, keys)
    known = _known(order.field)
    if known is not None:
        return attribute(known, dialect, descending=order.descending)
    table = _TEXTS[order.field.entity]
    return logged_text(table, run.c.number, order.field.key, dialect, descending=order.descending)


def _metric_item(order: Order, search: RunSearch, keys: Keys) -> Item:
    last, other = metric_latest.alias(), metric_latest.alias()
    mine = sa.and_(last.c.run == run.c.number, keys.is_(last.c.key, order.field.key))
    there = sa.exists().where(other.c.run == run.c.number, keys.is_(other.c.key, order.field.key)).correlate(run)
    bounds = _bounds(order.field, search.filter, last)
    return measured(last, mine, sa.not_(there), descending=order.descending, bounds=bounds)


def _bounds(field: Field, node: Node, last: sa.FromClause) -> tuple[list[Condition], list[Condition]]:
    """What a filter says of a metric from below and from above."""
    below: list[Condition] = []
    above: list[Condition] = []
    for part in node.parts if isinstance(node, And) else (node,):
        if isinstance(part, Compare) and part.field == field and part.op in _RANGES:
            found = number_matches(last.c.sort, last.c.value, part.op, part.value, ranged=True)
            below += [found] if part.op in ("=", ">", ">=") else []
            above += [found] if part.op in ("=", "<", "<=") else []
    return below, above


_UNIQUE = {
    Field(ATTRIBUTES, "id"): run.c.id,
    Field(ATTRIBUTES, "parent"): run.c.parent,
    Field("tags", "mlflow.parentRunId"): run.c.parent,
}
"""Columns with an index of their own, of which few runs have the same value, if it is not empty."""
_RANGES = ("=", "<", "<=", ">", ">=")


def _few(conn: Connection, node: Node, keys: Keys, dialect: str) -> set[int] | None:
    """The runs among which all are that a filter lets through, when an index tells that they are few; else None."""
    if isinstance(node, And):
        known = [found for part in node.parts if (found := _few(conn, part, keys, dialect)) is not None]
        return min(known, key=len) if known else None
    if isinstance(node, Or):
        union: set[int] = set()
        for part in node.parts:
            found = _few(conn, part, keys, dialect)
            if found is None or len(union | found) > FEW:
                return None
            union |= found
        return union
    if isinstance(node, Not):
        return None
    indexed = _indexed(node, keys)
    if indexed is None:
        return None
    some = indexed.limit(FEW + 1).subquery()
    if conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() > FEW:
        return None
    return set(conn.execute(indexed).scalars().all())


def _indexed(asked: Compare, keys: Keys) -> sa.Select[int] | None:
    """The runs that a comparison lets through, where an index holds them together."""
    if asked.field.entity == "metrics" and asked.op in _RANGES:
        last = metric_latest
        bounds = number_matches(last.c.sort, last.c.value, asked.op, asked.value, ranged=True)
        return sa.select(last.c.run).where(keys.is_(last.c.key, asked.field.key), bounds)
    if asked.field.entity in _TEXTS and asked.field not in _TAGS:
        return _indexed_text(_TEXTS[asked.field.entity], asked)
    column = _UNIQUE.get(asked.field)
    if column is None or asked.op not in ("=", "IN") or not asked.value:
        return None
    return sa.select(run.c.number).where(matches(column, asked.op, asked.value, ""))


def _indexed_text(table: sa.Table, asked: Compare) -> sa.Select[int] | None:
    values = asked.value if isinstance(asked.value, tuple) else (asked.value,)
    if asked.op not in ("=", "IN") or any(len(str(value)) > INDEXED_TEXT for value in values):
        return None
    short = sa.text(f"length({table.name}.value) <= {INDEXED_TEXT}")  # as the index says it
    return sa.select(table.c.run).where(table.c.key == asked.field.key, table.c.value.in_(values), short)
