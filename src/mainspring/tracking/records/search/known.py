"""Which names of metrics, params and tags there are, and which texts."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.tracking.grammar.tree import ATTRIBUTES, Field
from mainspring.tracking.model import KnownKeys
from mainspring.tracking.records.tables import experiment, input_dataset, metric_key, param, run, run_input, tag

NEWEST = 500
"""Of so many runs the names and values of params and tags are known."""
_LONG = 100
"""Longer texts are no help to write a filter with."""
_TEXTS = {"params": param, "tags": tag}
_OF_RUNS = {"name": run.c.name, "user_id": run.c.user_id, "created_by": run.c.created_by}


def known_keys(conn: Connection, experiments: Sequence[int]) -> KnownKeys:
    """The names in some experiments."""
    names = sa.select(metric_key.c.name).where(metric_key.c.experiment.in_(experiments)).distinct()
    numbers = conn.execute(_newest(experiments)).scalars().all()
    texts = [sa.select(table.c.key).where(table.c.run.in_(numbers)).distinct() for table in (param, tag)]
    return KnownKeys(*(tuple(sorted(conn.execute(found).scalars())) for found in (names, *texts)))


def known_texts(conn: Connection, experiments: Sequence[int], field: Field, part: str, most: int) -> list[str]:
    """Texts of a field in some experiments that have a part, whatever its case, sorted; those of the newest runs."""
    newest = _newest(experiments)
    if field.entity in _TEXTS:
        table = _TEXTS[field.entity]
        column: sa.ColumnElement[str] = table.c.value
        found = sa.select(column).where(table.c.run.in_(newest), table.c.key == field.key)
    elif field == Field(ATTRIBUTES, "experiment"):
        column = experiment.c.name
        found = sa.select(column).where(experiment.c.number.in_(experiments))
    elif field.entity == "datasets":
        column = (run_input if field.key == "context" else input_dataset).c[field.key]
        found = sa.select(column).join_from(input_dataset, run_input, run_input.c.dataset == input_dataset.c.number)
        found = found.where(input_dataset.c.experiment.in_(experiments))
    elif field.entity == ATTRIBUTES and field.key in _OF_RUNS:
        column = _OF_RUNS[field.key]
        found = sa.select(column).where(run.c.number.in_(newest))
    else:
        return []
    short = (column != "", sa.func.length(column) <= _LONG, column.icontains(part, autoescape=True))
    return list(conn.execute(found.where(*short).distinct().order_by(column).limit(most)).scalars())


def _newest(experiments: Sequence[int]) -> sa.Select[int]:
    found = sa.select(run.c.number).where(run.c.experiment.in_(experiments), run.c.deleted_at.is_(None))
    return found.order_by(run.c.started_at.desc()).limit(NEWEST)
