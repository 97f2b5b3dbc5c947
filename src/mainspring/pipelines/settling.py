"""Runs that nobody works on any more: their job is dead, or the process they ran in is gone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, HOUR_US, SECOND_US
from mainspring.core.errors import NotFound
from mainspring.pipelines import records
from mainspring.pipelines.desk import Desk
from mainspring.pipelines.events import RunFailed
from mainspring.pipelines.model import RunState, StepState
from mainspring.pipelines.tracked import close_tracked
from mainspring.storage.jobs import JobState
from mainspring.storage.ports import Queue, Tables

FOLDER = "pipeline-runs"
"""Where files of runs under way are, in the scratch folder."""
HERE = "inline"
"""How queues of runs begin that a process keeps for itself."""
BEGINS_US = 60 * SECOND_US
"""After so long a process that put a job for itself has not begun with it, and will not."""
SETTLED_RUNS = 500
"""How many runs are looked at in one turn."""


class Settling:
    """Ends them, a turn at a time.

    Args:
        desk: What the room works with.
        folder: Where files of runs under way are.
    """

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._folder = folder
        self._settled = ("", "")
        self._tidied = 0

    def settle(self) -> int:
        """End such runs, and tidy up behind them.

        Returns: How many there were, over all projects.
        """
        with self._desk.tables.read() as conn:
            waiting = records.active(conn, self._settled, limit=SETTLED_RUNS)
        self._settled = waiting[-1][:2] if len(waiting) == SETTLED_RUNS else ("", "")
        settled = end_lost("pipelines", self._desk.tables, self._desk.queue, waiting, self._end_lost)
        self._tidy()
        return settled

    def lost(self, job_id: str) -> str:
        """As the function `lost`."""
        return lost(self._desk.tables, self._desk.queue, job_id)

    def _tidy(self) -> None:
        """Do what workers that were killed after the end of a run had left to do: close its twin, remove its files."""
        now = self._desk.clock.now()
        if now - self._tidied >= HOUR_US:
            with self._desk.tables.read() as conn:
                ended = records.ended_since(conn, max(self._tidied, now - DAY_US) - HOUR_US, limit=SETTLED_RUNS)
            for project, run_id, state in ended:
                with calling(Caller("pipelines", project)):
                    close_tracked(self._desk.tracking, run_id, state)
            self._tidied = now
        left = _older_than(self._folder, self._desk.lease_s)[:SETTLED_RUNS]
        if left:
            with self._desk.tables.read() as conn:
                over = set(records.ended_of(conn, [_run_of(name) for name in left]))
            for name in left:
                if _run_of(name) in over:
                    shutil.rmtree(self._folder / name, ignore_errors=True)

    def _end_lost(self, run_id: str, reason: str) -> bool:
        with self._desk.tables.read() as conn:
            run = records.find_run(conn, run_id, with_steps=False)
        if run is None:
            return False
        now = self._desk.clock.now()
        values = {"state": RunState.FAILED, "finished_at": now, "error": reason}
        with self._desk.tables.write() as conn:
            if not records.change_run(conn, run_id, values, states=records.UNFINISHED):
                return False
            self._desk.queue.cancel(conn, run.job_id)
            records.end_steps(conn, run_id, running=StepState.FAILED, at=now)
            fact = RunFailed(subject=run.ref, pipeline=run.pipeline, step="", error=reason)
            self._desk.journal.append(conn, fact)
        close_tracked(self._desk.tracking, run_id, RunState.FAILED)
        return True


def end_lost(
    caller: str,
    tables: Tables,
    queue: Queue,
    waiting: Iterable[tuple[str, str, str]],
    end: Callable[[str, str], bool],
) -> int:
    """End what nobody works on any more.

    Args:
        caller: Who does, for the record.
        tables: Whose time it is.
        queue: Where the jobs are.
        waiting: Project, id and job id of each of what is not final.
        end: Ends one, by its id and why; False when it is final by now.

    Returns: How many there were, over all projects.
    """
    ended = 0
    for project, each_id, job_id in waiting:
        with calling(Caller(caller, project)):
            reason = lost(tables, queue, job_id)
            ended += bool(reason) and end(each_id, reason)
    return ended


def lost(tables: Tables, queue: Queue, job_id: str) -> str:
    """Why nobody works on a job any more; empty while somebody does or will.

    Args:
        tables: Whose time it is.
        queue: Where the job is.
        job_id: The job.
    """
    try:
        job = queue.get(job_id)
    except NotFound:
        return "its job is gone from the queue"
    if job.state is JobState.DEAD:
        return job.error or "its job was put aside"
    if job.state.is_final:
        return f"its job was {job.state} by hand"
    if not job.queue.startswith(f"{HERE}-"):
        return ""
    with tables.read() as conn:
        now = tables.now(conn)
    until = job.lease_until if job.state is JobState.RUNNING else job.created_at + BEGINS_US
    return "the process that ran it is gone" if until < now else ""


def _run_of(name: str) -> str:
    """The run that a folder of one of its attempts is of."""
    return name.partition("-")[0]


def _older_than(folder: Path, seconds: float) -> list[str]:
    """The names in a folder that have not changed for so long; others may take them away meanwhile."""
    found = []
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - seconds:
                found.append(path.name)
    return sorted(found)
