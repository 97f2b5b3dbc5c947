"""Searching for experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import sqlalchemy as sa

from mainspring.tracking.grammar.tree import ATTRIBUTES, Compare, Field, Node, Order
from mainspring.tracking.records.search.conditions import Condition, Known, condition, text_matches
from mainspring.tracking.records.search.paged import Item, Question, attribute, logged_text, plain
from mainspring.tracking.records.tables import experiment, experiment_tag

_KNOWN: Mapping[str, Known] = {
    "id": Known(experiment.c.id),
    "name": Known(experiment.c.name),
    "created_at": Known(experiment.c.created_at, int),
    "updated_at": Known(experiment.c.updated_at, int),
    "deleted_at": Known(experiment.c.deleted_at, int, optional=True),
}
_ID = Field(ATTRIBUTES, "id")


def question(project: str, node: Node, order: Sequence[Order], view: str, dialect: str) -> Question:
    """The question for a search: without an order the newest first, then by id."""
    where = [experiment.c.project == project, condition(node, partial(_leaf, dialect=dialect))]
    if view != "all":
        gone = experiment.c.deleted_at
        where.append(gone.is_(None) if view == "active" else gone.is_not(None))
    wanted = list(order) or [Order(Field(ATTRIBUTES, "created_at"), descending=True), Order(_ID)]
    if all(item.field != _ID for item in wanted):
        wanted.append(Order(_ID, descending=True))
    items = [item for entry in wanted for item in _items(entry, dialect)]
    return Question(experiment, tuple(where), tuple(items))


def _leaf(asked: Compare, *, dialect: str) -> Condition:
    if asked.field.entity == "tags":
        return text_matches(experiment_tag.alias(), experiment.c.number, asked, dialect)
    return _KNOWN[asked.field.key].matches(asked, dialect)


def _items(order: Order, dialect: str) -> list[Item]:
    down = order.descending
    if order.field.entity == "tags":
        return [logged_text(experiment_tag, experiment.c.number, order.field.key, dialect, descending=down)]
    known = _KNOWN[order.field.key]
    item = attribute(known, dialect, descending=down)
    if order.field != _ID:
        return [item]
    return [plain(sa.func.length(known.column), int, descending=down), item]  # ids are decimal numbers
