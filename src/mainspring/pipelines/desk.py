"""What those who look after runs work with, and how a run that rests gets into the queue again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import Clock
from mainspring.core.values import dataclass
from mainspring.pipelines import records
from mainspring.pipelines.machine import Machine
from mainspring.pipelines.model import PipelineRun, RunState
from mainspring.storage.jobs import NewJob
from mainspring.storage.ports import Blobs, Journal, Queue, Tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.tracking import Tracking

QUEUE, KIND = "pipelines", "pipelines.run"
ATTEMPTS = 10
"""How many workers may have a run. Errors of steps do not count: they end the run or are tried again in it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What ledgers work with."""

    tables: Tables
    journal: Journal
    queue: Queue
    blobs: Blobs
    clock: Clock
    data: Data | None
    tracking: Tracking | None
    lease_s: float
    machine: Machine


def requeue(conn: Connection, desk: Desk, run: PipelineRun) -> None:
    """Give a run that rests a new job; for whoever asked for it, at the priority it had."""
    with calling(Caller(run.actor or caller().actor, caller().project)):
        job = NewJob(queue=QUEUE, kind=KIND, payload={"run": run.id}, priority=run.priority, max_attempts=ATTEMPTS)
        job_id = desk.queue.put(conn, job)
    engine = "process" if run.engine == "inline" else run.engine
    values = {"state": RunState.QUEUED, "job_id": job_id, "engine": engine, "pausing": False}
    records.change_run(conn, run.id, values, states=list(RunState))
