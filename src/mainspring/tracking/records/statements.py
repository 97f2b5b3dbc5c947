"""What the prepared statements over runs and experiments are made of."""

from __future__ import annotations

import sqlalchemy as sa

from mainspring.storage.prepared import given
from mainspring.storage.upsert import insert_into
from mainspring.tracking.records.experiments import OWN as EXPERIMENT_OWN
from mainspring.tracking.records.runs import OWN
from mainspring.tracking.records.tables import experiment, run

RUN_SHOWN = [
    *(run.c[name] for name in OWN),
    experiment.c.name.label("experiment"),
    experiment.c.id.label("experiment_id"),
    experiment.c.location.label("location"),
]
"""Columns of a run that a value of it has."""
RUN_FROM = run.join(experiment, experiment.c.number == run.c.experiment)
EXPERIMENT_SHOWN = [experiment.c[name] for name in EXPERIMENT_OWN]
"""Likewise of an experiment."""


def add_run(conn: sa.Connection) -> sa.Executable:
    """Adds a run, unless it is there."""
    names = ("project", "experiment", "code", "environment", *OWN)
    added = insert_into(conn, run).values({name: given(run.c[name]) for name in names})
    return added.on_conflict_do_nothing(index_elements=["id"]).returning(run.c.number)


def held_run(_: sa.Connection) -> sa.Executable:
    """A run, which Postgres holds until the transaction ends."""
    found = sa.select(run.c.number, run.c.code, *RUN_SHOWN).select_from(RUN_FROM)
    here = (run.c.project == given(run.c.project), run.c.id == given(run.c.id))
    return found.where(*here).with_for_update(of=run)


def change_run(_: sa.Connection, names: tuple[str, ...]) -> sa.Executable:
    """Sets these columns of a run."""
    update = run.update().where(run.c.number == given(run.c.number, "at_number"))
    return update.values({name: given(run.c[name]) for name in names})


def add_experiment(conn: sa.Connection) -> sa.Executable:
    """Adds an experiment, unless its name or id is taken."""
    columns = [experiment.c.project, *EXPERIMENT_SHOWN]
    added = insert_into(conn, experiment).values({column.key: given(column) for column in columns})
    return added.on_conflict_do_nothing().returning(experiment.c.number)


def experiment_by_name(_: sa.Connection) -> sa.Executable:
    """An experiment."""
    here = (experiment.c.project == given(experiment.c.project), experiment.c.name == given(experiment.c.name))
    return sa.select(experiment.c.number, *EXPERIMENT_SHOWN).where(*here)
