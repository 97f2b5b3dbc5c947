"""What the prepared statements of the journal and the queue are made of."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from mainspring.storage.jobs import JobState
from mainspring.storage.prepared import given
from mainspring.storage.schema import event, job, queue_control, queue_quota
from mainspring.storage.upsert import insert_into

NOW: sa.ColumnElement[int] = sa.literal_column(
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", sa.BigInteger
)
"""The time of Postgres in epoch microseconds, moving inside a transaction too."""
_NEXT = sa.select(sa.func.coalesce(sa.func.max(event.c.seq), 0) + 1).scalar_subquery()
_GIVEN_QUEUE, _GIVEN_NOW = sa.bindparam("given_queue", type_=sa.Text), sa.bindparam("given_now", type_=sa.BigInteger)
_WAITING = sa.and_(job.c.state == JobState.QUEUED, job.c.queue == _GIVEN_QUEUE)
_SET = tuple(sa.exists().where(table.c.queue == _GIVEN_QUEUE) for table in (queue_control, queue_quota))


def take_turn(_: sa.Connection, lock: int) -> sa.Executable:
    """Waits for the others that append."""
    return sa.text(f"SELECT pg_advisory_xact_lock({lock})")


def newest(_: sa.Connection) -> sa.Executable:
    """The number of the newest event, 0 before the first."""
    return sa.select(sa.func.coalesce(sa.func.max(event.c.seq), 0))


def add_event(_: sa.Connection) -> sa.Executable:
    """Adds an event under the next number, which it gives."""
    values = {column.key: given(column) if column.key != "seq" else _NEXT for column in event.c}
    return event.insert().values(values).returning(event.c.seq)


def look(_: sa.Connection) -> sa.Executable:
    """Whether a lease ran out, and the highest priority that waits in a queue: what idle workers ask all the time."""
    return sa.select(
        sa.exists().where(job.c.state == JobState.RUNNING, job.c.lease_until < _GIVEN_NOW),
        sa.select(job.c.priority).where(_WAITING).order_by(job.c.priority.desc()).limit(1).scalar_subquery(),
    )


def is_set(_: sa.Connection) -> sa.Executable:
    """Whether a queue has a mode, limits or quotas, which only the careful look keeps."""
    return sa.select(sa.or_(*_SET))


def mode(_: sa.Connection) -> sa.Executable:
    """The mode of a queue that has one."""
    return sa.select(queue_control.c.mode).where(queue_control.c.queue == given(queue_control.c.queue))


def is_due(_: sa.Connection) -> sa.Executable:
    """A job of a queue and a priority that may be given out now, the first along the index."""
    level = sa.bindparam("given_level", type_=sa.BigInteger)
    due = sa.select(job.c.id).where(_WAITING, job.c.priority == level, job.c.run_at <= _GIVEN_NOW)
    return due.order_by(job.c.run_at, job.c.created_at, job.c.id).limit(1)


def give_first(_: sa.Connection, asks: bool) -> sa.Executable:
    """Gives out the first due job of the highest priority that waits in a queue; the database `asks` for the time."""
    now = sa.select(NOW).scalar_subquery() if asks else _GIVEN_NOW  # asked once, so that an index may be walked to it
    level = sa.select(job.c.priority).where(_WAITING).order_by(job.c.priority.desc()).limit(1)
    first = sa.select(job.c.id).where(_WAITING, job.c.priority == level.correlate(None).scalar_subquery())
    first = first.where(job.c.run_at <= now).order_by(job.c.run_at, job.c.created_at, job.c.id).limit(1)
    other = job.alias()
    has_lapsed = sa.exists().where(other.c.state == JobState.RUNNING, other.c.lease_until < now)
    found = first.with_for_update(skip_locked=True).correlate(None).scalar_subquery()
    return _given(now, (job.c.id == found, sa.not_(has_lapsed), *map(sa.not_, _SET)))


def give_one(_: sa.Connection) -> sa.Executable:
    """Gives out a job."""
    return _given(_GIVEN_NOW, [job.c.id == sa.bindparam("given_id", type_=sa.Text)])


def _given(now: sa.ColumnElement[int], which: Iterable[sa.ColumnElement[bool]]) -> sa.Executable:
    values = {
        "state": JobState.RUNNING,
        "attempt": job.c.attempt + 1,
        "worker": sa.bindparam("given_worker", type_=sa.Text),
        "lease_until": sa.bindparam("given_lease", type_=sa.BigInteger) + now,
    }
    return job.update().where(*which).values(values).returning(*job.c)


def put(conn: sa.Connection, names: tuple[str, ...]) -> sa.Executable:
    """Adds a job, unless it is there."""
    values = {name: given(job.c[name]) for name in names}
    return insert_into(conn, job).values(values).on_conflict_do_nothing()


def held(_: sa.Connection, names: tuple[str, ...], timed: str, adds: bool) -> sa.Executable:
    """Sets these columns of a job that is held, and the column `timed`, to which the database `adds` its time."""
    mine = (job.c.id == given(job.c.id, "held_id"), job.c.attempt == given(job.c.attempt, "held_attempt"))
    values: dict[str, sa.ColumnElement[object]] = {name: given(job.c[name]) for name in names}
    values[timed] = given(job.c[timed]) + NOW if adds else given(job.c[timed])
    update = job.update().where(*mine, job.c.state == JobState.RUNNING).values(values)
    return update.returning(job.c[timed])
