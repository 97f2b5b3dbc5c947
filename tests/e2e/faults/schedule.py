"""One random schedule of faults: drawn from its seed, lived through by real processes, and what it left judged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from tests.e2e.faults.site import LEASE_S, POINTS, Blow, Opened, Site, work

from mainspring.pipelines import RunState
from mainspring.testing.postgres import PostgresServer

PROJECT = Path(__file__).with_name("project")
PATIENCE_S = 120.0
WORKERS = 2
TARGET = "flow.py:flow"
KEY = "the run"


@dataclass(frozen=True)
class Fault:
    """What happens from outside, so many seconds after the run was asked for, and for how long."""

    kind: str
    at_s: float
    for_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} at {self.at_s:.2f} s" + (f" for {self.for_s:.1f} s" if self.for_s else "")


@dataclass(frozen=True)
class Plan:
    """What is drawn from a seed."""

    seed: int
    pause_s: float
    blows: tuple[Blow, ...]
    faults: tuple[Fault, ...]
    doomed_submits: tuple[float, ...]
    """Processes that ask for the run and are killed after so long; the last one lives."""

    def __str__(self) -> str:
        said = [*map(str, self.blows), *map(str, self.faults)]
        said += [f"a submit killed after {each:.3f} s" for each in self.doomed_submits]
        return f"seed {self.seed}: steps of {self.pause_s:.2f} s; {'; '.join(said)}"


def draw(seed: int, kind: str, *, disk: bool) -> Plan:
    """The plan of a seed. What cannot be done here (a disk of one's own) is drawn and left out."""
    chance = random.Random(seed)
    outside = ["kill worker", "kill worker", "kill step", "kill step", "stop worker", "lock"]
    outside += ["restart"] * 2 if kind == "postgres" else []
    outside += ["full disk"]
    blows, faults = [], []
    for _ in range(chance.choice((0, 1, 1, 2))):
        number = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        blows.append(Blow(chance.choice(POINTS), chance.randint(1, 5), number))
    for _ in range(chance.choice((1, 1, 2, 3))):
        what, at_s = chance.choice(outside), chance.uniform(0.0, 2.0)
        lasts = {"stop worker": LEASE_S + 1.0, "lock": chance.uniform(0.5, 3.0), "full disk": chance.uniform(0.5, 2.5)}
        faults.append(Fault(what, at_s, lasts.get(what, 0.0)))
    submits = [chance.uniform(0.0, 0.1) for _ in range(chance.choice((0, 0, 1, 2)))]
    pause_s = chance.uniform(0.05, 0.35)
    possible = tuple(sorted((f for f in faults if disk or f.kind != "full disk"), key=lambda f: f.at_s))
    return Plan(seed, pause_s, tuple(blows), possible, tuple(submits))


@dataclass
class Found:
    """What came of a schedule."""

    plan: Plan
    troubles: list[str] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    slots_s: list[float] = field(default_factory=list)
    zombies: int = 0
    attempts: int = 0
    seconds: float = 0.0


class Life:
    """A schedule being lived through.

    Args:
        plan: What happens.
        site: Where; its folders are there.
        server: The Postgres that it is on, None on SQLite.
    """

    def __init__(self, plan: Plan, site: Site, server: PostgresServer | None) -> None:
        self.plan, self.site, self.server = plan, site, server
        self.found = Found(plan)
        self._blows = list(plan.blows)
        self._workers: dict[int, str] = {}
        self._others: set[int] = set()
        self._asleep: dict[int, float] = {}
        self._outages: list[tuple[float, float]] = []
        self.losses: list[tuple[int, float, float]] = []
        """Workers that were killed or stopped: process, when, and until when (endless for a kill)."""

    def live(self) -> str:
        """Until the run has ended and every worker was told to stop; the run's id."""
        began = time.time()
        end = began + PATIENCE_S
        run_id = self._submit()
        started, faults, look = time.time(), list(self.plan.faults), 0.0
        state = ""
        try:
            while not (RunState(state or "queued").is_final and not self._asleep and not self._others):
                assert time.time() < end, f"the run is still {state}"
                self._reap()
                while faults and time.time() >= started + faults[0].at_s:
                    self._do(faults.pop(0))
                if time.time() >= look:
                    state, look = self._state(run_id) or state, time.time() + 0.15
                time.sleep(0.01)
            time.sleep(0.5)  # whoever woke up late does what it would do
            self._reap()
        finally:
            self._free()
            self._stop()
            self.found.seconds = time.time() - began
        return run_id

    def is_quiet(self, since: float, until: float) -> bool:
        """Whether the database, the disk and the other workers were well all that time."""
        lost = [(at, back) for _, at, back in self.losses if at != since]
        return not any(at < until and back > since for at, back in [*self._outages, *lost])

    def _submit(self) -> str:
        """Processes ask for the run by its key, until one has had an answer."""
        answer = self.site.notes / "run.txt"

        def ask(opened: Opened) -> None:
            run_id = opened.pipelines.submit(TARGET, {"pause": self.plan.pause_s, "seed": self.plan.seed}, key=KEY)
            answer.write_text(run_id)

        for alive_s in self.plan.doomed_submits:
            pid = self.site.fork(ask)
            time.sleep(alive_s)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert os.waitpid(self.site.fork(ask), 0)[1] == 0, "submit failed"
        return answer.read_text()

    def _reap(self) -> None:
        """Notice who died or was stopped, wake up who slept long enough, and keep the number of workers."""
        with suppress(ChildProcessError):
            while (gone := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0]:
                self._note(*gone)
        for pid, until in list(self._asleep.items()):
            if time.time() >= until:
                del self._asleep[pid]
                self.found.zombies += 1
                os.kill(pid, signal.SIGCONT)
        while len(self._workers) < WORKERS:
            blow = self._blows.pop(0) if self._blows else None
            self._workers[self.site.fork(work, blow)] = str(blow)

    def _note(self, pid: int, status: int) -> None:
        if os.WIFSTOPPED(status):
            if pid not in self._asleep:
                self._sleeps(pid, f"{self._workers.get(pid, '')} (a blow)")
            return
        self._others.discard(pid)
        self._asleep.pop(pid, None)
        blow = self._workers.pop(pid, None)
        if blow is not None and os.WIFSIGNALED(status):
            self.losses.append((pid, time.time(), float("inf")))
            self.found.hits.append(f"{blow}: worker {pid} killed")
        elif blow is not None:
            self.found.troubles.append(f"worker {pid} ended with {status}")

    def _sleeps(self, pid: int, why: str) -> None:
        now = time.time()
        self._asleep[pid] = now + LEASE_S + 1.0
        self.losses.append((pid, now, now + LEASE_S + 1.0))
        self.found.hits.append(f"{why}: worker {pid} stopped")

    def _do(self, fault: Fault) -> None:
        self.found.hits.append(str(fault))
        now = time.time()
        if fault.kind == "kill worker":
            os.kill(self._holder(), signal.SIGKILL)
        elif fault.kind == "stop worker":
            pid = self._holder()
            if pid not in self._asleep:
                os.kill(pid, signal.SIGSTOP)
                self._sleeps(pid, "from outside")
        elif fault.kind == "kill step":
            with suppress(ProcessLookupError, FileNotFoundError, IndexError):
                os.kill(int((self.site.notes / "marks.txt").read_text().split()[-2]), signal.SIGKILL)
        elif fault.kind == "restart" and self.server is not None:
            self.server.crash()
            self._outages.append((now, time.time() + 0.5))
        elif fault.kind == "lock":
            self._others.add(self.site.fork(partial(lock, for_s=fault.for_s)))
            self._outages.append((now, now + fault.for_s + 1.0))
        elif fault.kind == "full disk":
            self._others.add(self.site.fork(partial(fill, for_s=fault.for_s)))
            self._outages.append((now, now + fault.for_s + 1.0))

    def _holder(self) -> int:
        """The worker that has the run, or else any."""
        with suppress(FileNotFoundError, IndexError):
            last = (self.site.notes / "leases.txt").read_text().split()[-1]
            if int(last) in self._workers:
                return int(last)
        return next(iter(self._workers))

    def _state(self, run_id: str) -> str:
        """The state of the run, "" while the database cannot say it."""
        try:
            with self.site.open() as opened, opened.tables.read() as conn:
                return str(
                    conn.execute(sa.text("SELECT state FROM pipeline_run WHERE id = :id"), {"id": run_id}).scalar()
                )
        except Exception:  # noqa: BLE001 - it is locked or away
            return ""

    def _free(self) -> None:
        for pid in self._others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        """Tell every worker to stop, and wait for it."""
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
        until = time.time() + 30
        for pid in [*self._workers, *self._others]:
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.time() > until:
                    self.found.troubles.append(f"worker {pid} does not stop")
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def lock(opened: Opened, *, for_s: float) -> None:
    """Hold the database."""
    if opened.tables.dialect == "sqlite":
        path = opened.site.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            time.sleep(for_s)
        return
    with opened.tables.write() as conn:
        conn.exec_driver_sql("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        time.sleep(for_s)


def fill(opened: Opened, *, for_s: float) -> None:
    """Take all the room that the disk of the project has."""
    filler = opened.site.folder / "filler"
    until = time.time() + for_s
    try:
        with filler.open("ab", buffering=0) as file:
            while time.time() < until:  # what others give back is taken too
                for size in (1 << 16, 1 << 12, 1):
                    with suppress(OSError):
                        while True:
                            file.write(b"\1" * size)
                time.sleep(0.02)
    finally:
        filler.unlink()


def lay_out(folder: Path, notes: Path) -> Path:
    """Write the project and the system outside; the path of the latter."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    elsewhere = notes / "elsewhere.db"
    with closing(sqlite3.connect(elsewhere)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE paid(key TEXT PRIMARY KEY, amount INTEGER)")
        conn.execute("CREATE TABLE tries(key TEXT)")
        conn.commit()
    return elsewhere
