"""Searching for traces. Comparisons of spans that AND joins are about one span, those of opinions each about any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from mainspring.storage.matching import matches
from mainspring.tracking.grammar.tree import ATTRIBUTES, Compare, Field, Node, Order
from mainspring.tracking.records.search.conditions import Condition, Known, condition, text_matches
from mainspring.tracking.records.search.paged import Question, attribute
from mainspring.tracking.records.tables import assessment, span, trace, trace_link, trace_metadata, trace_tag

Text = sa.ColumnElement[str]
_PRESENT = ("IS NULL", "IS NOT NULL")
_SPANS, _ATTRIBUTE = "spans", "attributes."
_TEXTS = {"tags": trace_tag, "metadata": trace_metadata}
_KNOWN: Mapping[str, Known] = {
    **{name: Known(trace.c[name]) for name in ("id", "name", "state", "run_id", "client_id")},
    "started_at": Known(trace.c.started_at, int),
    "duration_us": Known(trace.c.duration_us, int, optional=True),
    "ended_at": Known(trace.c.started_at + trace.c.duration_us, int, optional=True),
}
_TIES = (Order(Field(ATTRIBUTES, "started_at"), descending=True), Order(Field(ATTRIBUTES, "id")))


def question(experiments: Sequence[int], node: Node, order: Sequence[Order], dialect: str) -> Question:
    """The question for a search in experiments, by number: without an order the newest first, then by id."""
    leaf, every = partial(_leaf, dialect=dialect), partial(_every, dialect=dialect)
    where = (trace.c.experiment.in_(experiments), condition(node, leaf, every))
    named = [item.field for item in order]
    wanted = [*order, *(item for item in _TIES if item.field not in named)]
    items = (attribute(_KNOWN[item.field.key], dialect, descending=item.descending) for item in wanted)
    return Question(trace, where, tuple(items))


def _leaf(asked: Compare, *, dialect: str) -> Condition:
    entity, key = asked.field.entity, asked.field.key
    if entity in _TEXTS:
        return text_matches(_TEXTS[entity].alias(), trace.c.number, asked, dialect)
    if entity == _SPANS:
        return _of_span([asked], dialect)
    if entity != ATTRIBUTES:
        return _thought(asked, dialect)
    if key == "prompt":
        return _linked("prompt", asked, dialect)
    if key == "state" and asked.op == "RLIKE":
        return matches(sa.func.upper(trace.c.state), asked.op, asked.value, dialect)
    own = _KNOWN[key].matches(asked, dialect)
    return sa.or_(own, _linked("run", asked, dialect)) if key == "run_id" and asked.op in ("=", "IN") else own


def _every(parts: Sequence[Node], down: Callable[[Node], Condition], *, dialect: str) -> Iterator[Condition]:
    """The conditions of parts joined by AND, those of spans as one."""
    spans = [part for part in parts if isinstance(part, Compare) and _is_of_a_span(part)]
    yield from (down(part) for part in parts if part not in spans)
    if spans:
        yield _of_span(spans, dialect)


def _is_of_a_span(asked: Compare) -> bool:
    return asked.field.entity == _SPANS and asked.op != "IS NULL"


def _of_span(asked: Sequence[Compare], dialect: str) -> Condition:
    """Whether a trace has a span that is all of this; for IS NULL, whether it has none that has a value."""
    one = span.alias()
    found = (_of_one(one, entry, dialect) for entry in asked)
    there = sa.exists().where(one.c.trace == trace.c.number, *found)
    return sa.not_(there) if asked[0].op == "IS NULL" else there


def _of_one(one: sa.FromClause, asked: Compare, dialect: str) -> Condition:
    key = asked.field.key
    if key.startswith(_ATTRIBUTE):
        return _of_attribute(one, key.removeprefix(_ATTRIBUTE), asked, dialect)
    return one.c[key] != "" if asked.op in _PRESENT else matches(one.c[key], asked.op, asked.value, dialect)


def _of_attribute(one: sa.FromClause, key: str, asked: Compare, dialect: str) -> Condition:
    """Whether a span has an attribute that compares so; clients write attributes as JSON, exporters as they are."""
    source, named, values = _attributes(one, dialect)
    has = [named == key]
    if asked.op not in _PRESENT:
        plain = sa.func.coalesce(*values)
        quoted = sa.and_(sa.func.substr(plain, 1, 1) == '"', sa.func.length(plain) > 1)
        inner = sa.func.substr(plain, 2, sa.func.length(plain) - 2)
        has.append(matches(sa.case((quoted, inner), else_=plain), asked.op, asked.value, dialect))
    return sa.exists(sa.select(sa.literal_column("1")).select_from(source).where(*has).correlate(one))


_KINDS = ("string_value", "int_value", "double_value", "bool_value")


def _attributes(one: sa.FromClause, dialect: str) -> tuple[sa.FromClause, Text, Sequence[Text]]:
    """The attributes of a span as rows, with the key of a row and its value as each kind it may be."""
    if dialect == "sqlite":
        rows = sa.func.json_each(one.c.content, "$.attributes").table_valued("value")
        values = (sa.func.json_extract(rows.c.value, f"$.value.{kind}") for kind in _KINDS)
        return rows, sa.func.json_extract(rows.c.value, "$.key"), [sa.cast(value, sa.Text) for value in values]
    entries = sa.cast(one.c.content, JSONB)["attributes"]
    pairs = sa.func.jsonb_array_elements(entries).table_valued(sa.column("value", JSONB))
    pair = pairs.c.value
    return pairs, pair["key"].astext, [pair["value"][kind].astext for kind in _KINDS]


def _thought(asked: Compare, dialect: str) -> Condition:
    """Whether somebody's opinion of this name compares so."""
    one = assessment.alias()
    mine = [one.c.trace == trace.c.number, one.c.kind == asked.field.entity, one.c.name == asked.field.key]
    if asked.op not in _PRESENT:
        column = one.c.value if isinstance(asked.value, (str, tuple)) else one.c.number
        mine += [column.is_not(None), matches(column, asked.op, asked.value, dialect)]
    there = sa.exists().where(*mine)
    return sa.not_(there) if asked.op == "IS NULL" else there


def _linked(kind: str, asked: Compare, dialect: str) -> Condition:
    one = trace_link.alias()
    mine = [one.c.trace == trace.c.number, one.c.kind == kind]
    if asked.op not in _PRESENT:
        mine.append(matches(one.c.target, asked.op, asked.value, dialect))
    there = sa.exists().where(*mine)
    return sa.not_(there) if asked.op == "IS NULL" else there
