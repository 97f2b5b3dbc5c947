"""The gate's job in a worker that is stopped, or that has lost it, in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mainspring.core.caller import Caller, calling
from mainspring.engines import ProcessEngine
from mainspring.loop.judging import ENTRY
from mainspring.pipelines.childwork import ChildWork
from mainspring.pipelines.worker import Worker
from mainspring.storage.jobs import JobState, NewJob
from mainspring.storage.ports import Tables
from mainspring.storage.queue import SqlQueue

PATIENCE_S = 60.0
SLOW = """
import os, time
from pathlib import Path

def opened():
    Path("pid.part").write_text(str(os.getpid()))
    os.rename("pid.part", "pid")
    while True:
        time.sleep(0.05)
"""

WHOSE = """
from mainspring.core.caller import caller
from mainspring.core.wiring import Wiring
from mainspring.pipelines.childwork import opened

def house():
    return Wiring()

def work(payload, ask):
    with opened(payload):
        return {"actor": caller().actor, "project": caller().project}
"""


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def queue(sqlite_tables: Tables) -> SqlQueue:
    return SqlQueue(sqlite_tables)


@pytest.fixture
def job(sqlite_tables: Tables, queue: SqlQueue) -> str:
    payload = {"cycle": "c", "version": 1, "evaluation": "data/1", "label": "late"}
    with sqlite_tables.write() as conn:
        return queue.put(conn, NewJob(queue="loop", kind="gate", payload=payload))


@pytest.fixture
def worker(sqlite_tables: Tables, queue: SqlQueue, tmp_path: Path, job: str) -> Iterator[Worker]:
    """One whose gate opens a house that never opens."""
    (tmp_path / "slow.py").write_text(SLOW)
    env = {"PYTHONPATH": str(tmp_path)}
    engine = ProcessEngine(beat_s=0.05, grace_s=0.2)
    gate = ChildWork(ENTRY, what="gate", engine=engine, opener="slow:opened", cwd=tmp_path, env=env)
    made = Worker(sqlite_tables, queue, {"gate": gate}, queues=["loop"], lease_s=0.6, poll_s=0.01)
    made.start()
    yield made
    made.stop()


def child(folder: Path) -> int:
    """The id of the process that judges."""
    until((folder / "pid").exists)
    return int((folder / "pid").read_text())


def test_a_gate_gives_its_job_back_when_its_worker_stops(
    worker: Worker, queue: SqlQueue, job: str, tmp_path: Path
) -> None:
    pid = child(tmp_path)
    worker.stop(PATIENCE_S)
    found = queue.get(job)
    assert (found.state, found.error) == (JobState.QUEUED, "the worker was stopped")
    assert found.attempt < found.max_attempts, "a stop is no try"
    assert not psutil.pid_exists(pid)


def test_a_gate_whose_job_was_cancelled_ends_and_stores_nothing(
    worker: Worker, sqlite_tables: Tables, queue: SqlQueue, job: str, tmp_path: Path
) -> None:
    pid = child(tmp_path)
    with sqlite_tables.write() as conn:
        assert queue.cancel(conn, job)
    until(lambda: not psutil.pid_exists(pid))
    assert queue.get(job).state is JobState.CANCELLED


def test_a_child_works_for_whom_its_job_is_in_the_project_of_its_job(
    sqlite_tables: Tables, queue: SqlQueue, tmp_path: Path
) -> None:
    (tmp_path / "whose.py").write_text(WHOSE)
    env = {"PYTHONPATH": str(tmp_path)}
    child = ChildWork("whose:work", what="gate", engine=ProcessEngine(), opener="whose:house", cwd=tmp_path, env=env)
    with calling(Caller("ada", "shop")), sqlite_tables.write() as conn:
        put = queue.put(conn, NewJob(queue="loop", kind="gate", payload={"cycle": "c"}))
    worker = Worker(sqlite_tables, queue, {"gate": child}, queues=["loop"], poll_s=0.01)
    worker.start()
    try:
        with calling(Caller(project="shop")):
            until(lambda: queue.get(put).state.is_final)
            assert queue.get(put).result == {"actor": "ada", "project": "shop"}
    finally:
        worker.stop()
