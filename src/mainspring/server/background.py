"""What runs behind the doors of a server: the model server, the worker, the turning loop and the sealer."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from mainspring.access import Audit, Sealer
from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Conflict, MainspringError
from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.loop import Loop
from mainspring.loop.planning.service import Planner
from mainspring.loop.triggers.service import Triggers
from mainspring.monitoring.notices.telling import Herald
from mainspring.monitoring.telemetry import Telemetry
from mainspring.pipelines.search.service import JOB as SEARCH
from mainspring.pipelines.search.service import QUEUE as SEARCHES
from mainspring.pipelines.search.service import Searches
from mainspring.pipelines.worker import Worker
from mainspring.registry.webhooks import Courier
from mainspring.serving.batch.desk import KIND, BatchDesk
from mainspring.serving.batch.desk import QUEUE as BATCHES
from mainspring.serving.batch.work import BatchWork
from mainspring.serving.supervisor import Supervisor
from mainspring.storage.ports import Queue, Tables
from mainspring.tracking import Files, Tracking
from mainspring.tracking.columns import Columns
from mainspring.tracking.local import LocalTaker
from mainspring.upkeep import Upkeep
from mainspring.upkeep.service import JOB, QUEUE

log = logging.getLogger("mainspring.server")
UPKEEP_EVERY_S = 600.0
"""How often it is checked that today's turn of upkeep is on the queue."""
UPKEEP_POLL_S = 30.0
BATCH_POLL_S = 1.0
SEARCH_POLL_S = 0.5
WATCH_S = 0.5
"""How often it is checked that the model server lives."""
NEWS_S = 0.1
"""How often it is looked whether something happened that the loop decides on."""


class FolderLock:
    """One server a data folder, held as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "server.lock"
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take the folder.

        Raises:
            Conflict: Another server has it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115  held until the process ends
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            file.close()
            hint = "use that server, or --data DIR for another folder"
            raise Conflict(f"a server runs on this folder (process {pid})", where=str(self._path), hint=hint) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let the folder go."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Turner:
    """Turns the loop of every project with a deployment, and keeps the model server alive.

    It turns every few seconds, and at once when something happened that the loop decides on, such as a verdict.

    Args:
        chores: Called before the turns that come by the clock, such as `Triggers.turn`.
    """

    def __init__(
        self,
        loop: Loop,
        supervisor: Supervisor,
        *,
        project: str,
        every_s: float = 5.0,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._loop, self._supervisor, self._project, self._every_s = loop, supervisor, project, every_s
        self._chores = chores
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="turner", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        next_watch = next_turn = time.monotonic()
        looked = 0
        while not self._stopping.wait(NEWS_S):
            now = time.monotonic()
            try:
                if now >= next_watch:
                    next_watch = now + WATCH_S
                    self._supervisor.ensure()
                looked, news = self._loop.news(looked)
                if now < next_turn and not news:
                    continue
                if now >= next_turn:
                    next_turn = now + self._every_s
                    for chore in self._chores:
                        chore()
                projects = {self._project, *self._loop.serving.projects()}
            except Exception:
                log.exception("loop.turn_failed")
                continue
            for project in sorted(projects):
                self.turn(project)

    def turn(self, project: str) -> None:
        """Turn the loop of one project. What goes wrong there is logged, and keeps no other one waiting."""
        with calling(Caller("loop", project)):
            try:
                self._loop.turn()
            except MainspringError as error:
                told = (project, error.code, error.what, error.where)
                log.warning("loop.turn_failed project=%s code=%s what=%s where=%s", *told)
            except Exception:
                log.exception("loop.turn_failed project=%s", project)


class Background:
    """Everything that runs behind the doors, started in order. The model server stops after all that may ask it."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._parts: list[Worker | Turner | Courier | Telemetry] = []
        self._sealer: Sealer | None = None

    def launch(self) -> None:
        """Start the model server, and return at once: it loads what it needs beside this process."""
        self._wiring.get(Supervisor).launch()

    def start(self) -> None:
        """Wait until the model server serves, then start worker, loop and sealer."""
        settings, supervisor = self._wiring.get(Settings), self._wiring.get(Supervisor)
        LocalTaker(self._wiring.get(Tracking), self._wiring.get(Files)).recover(settings.data_dir / "spool" / "runs")
        self._wiring.get(Files).sweep()
        supervisor.start()
        loop = self._wiring.get(Loop)
        columns = self._wiring.get(Columns)
        chores = (self._wiring.get(Planner).follow, self._wiring.get(Triggers).turn, columns.turn)
        turner = Turner(loop, supervisor, project=settings.project.name, chores=chores)
        self._parts = [
            self._wiring.get(Worker),
            self.caretaker(),
            self.answerer(),
            self.searcher(),
            turner,
            self._wiring.get(Courier),
            self._wiring.get(Herald),
            self._wiring.get(Telemetry),
        ]
        for part in self._parts:
            part.start()
        self._sealer = Sealer(self._wiring.get(Audit))
        self._sealer.start()

    def caretaker(self) -> Worker:
        """A worker of its own for upkeep: pipelines do not wait behind it."""
        upkeep = self._wiring.get(Upkeep)
        return Worker(
            self._wiring.get(Tables),  # type: ignore[type-abstract]
            self._wiring.get(Queue),  # type: ignore[type-abstract]
            {JOB: upkeep.work},
            queues=(QUEUE,),
            poll_s=UPKEEP_POLL_S,
            chores=(upkeep.schedule,),
            chore_every_s=UPKEEP_EVERY_S,
        )

    def answerer(self) -> Worker:
        """A worker of its own for batches: they take long, and nothing else waits behind them."""
        return Worker(
            self._wiring.get(Tables),  # type: ignore[type-abstract]
            self._wiring.get(Queue),  # type: ignore[type-abstract]
            {KIND: self._wiring.get(BatchWork)},
            queues=(BATCHES,),
            poll_s=BATCH_POLL_S,
            chores=(self._wiring.get(BatchDesk).sweep,),
            chore_every_s=UPKEEP_EVERY_S,
        )

    def searcher(self) -> Worker:
        """A worker of its own for searches: while one waits for its trials, a thread that could do them does not."""
        settings, searches = self._wiring.get(Settings), self._wiring.get(Searches)
        return Worker(
            self._wiring.get(Tables),  # type: ignore[type-abstract]
            self._wiring.get(Queue),  # type: ignore[type-abstract]
            {SEARCH: searches.work_once},
            queues=(SEARCHES,),
            threads=settings.loop.workers,
            lease_s=settings.loop.lease_s,
            poll_s=SEARCH_POLL_S,
            chores=(searches.settle,),
        )

    def stop(self) -> None:
        """Stop all of it; what is leased is given back, what is answered is logged.

        The parts end beside each other: each may first finish what it is at, or wake from a wait of a second. What they
        wrote last is sealed.
        """
        with ThreadPoolExecutor(max(1, len(self._parts)), thread_name_prefix="stop") as pool:
            ends = [pool.submit(part.stop) for part in self._parts]
        self._wiring.get(Supervisor).stop()
        if self._sealer is not None:
            self._sealer.stop()
        for end in ends:
            end.result()
