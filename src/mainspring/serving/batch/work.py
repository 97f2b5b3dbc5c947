"""The job of a batch: a child process answers it, since it loads models, and the queue hears of its end once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, Corrupt, Fenced, Invalid, NotFound, Refused
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Engine, Message, OutcomeState, Task
from mainspring.pipelines.worker import check_hold
from mainspring.serving.batch.desk import note_job, order_of, request_of
from mainspring.serving.events import BatchFinished
from mainspring.storage.jobs import JobState, Lease
from mainspring.storage.ports import Journal, Queue, Tables

_LASTING = (Conflict, Corrupt, Invalid, NotFound, Refused)
"""Errors that come again however often it is tried."""


class BatchWork:
    """Handles the jobs of batches.

    Args:
        engine: Runs the child.
        opener: `module:function` that opens the house in the child.
        cwd: Folder of `mainspring.toml`.
        env: Variables that give the child the settings of this process.
        tables: Where the queue and the events are.
        queue: Where the jobs are.
        journal: The event log.
        folder: Where batches keep their files.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        opener: str,
        cwd: Path,
        env: Mapping[str, str],
        tables: Tables,
        queue: Queue,
        journal: Journal,
        folder: Path,
    ) -> None:
        self._engine, self._opener, self._cwd, self._env = engine, opener, cwd, env
        self._tables, self._queue, self._journal, self._folder = tables, queue, journal, folder

    def __call__(self, lease: Lease) -> Message:
        """Answer a batch, or go on with it; its end is in the queue and the event log together.

        Raises: Fenced: It was cancelled. MainspringError: It failed, and may be tried again.
        """
        job, place = lease.job, self._folder / str(lease.job.payload["batch"])
        note_job(place, job.id)
        task = Task(
            entry="mainspring.serving.batch.work:answer_in_child",
            payload={
                "order": job.payload["order"],
                "place": str(place),
                "actor": job.actor,
                "project": job.project,
                "opener": self._opener,
            },
            folder=place / "child",
            cwd=self._cwd,
            env=self._env,
        )
        outcome = self._engine.run(task, _Watch(self._queue, job.id))
        if outcome.state is not OutcomeState.FINISHED:
            return self._failed(lease, outcome.error or RuntimeError(f"the batch's process {outcome.state}"))
        with self._tables.write() as conn:
            self._queue.finish(conn, lease, outcome.result)
            deployment, answered = order_of(job.payload).deployment, outcome.result["answered"]
            fact = BatchFinished(
                subject=f"batches/{job.payload['batch']}", deployment=deployment, answered=int(str(answered))
            )
            self._journal.append(conn, fact)
        return outcome.result

    def _failed(self, lease: Lease, reason: Exception) -> Message:
        if not isinstance(reason, _LASTING):
            raise reason
        with self._tables.write() as conn:
            self._queue.fail(conn, lease, str(reason), retry_in_s=None)
        return {}


class _Watch:
    """Stops the child when its batch was cancelled, or the server ends."""

    def __init__(self, queue: Queue, job_id: str) -> None:
        self._queue, self._job_id = queue, job_id

    def answer(self, message: Message) -> Message:
        """It is never asked."""
        return {}

    def beat(self) -> float | None:
        """Raises: Fenced: The batch was cancelled."""
        check_hold()
        if self._queue.get(self._job_id).state is not JobState.RUNNING:
            raise Fenced("the batch was cancelled", where=f"job {self._job_id}")
        return None


def answer_in_child(payload: Message, ask: Ask) -> Message:
    """Open the house and answer the batch."""
    from mainspring.data import Data
    from mainspring.registry import Registry
    from mainspring.serving.batch.running import Batches
    from mainspring.serving.service import Serving

    module, _, name = str(payload["opener"]).partition(":")
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    try:
        with calling(Caller(str(payload["actor"]), str(payload["project"]))):
            order = order_of(payload)
            batches = Batches(
                serving=wiring.get(Serving), registry=wiring.get(Registry), data=wiring.get(Data), clock=SystemClock()
            )
            request = request_of(order, Path(str(payload["place"])))
            report = batches.run(request, processes=order.processes)
    finally:
        wiring.close()
    chunks = max(1, -(-report.rows // request.chunk_rows))
    told = {"rows": report.rows, "answered": report.answered, "quarantined": report.quarantined, "chunks": chunks}
    return {**told, "model_version": report.model_version}
