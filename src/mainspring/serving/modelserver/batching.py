"""Work-conserving micro-batches: what queued while the last call ran is the next batch. No timer, one thread.

Models that take a moment are asked on the loop itself, with all that came in the same turn of it: handing a batch to a
thread and back costs more than they do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from itertools import chain
from queue import SimpleQueue
from typing import Protocol

from mainspring.core.errors import Failed, MainspringError, Overloaded, Timeout
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.columns import Column, Whole, plain

Columns = Sequence[Column]


class Model(Protocol):
    """What a batch is put to: columns in, one answer for each row and output."""

    row_s: float
    """How long a row took of late, in seconds; the batcher keeps it."""
    call_s: float
    """How long a call took of late, however many rows it had; the batcher keeps it."""
    waits: bool
    """Whether a call may wait for something outside of this process, and so for longer than the last one took."""

    def predict(self, columns: Columns) -> Outputs:
        """Answer rows given as columns."""
        ...


class Line:
    """The connection a request came on; `gone` once the client hung up, `refused` where there is no place for it."""

    __slots__ = ("gone", "refused")

    def __init__(self) -> None:
        self.gone = False
        self.refused = False


class HungUp(Exception):
    """The client went away before its rows came to the model, so they were dropped."""


_BATCH_ROWS = 4096
_FEW_ROWS = 64  # a slow model has these wait however long it takes: calls of one row say little of its pace with many
_QUICK_S = 0.001  # the loop answers nobody else meanwhile
_SLOWER = 1.1  # so much of a longer call is believed at once: on a busy machine many are held up by others
_NEWEST = 0.2  # weight of each row of the newest batch in a model's pace
_OPEN = Line()
_NO_END = float("inf")


class Job:
    """One request's rows on their way through a model. Times are of `time.perf_counter`."""

    __slots__ = (
        "columns", "cost_s", "deadline", "ended_at", "future", "is_quick", "line", "model", "queued_at", "rows",
        "started_at",
    )  # fmt: skip

    def __init__(
        self, model: Model, columns: Columns, future: asyncio.Future[Outputs], line: Line, deadline: float
    ) -> None:
        rows = len(columns[0])
        self.model = model
        self.columns = columns
        self.rows = rows
        self.future = future
        self.line = line
        self.deadline = deadline
        self.queued_at = time.perf_counter()
        self.cost_s = rows * model.row_s
        self.is_quick = not model.waits and 0.0 < model.call_s < _QUICK_S and self.cost_s < _QUICK_S
        self.started_at = 0.0
        self.ended_at = 0.0


class Batcher:
    """Predicts in one thread and on the loop. Grouping never changes an answer; a failed request only fails itself.

    Args:
        loop: Where futures are resolved.
        max_queued_rows: Above it new work is refused rather than queued.
        max_wait_s: So is work that would wait longer than this, by the pace of the models it stands behind.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, max_queued_rows: int = 50_000, max_wait_s: float = 1.0
    ) -> None:
        self.queued_rows = 0
        self.wait_s = 0.0
        self.batches = 0
        self.batched_rows = 0
        self.dropped_rows = 0
        self.requests = 0
        self.model_s = 0.0
        self.waited_s = 0.0
        self._loop = loop
        self._max_rows = max_queued_rows
        self.max_wait_s = max_wait_s
        self._quick: list[Job] = []
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="predict", daemon=True)
        self._thread.start()

    def submit(self, model: Model, columns: Columns, *, deadline: float = _NO_END, line: Line = _OPEN) -> Job:
        """Queue the rows of one request; call it on the loop, and await the job's future.

        Args:
            model: Who answers.
            columns: The rows.
            deadline: From then on (`time.perf_counter`) nobody waits for them: they are dropped, if not at the model.
            line: Where the answer would go; rows of a client that hung up are dropped likewise.
        Raises: Overloaded: Too many rows wait already, or for too long.
        """
        job = Job(model, columns, self._loop.create_future(), line, deadline)
        if self.queued_rows:
            self._admit(job.rows, deadline - job.queued_at)
        self.queued_rows += job.rows
        self.wait_s += job.cost_s
        if not job.is_quick:
            self._queue.put(job)
            return job
        self._quick.append(job)
        if len(self._quick) == 1:
            self._loop.call_soon(self._run_quick)
        return job

    def _run_quick(self) -> None:
        jobs, self._quick = self._quick, []
        self._resolve(self._answers(jobs))

    def _admit(self, rows: int, left_s: float) -> None:
        if self.queued_rows + rows > self._max_rows:
            raise Overloaded(f"{self.queued_rows} rows wait for a prediction already", hint=self._hint())
        if self.wait_s > left_s or (self.wait_s > self.max_wait_s and self.queued_rows >= _FEW_ROWS):
            raise Overloaded(f"a prediction would wait for {self.wait_s:.1f} s", hint=self._hint())

    def _hint(self) -> str:
        return f"send it again in {self.retry_s} s"

    @property
    def retry_s(self) -> int:
        """When to come back, in whole seconds: after what waits now."""
        return max(1, min(60, round(self.wait_s + 0.5)))

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
            done = self._answers([job for job in jobs if job is not None])
            self._loop.call_soon_threadsafe(self._resolve, done)

    def _answers(self, jobs: Sequence[Job]) -> list[tuple[Job, Outputs | Exception]]:
        groups: dict[int, list[Job]] = {}
        done: list[tuple[Job, Outputs | Exception]] = []
        now = time.perf_counter()
        for job in jobs:
            if job.future.done() or job.line.gone or job.deadline <= now:
                self.dropped_rows += job.rows
                done.append((job, HungUp() if job.line.gone else late()))
            else:
                groups.setdefault(id(job.model), []).append(job)
        for group in groups.values():
            done += self._timed(group)
        return done

    def _timed(self, group: list[Job]) -> list[tuple[Job, Outputs | Exception]]:
        model, rows, started = group[0].model, sum(job.rows for job in group), time.perf_counter()
        answers = _predict(group)
        ended = time.perf_counter()
        for job in group:
            job.started_at, job.ended_at = started, ended
            self.waited_s += started - job.queued_at
        took = ended - started
        self.requests += len(group)
        self.model_s += took
        weight = min(1.0, _NEWEST * rows) if model.row_s else 1.0  # a call with many rows knows more of the pace
        model.row_s += (took / rows - model.row_s) * weight
        model.call_s = min(took, model.call_s * _SLOWER) if model.call_s else took
        self.batches += 1
        self.batched_rows += rows
        return answers

    def _resolve(self, done: Sequence[tuple[Job, Outputs | Exception]]) -> None:
        for job, answer in done:
            self.queued_rows -= job.rows
            self.wait_s -= job.cost_s
            if job.future.done():
                continue
            if isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)
        if not self.queued_rows:
            self.wait_s = 0.0  # no rounding piles up


def late() -> Timeout:
    """What a request hears whose deadline passed."""
    return Timeout("the deadline passed before the model answered")


def _predict(group: Sequence[Job]) -> list[tuple[Job, Outputs | Exception]]:
    """Answers for requests to one model; when the group fails, each is tried alone."""
    try:
        outputs = group[0].model.predict(_joined([job.columns for job in group]))
    except Exception as reason:  # noqa: BLE001 - a model may raise anything, and one request must not fail another
        if len(group) == 1:
            return [(group[0], _failure(reason))]
        return [answer for job in group for answer in _predict([job])]
    answers: list[tuple[Job, Outputs | Exception]] = []
    start = 0
    for job in group:
        end = start + job.rows
        answers.append((job, {name: values[start:end] for name, values in outputs.items()}))
        start = end
    return answers


def _failure(reason: Exception) -> MainspringError:
    member = getattr(reason, "member", "")  # of a composed model
    cause = reason.__cause__ if member and reason.__cause__ else reason
    who = f"the model's member {member!r}" if member else "the model"
    return Failed(f"{who} raised {type(cause).__name__}", where=str(cause)[:300])


def _joined(parts: Sequence[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    matrices = [part.matrix for part in parts if type(part) is Whole]
    if len(matrices) == len(parts):
        import numpy as np

        return Whole(np.concatenate(matrices))
    return [_chained([part[i] for part in parts]) for i in range(len(parts[0]))]


def _chained(columns: Sequence[Column]) -> Column:
    if all(type(column) is list for column in columns):
        return list(chain.from_iterable(columns))
    if any(type(column) is list for column in columns):
        return [value for column in columns for value in plain(column)]
    import numpy as np

    return np.concatenate([np.asarray(column) for column in columns])
