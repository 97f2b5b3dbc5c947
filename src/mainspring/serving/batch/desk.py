"""Batches that a server runs: put on the queue, watched, cancelled, gone on with, and what came of them.

A client names a dataset version and gets a file back; where either lies on the server is no business of his.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.serving.batch.job import BatchRequest, Parts
from mainspring.serving.events import BatchCancelled, BatchResumed, BatchStarted
from mainspring.storage.jobs import Job, JobState, NewJob
from mainspring.storage.ports import Journal, Queue, Tables

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.serving.service import Serving

QUEUE, KIND = "batches", "serving.batch"
State = Literal["queued", "running", "finished", "cancelled", "failed"]
Format = Literal["parquet", "csv"]
_STATES: Mapping[JobState, State] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.FINISHED: "finished",
    JobState.CANCELLED: "cancelled",
    JobState.DEAD: "failed",
}
_MAX_ATTEMPTS = 5
_JOB = "job"
"""The file beside those of a batch that names its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    """What is to be answered.

    Args:
        deployment: Whose live version answers.
        dataset: A dataset version, such as "datasets/flights/3"; without a number the newest.
        version: A version of the model instead of the live one.
        keep: Columns of the dataset that go into the answers; all when empty.
        log: Whether the rows go to the prediction log, where monitors count them like traffic.
        time_column: Has the event time of each row in the log; else it is when the batch began.
        format: Of the file with the answers.
        processes: How many answer at once.
    """

    deployment: str
    dataset: str
    version: int | None = None
    keep: tuple[str, ...] = ()
    log: bool = True
    time_column: str = ""
    format: Format = "parquet"
    processes: int = 1

    def __post_init__(self) -> None:
        """Raises: Invalid: More processes than cores, or none."""
        cores = os.cpu_count() or 1
        if not 1 <= self.processes <= cores:
            raise Invalid(f"{self.processes} processes", where="batch", hint=f"use 1 to {cores}, as there are cores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch of the server: how far it is, and what came of it.

    Attributes:
        id: Its id.
        state: "queued", "running", "finished", "cancelled" or "failed".
        order: What was asked for, with the number of the dataset version.
        done: Chunks that are answered.
        chunks: How many there are; 0 before that is known.
        rows: Rows of the dataset, as far as that is known.
        answered: Rows that were answered, once it is finished.
        quarantined: Rows that were put aside, each with its reason.
        model_version: Who answered; 0 before it is finished.
        error: Why it failed, or why it is tried again.
        asked_at: When it was put on the queue first, or again.
        ended_at: When it was over; 0 before.
    """

    id: str
    state: State
    order: BatchOrder
    done: int = 0
    chunks: int = 0
    rows: int = 0
    answered: int = 0
    quarantined: int = 0
    model_version: int = 0
    error: str = ""
    asked_at: int = 0
    ended_at: int = 0

    @property
    def ref(self) -> str:
        """Reference, `batches/ID`."""
        return f"batches/{self.id}"


class BatchDesk:
    """The batches of a project. Each is a job on the queue, and a folder that keeps what is answered already.

    Args:
        tables: Where the queue and the events are.
        queue: Where the jobs are.
        journal: The event log.
        serving: Knows endpoints.
        data: Knows dataset versions.
        folder: Where batches keep their files.
    """

    def __init__(
        self, *, tables: Tables, queue: Queue, journal: Journal, serving: Serving, data: Data, folder: Path
    ) -> None:
        self._tables, self._queue, self._journal = tables, queue, journal
        self._serving, self._data, self._folder = serving, data, folder

    def start(self, order: BatchOrder) -> Batch:
        """Put a batch on the queue.

        Raises:
            NotFound: No such deployment, version or dataset.
            Invalid: The name is none of a dataset, or there are no columns of those names.
        """
        found = self._data.resolve(order.dataset)
        self._serving.planned(order.deployment, order.version)
        order = replace(order, dataset=found.ref)  # the number is settled now: a batch that goes on reads the same
        batch_id = new_id()
        with self._tables.write() as conn:
            self._queue.put(conn, _job(batch_id, order))
            fact = BatchStarted(subject=f"batches/{batch_id}", deployment=order.deployment, dataset=order.dataset)
            self._journal.append(conn, fact)
        return self.get(batch_id)

    def list(self, *, limit: int = 100) -> list[Batch]:
        """Batches, newest first: those whose jobs the queue still knows."""
        newest: dict[str, Job] = {}
        for job in self._queue.find(queue=QUEUE):
            newest.setdefault(str(job.payload["batch"]), job)
        return [self._batch(batch_id, job) for batch_id, job in list(newest.items())[:limit]]

    def get(self, batch_id: str) -> Batch:
        """One batch.

        Raises:
            NotFound: There is none of that id.
        """
        return self._batch(batch_id, self._newest(batch_id))

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what is answered stays, so that it can be gone on with. Cancelled twice, it is once.

        Raises:
            NotFound: There is none of that id.
            Conflict: It is over.
        """
        job = self._newest(batch_id)
        with self._tables.write() as conn:
            stopped = self._queue.cancel(conn, job.id)
            if stopped:
                deployment = order_of(job.payload).deployment
                self._journal.append(conn, BatchCancelled(subject=f"batches/{batch_id}", deployment=deployment))
        if not stopped and self._newest(batch_id).state is not JobState.CANCELLED:
            raise Conflict("the batch is over", where=f"batches/{batch_id}", hint="start another one")
        return self.get(batch_id)

    def resume(self, batch_id: str) -> Batch:
        """Go on with a batch that was cancelled or failed, from where it was. Of one under way nothing changes.

        Raises:
            NotFound: There is none of that id.
            Conflict: It is finished.
        """
        job = self._newest(batch_id)
        if job.state is JobState.FINISHED:
            raise Conflict("the batch is finished", where=f"batches/{batch_id}", hint="start another one")
        if job.state.is_final:
            with self._tables.write() as conn:
                order = order_of(job.payload)
                self._queue.put(conn, _job(batch_id, order))
                self._journal.append(conn, BatchResumed(subject=f"batches/{batch_id}", deployment=order.deployment))
        return self.get(batch_id)

    def file(self, batch_id: str, what: Literal["answers", "quarantine"]) -> Path:
        """The file with the answers, or with the rows that were put aside.

        Raises:
            NotFound: There is no such batch, or it has no such file (yet).
        """
        found = self.get(batch_id)
        parts = Parts(self._place(batch_id) / f"answers.{found.order.format}")
        path = parts.out if what == "answers" else parts.quarantine
        if found.state != "finished" or not path.exists():
            said = "no row was put aside" if found.state == "finished" else f"the batch is {found.state}"
            raise NotFound(f"there are no {what}: {said}", where=found.ref, hint=f"GET /api/v1/batches/{batch_id}")
        return path

    def sweep(self) -> int:
        """Take away the files of batches whose jobs the queue has forgotten. Returns how many."""
        swept = 0
        for place in sorted(self._folder.iterdir()) if self._folder.exists() else ():
            try:
                self._queue.get((place / _JOB).read_text(encoding="ascii"))
            except NotFound:
                shutil.rmtree(place)
                swept += 1
            except FileNotFoundError:
                continue  # it is being made
        return swept

    def _newest(self, batch_id: str) -> Job:
        for job in self._queue.find(queue=QUEUE):
            if job.payload["batch"] == batch_id:
                return job
        raise NotFound(f"no batch {batch_id!r}", where="batches", hint="GET /api/v1/batches")

    def _place(self, batch_id: str) -> Path:
        return self._folder / batch_id

    def _batch(self, batch_id: str, job: Job) -> Batch:
        order, result = order_of(job.payload), job.result or {}
        parts = Parts(self._place(batch_id) / f"answers.{order.format}")
        work = None if job.state is JobState.FINISHED else parts.job()
        done = 0 if work is None else sum(parts.chunk(number).exists() for number in range(work.chunks))
        chunks = 0 if work is None else work.chunks
        numbers = {name: cast(int, result.get(name, 0)) for name in ("answered", "quarantined", "model_version")}
        return Batch(
            id=batch_id,
            state=_STATES[job.state],
            order=order,
            done=cast(int, result.get("chunks", done)),
            chunks=cast(int, result.get("chunks", chunks)),
            rows=cast(int, result.get("rows", 0 if work is None else work.rows)),
            error="" if job.state is JobState.FINISHED else job.error,
            asked_at=job.created_at,
            ended_at=job.finished_at,
            **numbers,
        )


def order_of(payload: Mapping[str, object]) -> BatchOrder:
    """The order that a job carries."""
    return msgspec.convert(payload["order"], BatchOrder)


def request_of(order: BatchOrder, place: Path) -> BatchRequest:
    """The order as what a batch is asked for, with its output in the folder of the batch."""
    return BatchRequest(
        deployment=order.deployment,
        source=order.dataset,
        out=str(place / f"answers.{order.format}"),
        version=order.version,
        keep=order.keep,
        log=order.log,
        time_column=order.time_column,
    )


def note_job(place: Path, job_id: str) -> None:
    """Keep beside the files of a batch which job they are of."""
    place.mkdir(parents=True, exist_ok=True)
    (place / _JOB).write_text(job_id, encoding="ascii")


def _job(batch_id: str, order: BatchOrder) -> NewJob:
    payload = {"batch": batch_id, "order": msgspec.to_builtins(order)}
    return NewJob(queue=QUEUE, kind=KIND, payload=payload, key=batch_id, max_attempts=_MAX_ATTEMPTS)
