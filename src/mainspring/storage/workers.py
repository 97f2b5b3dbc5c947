"""The processes that take jobs: what each has, when it was last heard of, and what it holds."""

from __future__ import annotations

from mainspring.core.clock import SECOND_US
from mainspring.storage.jobs import APART, Job, JobState, WorkerStatus
from mainspring.storage.ports import Tables
from mainspring.storage.queue import job_from
from mainspring.storage.sql import sa, schema
from mainspring.storage.upsert import insert_into

FORGET_S = 600.0
"""How long a worker that is silent stays on the list."""
_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.DEAD)


class SqlWorkers:
    """The list of workers, on SQL tables.

    Args:
        tables: Where it is.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def hear(self, worker: WorkerStatus) -> None:
        """A worker is alive. Forgets those that were silent for long."""
        with self._tables.write() as conn:
            now = self._tables.now(conn)
            conn.execute(
                schema.queue_worker.delete().where(schema.queue_worker.c.seen_at < now - round(FORGET_S * SECOND_US))
            )
            fixed = {"host": worker.host, "queues": list(worker.queues), "threads": worker.threads}
            row = {"name": worker.name, **fixed, "has": dict(worker.has), "started_at": now, "seen_at": now}
            insert = insert_into(conn, schema.queue_worker).values(row)
            conn.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"seen_at": now}))

    def forget(self, name: str) -> None:
        """A worker has ended."""
        with self._tables.write() as conn:
            conn.execute(schema.queue_worker.delete().where(schema.queue_worker.c.name == name))

    def all(self) -> list[WorkerStatus]:
        """Every worker with the jobs it holds, of all projects; the longest at work first."""
        with self._tables.read() as conn:
            now = self._tables.now(conn)
            live = sa.and_(schema.job.c.state == JobState.RUNNING, schema.job.c.lease_until >= now)
            jobs: dict[str, list[Job]] = {}
            for row in conn.execute(schema.job.select().where(live).limit(1000)).mappings():
                jobs.setdefault(row["worker"], []).append(job_from(row))
            rows = (
                conn.execute(
                    schema.queue_worker.select().order_by(schema.queue_worker.c.started_at, schema.queue_worker.c.name)
                )
                .mappings()
                .all()
            )
        return [
            WorkerStatus(**{**row, "queues": tuple(row["queues"]), "jobs": tuple(jobs.get(row["name"], ()))})
            for row in rows
        ]

    def queues(self) -> list[str]:
        """The names of all queues that have jobs to do, dead ones, limits or a mode."""
        busy = sa.select(schema.job.c.queue).where(schema.job.c.state.in_(_OPEN)).distinct()
        with self._tables.read() as conn:
            found = {*conn.execute(busy).scalars(), *conn.execute(sa.select(schema.queue_control.c.queue)).scalars()}
        return sorted(name for name in found if not name.startswith(("inline-", APART)))
