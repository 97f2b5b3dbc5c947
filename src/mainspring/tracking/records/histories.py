"""Points of metrics in the order they were measured in: one metric by pages, and the same metric of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.keyset import SortKey, following
from mainspring.tracking.model import Metric
from mainspring.tracking.records.points import bare_rows
from mainspring.tracking.records.tables import metric, metric_key, run
from mainspring.tracking.rules import joined

KEY_TYPES = (int, int, int, float)
"""What the sort keys of a point are: time, step, sort of number, number."""

_ORDER = [SortKey(metric.c[name]) for name in ("at", "step", "sort", "value")]


def page(
    conn: Connection, number: int, key: str, *, after: Sequence[int | float | str], limit: int | None
) -> list[tuple[int, int, int, float]]:
    """The sort keys of the next points of a metric of a run by time, step and value; `rules.joined` makes values of
    the last two."""
    found = sa.select(*(entry.column for entry in _ORDER)).where(metric.c.run == number)
    found = found.where(metric.c.key.in_(sa.select(metric_key.c.number).where(_named(key, [number]))))
    if after:
        found = found.where(following(_ORDER, after))
    return bare_rows(conn, found.order_by(*(entry.order() for entry in _ORDER)).limit(limit))


def of_runs(
    conn: Connection, runs: Sequence[tuple[int, str]], key: str, *, limit: int, steps: Sequence[int] | None = None
) -> list[tuple[str, Metric]]:
    """Points of a metric of many runs, by the id of the run, then by time, step and value.

    Args:
        runs: Number and id of each.
        limit: At most so many points.
        steps: Only these; None for all.
    """
    numbers = [number for number, _ in runs]
    found = sa.select(run.c.id, metric.c.at, metric.c.step, metric.c.sort, metric.c.value)
    found = found.join(run, run.c.number == metric.c.run).where(*_of(numbers, key))
    if steps is not None:
        chosen: sa.BindParameter[int] = sa.bindparam("steps", list(steps), expanding=True, literal_execute=True)
        found = found.where(metric.c.step.in_(chosen))
    found = found.order_by(run.c.id, *(entry.order() for entry in _ORDER)).limit(limit)
    return [
        (run_id, Metric(key, joined(value, sort), step, at)) for run_id, at, step, sort, value in conn.execute(found)
    ]


def steps_of(conn: Connection, numbers: Sequence[int], key: str, first: int, last: int) -> list[int]:
    """The steps at which any of some runs has a point of a metric, between two steps and with them, in order."""
    found = sa.select(metric.c.step).distinct().where(*_of(numbers, key), metric.c.step.between(first, last))
    return [cast(int, step) for (step,) in conn.execute(found.order_by(metric.c.step))]


def ends_of(conn: Connection, numbers: Sequence[int], key: str, first: int, last: int) -> set[int]:
    """The first and the last step of each run between two steps."""
    found = sa.select(sa.func.min(metric.c.step), sa.func.max(metric.c.step))
    found = found.where(*_of(numbers, key), metric.c.step.between(first, last)).group_by(metric.c.run)
    return {step for row in conn.execute(found) for step in row}


def numbers_of(conn: Connection, project: str, run_ids: Sequence[str]) -> list[tuple[int, str]]:
    """Number and id of those runs that are there."""
    found = sa.select(run.c.number, run.c.id).where(run.c.project == project, run.c.id.in_(run_ids))
    return [(row.number, row.id) for row in conn.execute(found.order_by(run.c.id))]


def _of(numbers: Sequence[int], key: str) -> tuple[sa.ColumnElement[Any], ...]:
    keys = sa.select(metric_key.c.number).where(_named(key, numbers))
    return metric.c.run.in_(numbers), metric.c.key.in_(keys)


def _named(key: str, numbers: Sequence[int]) -> sa.ColumnElement[bool]:
    """Names of metrics are numbered by experiment."""
    owners = sa.select(run.c.experiment).where(run.c.number.in_(numbers))
    return sa.and_(metric_key.c.name == key, metric_key.c.experiment.in_(owners))
