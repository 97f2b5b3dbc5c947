"""Experiments: the names that runs are kept under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.storage import bare
from mainspring.storage.prepared import Prepared
from mainspring.storage.sql import sa
from mainspring.tracking.model import Experiment
from mainspring.tracking.records import points, statements, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HERE = "mainspring.tracking.records.statements"
_ADD, _BY_NAME = Prepared(f"{_HERE}:add_experiment"), Prepared(f"{_HERE}:experiment_by_name")
_TAGS = "SELECT key, value FROM experiment_tag WHERE experiment = ? ORDER BY key"
OWN = ("id", "name", "location", "created_at", "updated_at", "deleted_at")
"""Columns that a value of an experiment has."""


def add(conn: Connection, project: str, made: Experiment) -> bool:
    """Insert an experiment; False when the name or the id is taken, also by a deleted one."""
    return bool(_ADD.rows(conn, {"project": project, **{name: getattr(made, name) for name in OWN}}))


def by_name(conn: Connection, project: str, name: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment with its tags, by name."""
    for number, *shown in _BY_NAME.rows(conn, {"project": project, "name": name}):
        return number, _tagged(conn, number, Experiment(*shown))
    return None


def by_id(conn: Connection, project: str, experiment_id: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment with its tags, by id."""
    return _one(conn, tables.experiment.c.project == project, tables.experiment.c.id == experiment_id)


def held_by_id(conn: Connection, project: str, experiment_id: str) -> tuple[int, Experiment] | None:
    """As `by_id`; on Postgres the row is held until the transaction ends, so that nobody changes it in between."""
    conditions = (tables.experiment.c.project == project, tables.experiment.c.id == experiment_id)
    conn.execute(sa.select(tables.experiment.c.number).where(*conditions).with_for_update())
    return _one(conn, *conditions)


def numbers_of(conn: Connection, project: str, ids: Sequence[str]) -> tuple[int, ...]:
    """The numbers of those of the experiments that there are."""
    found = sa.select(tables.experiment.c.number).where(
        tables.experiment.c.project == project, tables.experiment.c.id.in_(ids)
    )
    return tuple(conn.execute(found.order_by(tables.experiment.c.number)).scalars())


def load(conn: Connection, numbers: Sequence[int]) -> list[Experiment]:
    """Experiments with their tags by what they are interned as, in that order; those that are gone are left out."""
    found = sa.select(tables.experiment.c.number, *statements.EXPERIMENT_SHOWN).where(
        tables.experiment.c.number.in_(numbers)
    )
    tags = points.texts_of(conn, tables.experiment_tag, numbers)
    kept = {row.number: replace(Experiment(*row[1:]), tags=tags[row.number]) for row in conn.execute(found)}
    return [kept[number] for number in numbers if number in kept]


def list_all(conn: Connection, project: str, *, deleted: bool = False) -> list[Experiment]:
    """Experiments that are there (or those that are deleted), by name, with how many runs they have."""
    gone = tables.experiment.c.deleted_at.is_not(None) if deleted else tables.experiment.c.deleted_at.is_(None)
    # all of them are counted in an index; whether one is deleted would have to be looked up row by row
    counted = sa.select(sa.func.count()).where(tables.run.c.experiment == tables.experiment.c.number)
    found = sa.select(tables.experiment.c.number, *statements.EXPERIMENT_SHOWN, counted.scalar_subquery().label("runs"))
    found = found.where(tables.experiment.c.project == project, gone)
    rows = conn.execute(found.order_by(tables.experiment.c.name)).all()
    owner = tables.run.c.experiment + sa.literal_column("0")  # so that the few are found by being deleted
    less = sa.select(owner, sa.func.count()).where(tables.run.c.deleted_at.is_not(None)).group_by(owner)
    lost = {row[0]: row[1] for row in conn.execute(less)}
    tags = points.texts_of(conn, tables.experiment_tag, [row.number for row in rows])
    return [Experiment(*row[1:7], runs=row.runs - lost.get(row.number, 0), tags=tags[row.number]) for row in rows]


def change(conn: Connection, number: int, **values: str | int | None) -> None:
    """Set columns of an experiment."""
    conn.execute(sa.update(tables.experiment).where(tables.experiment.c.number == number).values(**values))


def delete_runs(conn: Connection, number: int, at: int) -> int:
    """Mark the runs of an experiment as deleted at a time; says how many there were."""
    gone = (
        sa.update(tables.run)
        .where(tables.run.c.experiment == number, tables.run.c.deleted_at.is_(None))
        .values(deleted_at=at)
    )
    return conn.execute(gone).rowcount


def restore_runs(conn: Connection, number: int, at: int) -> int:
    """Bring back the runs of an experiment that were deleted at a time; says how many there were."""
    back = (
        sa.update(tables.run)
        .where(tables.run.c.experiment == number, tables.run.c.deleted_at == at)
        .values(deleted_at=None)
    )
    return conn.execute(back).rowcount


def _one(conn: Connection, *conditions: sa.ColumnElement[bool]) -> tuple[int, Experiment] | None:
    row = conn.execute(sa.select(tables.experiment.c.number, *statements.EXPERIMENT_SHOWN).where(*conditions)).first()
    if row is None:
        return None
    return row.number, _tagged(conn, row.number, Experiment(*row[1:]))


def _tagged(conn: Connection, number: int, found: Experiment) -> Experiment:
    return replace(found, tags=dict(map(tuple, bare.rows(conn, _TAGS, (number,)))))
