"""Experiments: the names that runs are kept under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage import bare
from mainspring.storage.prepared import Prepared, given
from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Experiment
from mainspring.tracking.records.points import texts_of
from mainspring.tracking.records.tables import experiment, experiment_tag, run

_SHOWN = [experiment.c[name] for name in ("id", "name", "location", "created_at", "updated_at", "deleted_at")]


def add(conn: Connection, project: str, made: Experiment) -> bool:
    """Insert an experiment; False when the name or the id is taken, also by a deleted one."""
    row = {column.name: getattr(made, column.name) for column in _SHOWN}
    added = insert_into(conn, experiment).values(project=project, **row).on_conflict_do_nothing()
    return conn.execute(added.returning(experiment.c.number)).first() is not None


def by_name(conn: Connection, project: str, name: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment with its tags, by name."""
    for number, *shown in _BY_NAME.rows(conn, {"project": project, "name": name}):
        return number, _tagged(conn, number, Experiment(*shown))
    return None


_BY_NAME = Prepared(
    lambda _: sa.select(experiment.c.number, *_SHOWN).where(
        experiment.c.project == given(experiment.c.project), experiment.c.name == given(experiment.c.name)
    )
)
_TAGS = "SELECT key, value FROM experiment_tag WHERE experiment = ? ORDER BY key"


def by_id(conn: Connection, project: str, experiment_id: str) -> tuple[int, Experiment] | None:
    """The number of an experiment and the experiment with its tags, by id."""
    return _one(conn, experiment.c.project == project, experiment.c.id == experiment_id)


def held_by_id(conn: Connection, project: str, experiment_id: str) -> tuple[int, Experiment] | None:
    """As `by_id`; on Postgres the row is held until the transaction ends, so that nobody changes it in between."""
    conditions = (experiment.c.project == project, experiment.c.id == experiment_id)
    conn.execute(sa.select(experiment.c.number).where(*conditions).with_for_update())
    return _one(conn, *conditions)


def numbers_of(conn: Connection, project: str, ids: Sequence[str]) -> tuple[int, ...]:
    """The numbers of those of the experiments that there are."""
    found = sa.select(experiment.c.number).where(experiment.c.project == project, experiment.c.id.in_(ids))
    return tuple(conn.execute(found.order_by(experiment.c.number)).scalars())


def load(conn: Connection, numbers: Sequence[int]) -> list[Experiment]:
    """Experiments with their tags by what they are interned as, in that order; those that are gone are left out."""
    found = sa.select(experiment.c.number, *_SHOWN).where(experiment.c.number.in_(numbers))
    tags = texts_of(conn, experiment_tag, numbers)
    kept = {row.number: replace(Experiment(*row[1:]), tags=tags[row.number]) for row in conn.execute(found)}
    return [kept[number] for number in numbers if number in kept]


def list_all(conn: Connection, project: str, *, deleted: bool = False) -> list[Experiment]:
    """Experiments that are there (or those that are deleted), by name, with how many runs they have."""
    gone = experiment.c.deleted_at.is_not(None) if deleted else experiment.c.deleted_at.is_(None)
    # all of them are counted in an index; whether one is deleted would have to be looked up row by row
    counted = sa.select(sa.func.count()).where(run.c.experiment == experiment.c.number)
    found = sa.select(experiment.c.number, *_SHOWN, counted.scalar_subquery().label("runs"))
    found = found.where(experiment.c.project == project, gone)
    rows = conn.execute(found.order_by(experiment.c.name)).all()
    owner = run.c.experiment + sa.literal_column("0")  # so that the few are found by being deleted
    less = sa.select(owner, sa.func.count()).where(run.c.deleted_at.is_not(None)).group_by(owner)
    lost = {row[0]: row[1] for row in conn.execute(less)}
    tags = texts_of(conn, experiment_tag, [row.number for row in rows])
    return [Experiment(*row[1:7], runs=row.runs - lost.get(row.number, 0), tags=tags[row.number]) for row in rows]


def change(conn: Connection, number: int, **values: str | int | None) -> None:
    """Set columns of an experiment."""
    conn.execute(sa.update(experiment).where(experiment.c.number == number).values(**values))


def delete_runs(conn: Connection, number: int, at: int) -> int:
    """Mark the runs of an experiment as deleted at a time; says how many there were."""
    gone = sa.update(run).where(run.c.experiment == number, run.c.deleted_at.is_(None)).values(deleted_at=at)
    return conn.execute(gone).rowcount


def restore_runs(conn: Connection, number: int, at: int) -> int:
    """Bring back the runs of an experiment that were deleted at a time; says how many there were."""
    back = sa.update(run).where(run.c.experiment == number, run.c.deleted_at == at).values(deleted_at=None)
    return conn.execute(back).rowcount


def _one(conn: Connection, *conditions: sa.ColumnElement[bool]) -> tuple[int, Experiment] | None:
    row = conn.execute(sa.select(experiment.c.number, *_SHOWN).where(*conditions)).first()
    if row is None:
        return None
    return row.number, _tagged(conn, row.number, Experiment(*row[1:]))


def _tagged(conn: Connection, number: int, found: Experiment) -> Experiment:
    return replace(found, tags=dict(map(tuple, bare.rows(conn, _TAGS, (number,)))))
