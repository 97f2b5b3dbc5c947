"""Searching for evaluation sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import sqlalchemy as sa

from mainspring.tracking.grammar.tree import ATTRIBUTES, Compare, Field, Node, Order
from mainspring.tracking.records.search.conditions import Condition, Known, condition, text_matches
from mainspring.tracking.records.search.paged import Question, attribute
from mainspring.tracking.records.tables import evaluation_set, evaluation_set_experiment, evaluation_set_tag

_KNOWN: Mapping[str, Known] = {
    **{name: Known(evaluation_set.c[name]) for name in ("id", "name", "created_by", "updated_by")},
    **{name: Known(evaluation_set.c[name], int) for name in ("created_at", "updated_at")},
}
_TIES = (Order(Field(ATTRIBUTES, "created_at"), descending=True), Order(Field(ATTRIBUTES, "id"), descending=True))


def question(
    project: str, experiments: Sequence[int] | None, node: Node, order: Sequence[Order], dialect: str
) -> Question:
    """The question for a search: without an order the newest first.

    Args:
        experiments: Only sets that are tied to one of these, by number; None for all.
    """
    where = [evaluation_set.c.project == project, condition(node, partial(_leaf, dialect=dialect))]
    if experiments is not None:
        tie = evaluation_set_experiment
        tied = sa.select(tie.c.evaluation_set).where(tie.c.experiment.in_(experiments))
        where.append(evaluation_set.c.number.in_(tied))
    named = [item.field for item in order]
    wanted = [*order, *(item for item in _TIES if item.field not in named)]
    items = (attribute(_KNOWN[item.field.key], dialect, descending=item.descending) for item in wanted)
    return Question(evaluation_set, tuple(where), tuple(items))


def _leaf(asked: Compare, *, dialect: str) -> Condition:
    if asked.field.entity == "tags":
        return text_matches(evaluation_set_tag.alias(), evaluation_set.c.number, asked, dialect)
    return _KNOWN[asked.field.key].matches(asked, dialect)
