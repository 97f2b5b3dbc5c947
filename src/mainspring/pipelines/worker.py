"""The worker: takes jobs from queues, keeps their leases alive, and hands them to whoever handles their kind."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Fenced, MainspringError, Unavailable
from mainspring.core.ids import new_id
from mainspring.engines import Message
from mainspring.storage.jobs import JobState, Lease, WorkerStatus, backoff_s
from mainspring.storage.ports import Queue, Tables
from mainspring.storage.workers import SqlWorkers

log = logging.getLogger("mainspring.worker")

HELLO_S = 20.0
"""How often a worker that is idle, or between two jobs, says that it is there."""
Handler = Callable[[Lease], Mapping[str, object] | None]
"""Does the work of a lease. It may finish the job itself, in a transaction of its own; else the worker does."""


class Stopping(Unavailable):
    """The worker is being stopped: the job goes back to the queue."""


class Hold:
    """A lease that is being worked on, renewed by a thread beside the work."""

    def __init__(self, lease: Lease, stopping: threading.Event) -> None:
        self.lease = lease
        self.is_lost = False
        self._stopping = stopping

    def check(self) -> None:
        """Raises `Fenced` when the lease is lost, `Stopping` when the worker is to stop."""
        if self.is_lost:
            raise Fenced("the lease was lost", where=f"job {self.lease.job.id}")
        if self._stopping.is_set():
            raise Stopping("the worker is being stopped", where=f"job {self.lease.job.id}")


def never_stopping() -> threading.Event:
    """An event that nobody sets: for work that no worker started."""
    return threading.Event()


_hold: ContextVar[Hold | None] = ContextVar("hold", default=None)


def check_hold() -> None:
    """To be called now and then by long work: raises when its lease is lost or its worker is being stopped.

    Outside of a worker it does nothing.
    """
    hold = _hold.get()
    if hold is not None:
        hold.check()


class Watching:
    """Watches a task that asks nothing: it may go on while its lease is held, and for so many seconds at most.

    Args:
        most_s: None for no limit.
    """

    def __init__(self, most_s: float | None = None) -> None:
        self._until = None if most_s is None else time.monotonic() + most_s

    def answer(self, message: Message) -> Message:
        """It asks nothing."""
        return {}

    def beat(self) -> float | None:
        """How long it may still take."""
        check_hold()
        return None if self._until is None else self._until - time.monotonic()


class Heart:
    """Renews leases from a thread of its own, three times in the life of a lease.

    The thread ends when a third of a lease has gone by with nothing to renew: work that follows soon needs no new one.
    """

    def __init__(self, tables: Tables, queue: Queue, *, lease_s: float) -> None:
        self._tables = tables
        self._queue = queue
        self._lease_s = lease_s
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def beating(self, hold: Hold) -> Iterator[None]:
        """Renew a lease as long as the block runs."""
        with self._lock:
            self._holds.append(hold)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-heart", daemon=True)
                self._thread.start()
        token = _hold.set(hold)
        try:
            yield
        finally:
            _hold.reset(token)
            with self._lock:
                self._holds.remove(hold)

    def _run(self) -> None:
        while True:
            time.sleep(self._lease_s / 3)
            with self._lock:
                if not self._holds:
                    self._thread = None
                    return
                holds = list(self._holds)
            for hold in holds:
                self._renew(hold)

    def _renew(self, hold: Hold) -> None:
        try:
            with self._tables.write() as conn:
                self._queue.renew(conn, hold.lease, lease_s=self._lease_s)
        except Fenced:
            hold.is_lost = True
        except Exception as reason:  # noqa: BLE001 - the next beat tries again, and the lease itself has a limit
            log.warning("worker.renew_failed job=%s reason=%s", hold.lease.job.id, reason)


class Worker:
    """Threads that lease jobs and run their handlers.

    Args:
        tables: Where a job's end is stored.
        queue: Where the jobs are.
        handlers: What to do with each kind of job. Jobs of other kinds are given back.
        queues: Queues to serve.
        threads: How many jobs at once.
        lease_s: How long a job stays ours without a heartbeat.
        poll_s: How often an idle thread looks for work.
        chores: Called by one of the threads now and then, such as `Pipelines.settle`.
        chore_every_s: Seconds between them.
        has: What its machine has, for people who look at the list of workers.
    """

    def __init__(
        self,
        tables: Tables,
        queue: Queue,
        handlers: Mapping[str, Handler],
        *,
        queues: Sequence[str] = ("pipelines",),
        threads: int = 1,
        lease_s: float = 30.0,
        poll_s: float = 0.25,
        chores: Sequence[Callable[[], object]] = (),
        chore_every_s: float = 30.0,
        has: Mapping[str, object] | None = None,
    ) -> None:
        self._has = dict(has or {})
        self._workers = SqlWorkers(tables)
        self._next_word = 0.0
        self.name = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-6:]}"
        self._tables = tables
        self._queue = queue
        self._handlers = dict(handlers)
        self._queues = tuple(queues)
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._chores = tuple(chores)
        self._chore_every_s = chore_every_s
        self._next_chores = 0.0
        self._stopping = threading.Event()
        self._heart = Heart(tables, queue, lease_s=lease_s)
        self._threads = [threading.Thread(target=self._loop, name=f"worker-{n}", daemon=True) for n in range(threads)]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Let long work stop at its next check, give its jobs back, and wait for the threads."""
        self._stopping.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if self._next_word:
            with suppress(Exception):  # the list forgets it by itself, later
                self._workers.forget(self.name)

    def run_one(self) -> bool:
        """Do one job now, when there is one. Returns whether there was."""
        lease = self._queue.lease(self.name, self._queues, lease_s=self._lease_s)
        if lease is None:
            return False
        with calling(Caller(lease.job.actor, lease.job.project)):
            self._work(lease)
        return True

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._say_hello()
                self._do_chores()
                if not self.run_one():
                    self._stopping.wait(self._poll_s)
            except Exception:  # the edge of the loop: a database that is away must not end the worker
                log.exception("worker.failed")
                self._stopping.wait(min(self._poll_s * 10, 10.0))

    def _work(self, lease: Lease) -> None:
        job = lease.job
        try:
            handler = self._handlers.get(job.kind)
            if handler is None:
                known = ", ".join(self._handlers)
                raise Unavailable(f"this worker does not do jobs of kind {job.kind}", where=job.id, hint=known)
            with self._heart.beating(Hold(lease, self._stopping)):
                result = handler(lease)
            self._finish(lease, dict(result or {}))
        except Fenced as reason:
            log.info("worker.fenced job=%s kind=%s what=%s", job.id, job.kind, reason.what)
        except Stopping:
            self._fail(lease, "the worker was stopped", retry_in_s=0.0, counts=False)
        except Exception as reason:
            if isinstance(reason, MainspringError):
                log.warning("worker.job_failed job=%s kind=%s what=%s", job.id, job.kind, reason.what)
            else:
                log.exception("worker.job_failed job=%s kind=%s", job.id, job.kind)
            text = str(reason) if isinstance(reason, MainspringError) else f"{type(reason).__name__}: {reason}"
            self._fail(lease, text, retry_in_s=backoff_s(lease.attempt, seed=job.id))

    def _finish(self, lease: Lease, result: dict[str, object]) -> None:
        now = self._queue.get(lease.job.id)
        if now.state is JobState.RUNNING and now.attempt == lease.attempt:
            with self._tables.write() as conn:
                self._queue.finish(conn, lease, result)

    def _fail(self, lease: Lease, error: str, *, retry_in_s: float, counts: bool = True) -> None:
        with suppress(Fenced), self._tables.write() as conn:
            self._queue.fail(conn, lease, error, retry_in_s=retry_in_s, counts=counts)

    def _say_hello(self) -> None:
        """One of the threads tells now and then that this worker is there."""
        now = time.monotonic()
        if now < self._next_word:
            return
        self._next_word = now + HELLO_S
        self._workers.hear(
            WorkerStatus(
                name=self.name,
                host=socket.gethostname(),
                queues=self._queues,
                threads=len(self._threads),
                has=self._has,
                started_at=0,
                seen_at=0,
            )
        )

    def _do_chores(self) -> None:
        now = time.monotonic()
        if not self._chores or now < self._next_chores:
            return
        self._next_chores = now + self._chore_every_s
        for chore in self._chores:
            chore()
