"""Searching for logged models. Metrics are the latest values that any run measured, on chosen datasets or on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import sqlalchemy as sa

from mainspring.core.values import dataclass
from mainspring.tracking.grammar.tree import ATTRIBUTES, Compare, Field, Node, Not, Order
from mainspring.tracking.records.search.conditions import Condition, Known, condition, number_matches, text_matches
from mainspring.tracking.records.search.keys import Keys
from mainspring.tracking.records.search.paged import Item, Question, attribute, logged_text, measured
from mainspring.tracking.records.tables import (
    experiment,
    logged_model,
    logged_model_metric,
    logged_model_param,
    logged_model_tag,
)

Dataset = tuple[str, str]
"""Name and digest; a digest of "" is any."""
_TEXTS = {"params": logged_model_param, "tags": logged_model_tag}
_KNOWN: Mapping[str, Known] = {
    **{name: Known(logged_model.c[name]) for name in ("id", "name", "kind", "status", "run_id")},
    "created_at": Known(logged_model.c.created_at, int),
    "updated_at": Known(logged_model.c.updated_at, int),
    "experiment_id": Known(
        sa.select(experiment.c.id).where(logged_model.c.experiment == experiment.c.number).scalar_subquery()
    ),
}
_TIES = (Order(Field(ATTRIBUTES, "created_at"), descending=True), Order(Field(ATTRIBUTES, "id")))


@dataclass(frozen=True, slots=True)
class ModelSearch:
    """What to find.

    Args:
        experiments: Numbers; None for all of the project.
        order: What to sort by, each with the dataset its metric is measured on, or None for any of `datasets`.
        datasets: The only datasets whose measurements count; all when there are none.
    """

    project: str
    experiments: tuple[int, ...] | None
    filter: Node
    order: tuple[tuple[Order, Dataset | None], ...]
    datasets: tuple[Dataset, ...] = ()


def question(search: ModelSearch, keys: Keys, dialect: str) -> Question:
    """The question for a search: without an order the newest first, then by id."""
    latest = partial(_latest, keys=keys, datasets=search.datasets)
    where = [logged_model.c.project == search.project, logged_model.c.deleted_at.is_(None)]
    where.append(condition(search.filter, partial(_leaf, latest=latest, dialect=dialect)))
    if search.experiments is not None:
        where.append(logged_model.c.experiment.in_(search.experiments))
    if search.datasets and not _names_metrics(search.filter):
        table = logged_model_metric.alias()
        where.append(sa.exists().where(table.c.model == logged_model.c.number, _on(table, search.datasets)))
    named = [order.field for order, _ in search.order]
    ties = [(order, None) for order in _TIES if order.field not in named]
    items = [_item(order, dataset, latest, dialect) for order, dataset in (*search.order, *ties)]
    return Question(logged_model, tuple(where), tuple(items))


def _leaf(asked: Compare, *, latest: partial[sa.Subquery], dialect: str) -> Condition:
    if asked.field.entity in _TEXTS:
        return text_matches(_TEXTS[asked.field.entity].alias(), logged_model.c.number, asked, dialect)
    if asked.field.entity == ATTRIBUTES:
        return _KNOWN[asked.field.key].matches(asked, dialect)
    last = latest(asked.field.key)
    mine = (last.c.model == logged_model.c.number, last.c.place == 1)
    if asked.op in ("IS NULL", "IS NOT NULL"):
        there = sa.exists().where(*mine).correlate(logged_model)
        return there if asked.op == "IS NOT NULL" else sa.not_(there)
    found = number_matches(last.c.sort, last.c.value, asked.op, asked.value)
    return sa.exists().where(*mine, found).correlate(logged_model)


def _item(order: Order, dataset: Dataset | None, latest: partial[sa.Subquery], dialect: str) -> Item:
    if order.field.entity == "metrics":
        last = latest(order.field.key, dataset=dataset)
        mine = sa.and_(last.c.model == logged_model.c.number, last.c.place == 1)
        return measured(last, mine, sa.true(), descending=order.descending)
    if order.field.entity in _TEXTS:
        table = _TEXTS[order.field.entity]
        return logged_text(table, logged_model.c.number, order.field.key, dialect, descending=order.descending)
    return attribute(_KNOWN[order.field.key], dialect, descending=order.descending)


def _latest(key: str, *, keys: Keys, datasets: Sequence[Dataset], dataset: Dataset | None = None) -> sa.Subquery:
    """The measurements of a metric, those of each model numbered from the latest on."""
    table = logged_model_metric.alias()
    rank = [table.c[name].desc() for name in ("step", "at", "sort", "value")]
    place = sa.func.row_number().over(partition_by=table.c.model, order_by=rank).label("place")
    found = sa.select(table.c.model, table.c.sort, table.c.value, place).where(keys.is_(table.c.key, key))
    for chosen in (datasets, () if dataset is None else (dataset,)):
        if chosen:
            found = found.where(_on(table, chosen))
    return found.subquery()


def _on(table: sa.FromClause, datasets: Sequence[Dataset]) -> Condition:
    """Whether something was measured on one of the datasets."""
    return sa.or_(
        *(
            sa.and_(table.c.dataset_name == name, table.c.dataset_digest == digest if digest else sa.true())
            for name, digest in datasets
        )
    )


def _names_metrics(node: Node) -> bool:
    if isinstance(node, Compare):
        return node.field.entity == "metrics"
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return any(_names_metrics(part) for part in parts)
