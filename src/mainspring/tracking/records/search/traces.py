"""Searching for traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from mainspring.tracking.grammar.tree import ATTRIBUTES, Compare, Field, Node, Order
from mainspring.tracking.records.search.conditions import Condition, Known, condition, text_matches
from mainspring.tracking.records.search.paged import Question, attribute
from mainspring.tracking.records.tables import trace, trace_metadata, trace_tag

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
    where = (trace.c.experiment.in_(experiments), condition(node, partial(_leaf, dialect=dialect)))
    named = [item.field for item in order]
    wanted = [*order, *(item for item in _TIES if item.field not in named)]
    items = (attribute(_KNOWN[item.field.key], dialect, descending=item.descending) for item in wanted)
    return Question(trace, where, tuple(items))


def _leaf(asked: Compare, *, dialect: str) -> Condition:
    if asked.field.entity in _TEXTS:
        return text_matches(_TEXTS[asked.field.entity].alias(), trace.c.number, asked, dialect)
    return _KNOWN[asked.field.key].matches(asked, dialect)
