"""Experiments: the names that runs are kept under."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Experiment
from mainspring.tracking.records.tables import experiment, run

_SHOWN = [experiment.c[name] for name in ("id", "name", "location", "created_at", "updated_at", "deleted_at")]


def add(conn: Connection, project: str, made: Experiment) -> bool:
    """Insert an experiment; False when the name or the id is taken, also by a deleted one."""
    row = {column.name: getattr(made, column.name) for column in _SHOWN}
    added = insert_into(conn, experiment).values(project=project, **row).on_conflict_do_nothing()
    return conn.execute(added.returning(experiment.c.number)).first() is not None


def by_name(conn: Connection, project: str, name: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment, by name."""
    return _one(conn, experiment.c.project == project, experiment.c.name == name)


def by_id(conn: Connection, project: str, experiment_id: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment, by id."""
    return _one(conn, experiment.c.project == project, experiment.c.id == experiment_id)


def list_all(conn: Connection, project: str) -> list[Experiment]:
    """Experiments that are not deleted, by name, with how many runs they have."""
    counted = sa.select(sa.func.count()).where(run.c.experiment == experiment.c.number, run.c.deleted_at.is_(None))
    found = sa.select(*_SHOWN, counted.scalar_subquery())
    found = found.where(experiment.c.project == project, experiment.c.deleted_at.is_(None))
    return [Experiment(*row[:6], runs=row[6]) for row in conn.execute(found.order_by(experiment.c.name))]


def _one(conn: Connection, *conditions: sa.ColumnElement[bool]) -> tuple[int, Experiment] | None:
    row = conn.execute(sa.select(experiment.c.number, *_SHOWN).where(*conditions)).first()
    return None if row is None else (row.number, Experiment(*row[1:]))
