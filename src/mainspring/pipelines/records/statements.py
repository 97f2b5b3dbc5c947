"""What the prepared statements of this room are made of."""

from __future__ import annotations

import sqlalchemy as sa

from mainspring.pipelines.model import RunState, StepState
from mainspring.pipelines.records.tables import CACHE, RUN, STEP, pipeline_run, step_cache, step_run
from mainspring.storage.jobs import JobState
from mainspring.storage.prepared import given
from mainspring.storage.schema import job
from mainspring.storage.upsert import insert_into

_HERE = (RUN.project == given(RUN.project), RUN.id == given(RUN.id))
_INNER = (STEP.project == given(STEP.project), STEP.run == given(STEP.run), STEP.parent == given(STEP.parent))
_STEPS_HERE = (STEP.project == given(STEP.project, "at_project"), STEP.run == given(STEP.run, "at_run"))


def add_run(conn: sa.Connection) -> sa.Executable:
    """Adds a run, unless it is there."""
    return insert_into(conn, pipeline_run).values({each.key: given(each) for each in RUN}).on_conflict_do_nothing()


def find_run(_: sa.Connection) -> sa.Executable:
    """A run."""
    return pipeline_run.select().where(*_HERE)


def change_run(_: sa.Connection, names: tuple[str, ...], states: tuple[RunState, ...]) -> sa.Executable:
    """Sets these columns of a run that is in one of the states."""
    here = (RUN.project == given(RUN.project, "at_project"), RUN.id == given(RUN.id, "at_run"))
    update = pipeline_run.update().where(*here, sa.or_(*(RUN.state == state for state in states)))
    return update.values({name: given(RUN[name]) for name in names})


def fixed(_: sa.Connection) -> sa.Executable:
    """What a run was fixed to."""
    return sa.select(RUN.pins, RUN.code).where(*_HERE)


def state(_: sa.Connection) -> sa.Executable:
    """The state of a run."""
    return sa.select(RUN.state).where(*_HERE)


def pausing(_: sa.Connection) -> sa.Executable:
    """Whether a run is to stop."""
    return sa.select(RUN.pausing).where(*_HERE)


def add_step(_: sa.Connection, names: tuple[str, ...]) -> sa.Executable:
    """Adds a step."""
    return step_run.insert().values({name: given(STEP[name]) for name in names})


def steps_of_parent(_: sa.Connection) -> sa.Executable:
    """The steps of one parent."""
    return sa.select(STEP.step).where(*_INNER)


def begun(_: sa.Connection) -> sa.Executable:
    """The steps of one parent that are not as they were planned."""
    other = sa.or_(STEP.state != StepState.WAITING, STEP.attempt > 0, STEP.failures > 0)
    return sa.select(STEP.step, STEP.state, STEP.attempt, STEP.failures).where(*_INNER).where(other)


def change_step(_: sa.Connection, names: tuple[str, ...]) -> sa.Executable:
    """Sets these columns of a step."""
    update = step_run.update().where(*_STEPS_HERE, STEP.step == given(STEP.step, "at_step"))
    return update.values({name: given(STEP[name]) for name in names})


def step(_: sa.Connection) -> sa.Executable:
    """A step."""
    return step_run.select().where(*_STEPS_HERE, STEP.step == given(STEP.step, "at_step"))


def stop_steps(_: sa.Connection) -> sa.Executable:
    """Ends the steps of a run that are running."""
    running = STEP.state == sa.bindparam("before", StepState.RUNNING, STEP.state.type)
    return (
        step_run.update()
        .where(*_STEPS_HERE, running)
        .values(state=given(STEP.state), finished_at=given(STEP.finished_at))
    )


def skip_steps(_: sa.Connection) -> sa.Executable:
    """Skips the steps of a run that have not begun."""
    waiting = sa.or_(STEP.state == StepState.WAITING, STEP.state == StepState.ASKED)
    skipped = sa.bindparam("skipped", StepState.SKIPPED, STEP.state.type)
    return step_run.update().where(*_STEPS_HERE, waiting).values(state=skipped)


def page_of_steps(_: sa.Connection, most: int) -> sa.Executable:
    """The next steps of a run, by their names."""
    here = (STEP.project == given(STEP.project), STEP.run == given(STEP.run), STEP.step > given(STEP.step))
    return step_run.select().where(*here).order_by(STEP.step).limit(sa.literal_column(str(most)))


def is_made_elsewhere(_: sa.Connection) -> sa.Executable:
    """A step of another run that is making the result of a key, while its lease holds."""
    run = sa.and_(RUN.project == STEP.project, RUN.id == STEP.run)
    joined = step_run.join(pipeline_run, run).join(job, job.c.id == RUN.job_id)
    is_running: sa.ColumnElement[str] = sa.literal_column(f"'{StepState.RUNNING.value}'")  # as the index has it
    making = (STEP.project == given(STEP.project), STEP.key == given(STEP.key), STEP.state == is_running)
    held = (job.c.state == JobState.RUNNING, job.c.lease_until >= given(job.c.lease_until, "now"))
    found = sa.select(STEP.run).select_from(joined).where(*making, STEP.run != given(STEP.run), *held)
    return found.limit(sa.literal_column("1"))


def only_one(_: sa.Connection) -> sa.Executable:
    """Holds a key until the end of the transaction, on Postgres."""
    return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("key", type_=sa.Text), 0)))


def find_cached(_: sa.Connection) -> sa.Executable:
    """A result by its key."""
    found = sa.select(CACHE.output, CACHE.reads, CACHE.run)
    return found.where(CACHE.project == given(CACHE.project), CACHE.key == given(CACHE.key))


def store_cached(conn: sa.Connection) -> sa.Executable:
    """Keeps a result instead of an older one."""
    insert = insert_into(conn, step_cache).values({column.key: given(column) for column in CACHE})
    fresh = {name: insert.excluded[name] for name in ("output", "reads", "run", "created_at")}
    return insert.on_conflict_do_update(index_elements=["project", "key"], set_=fresh)
