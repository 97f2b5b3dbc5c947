"""The queues and their workers, for the people who run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.values import dataclass
from mainspring.storage.jobs import Job, JobState, QueueMode, QueueStatus, WorkerStatus
from mainspring.storage.ports import Queue, QueueControl
from mainspring.storage.workers import SqlWorkers

ALWAYS = ("pipelines",)
"""Queues that are shown even when nothing is on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue at a glance, with the quotas of projects and this project's dead letters."""

    status: QueueStatus
    quotas: Mapping[str, int]
    dead: tuple[Job, ...]


class Queues:
    """Looks at queues, stops and opens them, sets their limits, and gives dead letters another chance.

    Args:
        queue: The queue.
        control: The same, for those who run it.
        workers: Who takes jobs.
    """

    def __init__(self, queue: Queue, control: QueueControl, workers: SqlWorkers) -> None:
        self._queue = queue
        self._control = control
        self._workers = workers

    def all(self) -> list[QueueView]:
        """Every queue."""
        return [self.get(name) for name in sorted({*ALWAYS, *self._workers.queues()})]

    def get(self, name: str) -> QueueView:
        """One queue; it need not have been used yet."""
        dead = tuple(self._queue.find(states=[JobState.DEAD], queue=name))
        return QueueView(status=self._control.status(name), quotas=self._control.quotas(name), dead=dead)

    def workers(self) -> list[WorkerStatus]:
        """Every worker that was heard of in the last minutes."""
        return self._workers.all()

    def set_mode(self, name: str, mode: str) -> QueueView:
        """Open a queue, pause it (nothing is given out) or drain it (nothing new is taken in).

        Raises:
            NotFound: There is no such queue.
            Invalid: There is no such mode.
        """
        self._check(name)
        if mode not in list(QueueMode):
            hint = f"use {', '.join(QueueMode)}"
            raise Invalid(f"there is no mode {mode!r}", where=f"queue {name}", hint=hint)
        self._control.set_mode(name, QueueMode(mode))
        return self.get(name)

    def set_limit(self, name: str, limit: int, *, project: str = "") -> QueueView:
        """How many jobs of a queue, or of one project on it, run at once; 0 for no limit.

        Raises:
            NotFound: There is no such queue.
            Invalid: The limit is below 0.
        """
        self._check(name)
        if project:
            self._control.set_quota(name, project, limit)
        else:
            self._control.set_limits(name, limit=limit, group_limit=self._control.status(name).group_limit)
        return self.get(name)

    def revive(self, job_id: str) -> bool:
        """Give a dead letter of this project another chance. False when it is not dead.

        Raises:
            NotFound: There is no such job.
            Conflict: An unfinished job has its key by now.
        """
        if job_id not in {job.id for job in self._queue.find(states=[JobState.DEAD])}:
            self._queue.get(job_id)
            return False
        return self._control.revive(job_id)

    def _check(self, name: str) -> None:
        known: Sequence[str] = sorted({*ALWAYS, *self._workers.queues(), *_served(self._workers.all())})
        if name not in known:
            raise NotFound(f"no queue {name!r}", where="queues", hint=f"there are {', '.join(known)}")


def _served(workers: Sequence[WorkerStatus]) -> set[str]:
    return {queue for worker in workers for queue in worker.queues}
