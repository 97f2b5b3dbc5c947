"""Work-conserving micro-batches: what queued while the last call ran is the next batch. No timer, one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from mainspring.core.errors import Failed, MainspringError, Overloaded
from mainspring.serving.modelserver.wire import Cell

Columns = list[list[Cell]]
Outputs = dict[str, list[object]]


class Model(Protocol):
    """What a batch is put to: columns in, one answer for each row and output."""

    def predict(self, columns: Sequence[list[Cell]]) -> Outputs:
        """Answer rows given as columns."""
        ...


_BATCH_ROWS = 4096


@dataclass(slots=True, eq=False)
class Job:
    """One request's rows on their way through a model."""

    model: Model
    columns: Columns
    future: asyncio.Future[Outputs]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.columns[0])


class Batcher:
    """Predicts in one thread. Grouping never changes an answer, and a request that fails only fails itself.

    Args:
        loop: Where futures are resolved.
        max_queued_rows: Above it new work is refused rather than queued.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_queued_rows: int = 50_000) -> None:
        self.queued_rows = 0
        self.batches = 0
        self.batched_rows = 0
        self._loop = loop
        self._max = max_queued_rows
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="predict", daemon=True)
        self._thread.start()

    def submit(self, model: Model, columns: Columns) -> asyncio.Future[Outputs]:
        """Queue the rows of one request; call it on the loop.

        Raises: Overloaded: Too many rows wait already.
        """
        rows = len(columns[0])
        if self.queued_rows and self.queued_rows + rows > self._max:
            raise Overloaded(f"{self.queued_rows} rows wait for a prediction", hint="send it again in a second")
        self.queued_rows += rows
        job = Job(model, columns, self._loop.create_future())
        self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Finish what is queued, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            job = self._queue.get()
            jobs, rows = [job], 0 if job is None else job.rows
            while rows < _BATCH_ROWS and not self._queue.empty():
                job = self._queue.get()
                jobs.append(job)
                rows += 0 if job is None else job.rows
            open_ = None not in jobs
            self._answer([job for job in jobs if job is not None])

    def _answer(self, jobs: Sequence[Job]) -> None:
        groups: dict[int, list[Job]] = {}
        for job in jobs:
            if not job.future.cancelled():
                groups.setdefault(id(job.model), []).append(job)
        done: list[tuple[Job, Outputs | MainspringError]] = []
        for group in groups.values():
            done += _predict(group)
        self.batches += len(groups)
        self.batched_rows += sum(job.rows for job in jobs)
        self._loop.call_soon_threadsafe(self._resolve, done, sum(job.rows for job in jobs))

    def _resolve(self, done: Sequence[tuple[Job, Outputs | MainspringError]], rows: int) -> None:
        self.queued_rows -= rows
        for job, answer in done:
            if job.future.done():
                continue
            if isinstance(answer, MainspringError):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)


def _predict(group: Sequence[Job]) -> list[tuple[Job, Outputs | MainspringError]]:
    """Answers for requests to one model; when the group fails, each is tried alone."""
    try:
        outputs = group[0].model.predict(_joined([job.columns for job in group]))
    except Exception as reason:  # noqa: BLE001 - a model may raise anything, and one request must not fail another
        if len(group) == 1:
            failure = Failed(f"the model raised {type(reason).__name__}", where=str(reason)[:300])
            return [(group[0], failure)]
        return [answer for job in group for answer in _predict([job])]
    answers: list[tuple[Job, Outputs | MainspringError]] = []
    start = 0
    for job in group:
        end = start + job.rows
        answers.append((job, {name: values[start:end] for name, values in outputs.items()}))
        start = end
    return answers


def _joined(parts: Sequence[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return [[value for part in parts for value in part[i]] for i in range(len(parts[0]))]
