"""A project folder with a database, and the worker processes that run its pipelines, with a fault built in or none."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from mainspring.engines import Message, ProcessEngine
from mainspring.pipelines import Pipelines
from mainspring.pipelines.desk import KIND
from mainspring.pipelines.ledger import Ledger
from mainspring.pipelines.worker import Worker
from mainspring.storage import open_tables
from mainspring.storage.files import FileBlobs
from mainspring.storage.jobs import Lease
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.storage.queue import SqlQueue

LEASE_S = 1.5
"""How long a run stays with a silent worker."""
ELSEWHERE, LEASES, LOG = "FAULTS_ELSEWHERE", "leases.txt", "workers.log"
POINTS = ("leased", "begin", "began", "finish", "finished", "ending", "ended", "beat")
"""Where a worker can be hit: with the lease but nothing done; before and after the commit of a step's beginning, of
its end, and of the end of the run; and after it looked after its lease."""


@dataclass(frozen=True)
class Blow:
    """What happens to a worker the `count`-th time that it is at a point."""

    point: str
    count: int
    number: signal.Signals

    def __str__(self) -> str:
        return f"{self.number.name} at {self.point} {self.count}"


class Queue(SqlQueue):
    """The queue, which notes what it gave out and got back, and where its process is hit."""

    def __init__(self, tables: Tables, notes: Path, blow: Blow | None) -> None:
        super().__init__(tables)
        self._notes, self._blow, self._left = notes, blow, blow.count if blow else 0

    def lease(self, worker: str, queues: Sequence[str], *, lease_s: float = 30) -> Lease | None:
        """As the queue does it."""
        lease = super().lease(worker, queues, lease_s=lease_s)
        if lease is not None:
            self._note("leased", lease)
            self.at("leased")
        return lease

    def finish(self, conn: sa.Connection, lease: Lease, result: dict[str, object]) -> None:
        """As the queue does it."""
        super().finish(conn, lease, result)
        self._note("released", lease)

    def fail(
        self, conn: sa.Connection, lease: Lease, error: str, *, retry_in_s: float | None, counts: bool = True
    ) -> None:
        """As the queue does it."""
        super().fail(conn, lease, error, retry_in_s=retry_in_s, counts=counts)
        self._note("released", lease)

    def at(self, point: str) -> None:
        """This process is at a point now; it may be the last thing it does."""
        if self._blow is None or self._blow.point != point:
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), self._blow.number)

    def _note(self, word: str, lease: Lease) -> None:
        with self._notes.open("a") as file:
            file.write(f"{time.time_ns() // 1000} {word} {lease.attempt} {os.getpid()}\n")


@dataclass(frozen=True)
class Site:
    """Where it all is. Nothing of it is open until a process opens it.

    Args:
        folder: The project, with its blobs and scratch files.
        notes: Where processes note what they do; not on the project's disk, which may be full.
        url: The database.
        elsewhere: A SQLite file that stands for a system outside.
    """

    folder: Path
    notes: Path
    url: str
    elsewhere: Path

    @contextmanager
    def open(self, blow: Blow | None = None) -> Iterator[Opened]:
        """Open it in this process."""
        tables = open_tables(self.url, self.folder)
        try:
            yield Opened(self, tables, Queue(tables, self.notes / LEASES, blow))
        finally:
            tables.close()

    def fork(self, work: Callable[[Opened], object], blow: Blow | None = None) -> int:
        """Do something in another process, at the head of a session; its id. This process has nothing open then."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.setsid()
            log = os.open(self.notes / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s", force=True)
            logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)
            with self.open(blow) as opened:
                work(opened)
            code = 0
        except BaseException:  # noqa: BLE001 - the edge of a process
            sys.excepthook(*sys.exc_info())
        os._exit(code)


class Opened:
    """A site that is open in this process."""

    def __init__(self, site: Site, tables: Tables, queue: Queue) -> None:
        self.site, self.tables, self.queue = site, tables, queue
        self.blobs = FileBlobs(site.folder / "blobs")
        self.journal = SqlJournal(tables)
        paths = os.pathsep.join([str(site.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {"PYTHONPATH": paths, ELSEWHERE: str(site.elsewhere), "FAULTS_NOTES": str(site.notes)}
        self.pipelines = Pipelines(
            tables=tables,
            journal=self.journal,
            queue=queue,
            blobs=self.blobs,
            scratch=site.folder / "scratch",
            house="house:open_house",
            house_env=env,
            root=site.folder,
            lease_s=LEASE_S,
            engines=[ProcessEngine(beat_s=0.1, grace_s=0.5)],
        )


def work(opened: Opened) -> None:
    """A worker, until it is told to stop."""
    _watch(opened.queue)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    worker = Worker(
        opened.tables,
        opened.queue,
        {KIND: opened.pipelines.work_once},
        lease_s=LEASE_S,
        poll_s=0.1,
        chores=[opened.pipelines.settle],
        chore_every_s=1.0,
    )
    worker.start()
    while not stopping:
        time.sleep(0.05)
    worker.stop()


def _watch(queue: Queue) -> None:
    """Have the ledger say where it is; what runs is its own code."""
    answer, beat, finish = Ledger.answer, Ledger.beat, Ledger.finish_run

    def answering(ledger: Ledger, message: Message) -> Message:
        earlier = message.get("before", [])
        assert isinstance(earlier, list)
        asked = {message["ask"], *(each["ask"] for each in earlier)}
        for ask in asked & {"begin", "finish"}:
            queue.at(str(ask))
        reply = answer(ledger, message)
        if "finish" in asked:
            queue.at("finished")
        if reply.get("do") == "run":
            queue.at("began")
        return reply

    def beating(ledger: Ledger) -> float | None:
        found = beat(ledger)
        queue.at("beat")
        return found

    def finishing(ledger: Ledger, result: object) -> None:
        queue.at("ending")
        finish(ledger, result)
        queue.at("ended")

    Ledger.answer, Ledger.beat, Ledger.finish_run = answering, beating, finishing  # type: ignore[method-assign,assignment]
