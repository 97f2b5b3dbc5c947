"""The worker on a real queue: finishing, failing, keeping a lease alive, losing it, stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Fenced, Invalid
from mainspring.pipelines.worker import Handler, Worker, check_hold
from mainspring.storage.jobs import JobState, Lease, NewJob
from mainspring.storage.ports import Tables
from mainspring.storage.queue import SqlQueue

PATIENCE_S = 30.0


class Bench:
    """A queue with a worker that knows some handlers."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.queue = SqlQueue(tables)

    def put(self, kind: str = "job", **payload: object) -> str:
        with self.tables.write() as conn:
            return self.queue.put(conn, NewJob(queue="pipelines", kind=kind, payload=payload))

    def worker(
        self, handler: Handler, *, lease_s: float = 30.0, chores: list[Callable[[], object]] | None = None
    ) -> Worker:
        return Worker(
            self.tables,
            self.queue,
            {"job": handler},
            lease_s=lease_s,
            poll_s=0.01,
            chores=chores or [],
            chore_every_s=0,
        )

    def until(self, job: str, state: JobState) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.queue.get(job).state is not state:
            assert time.monotonic() < end, self.queue.get(job)
            time.sleep(0.01)


@pytest.fixture
def bench(sqlite_tables: Tables) -> Bench:
    return Bench(sqlite_tables)


def test_a_job_is_finished_with_what_its_handler_returns(bench: Bench) -> None:
    job = bench.put(n=2)
    assert bench.worker(lambda lease: {"n": lease.job.payload["n"]}).run_one()
    assert (bench.queue.get(job).state, bench.queue.get(job).result) == (JobState.FINISHED, {"n": 2})


def test_a_handler_works_on_behalf_of_who_put_the_job(bench: Bench) -> None:
    with calling(Caller("ada", "flights")):
        bench.put()
    seen: list[Caller] = []

    def work(lease: Lease) -> None:
        seen.append(caller())

    bench.worker(work).run_one()
    assert [(who.actor, who.project) for who in seen] == [("ada", "flights")]


def test_a_handler_may_finish_its_job_itself(bench: Bench) -> None:
    job = bench.put()

    def work(lease: Lease) -> None:
        with bench.tables.write() as conn:
            bench.queue.finish(conn, lease, {"by": "itself"})

    bench.worker(work).run_one()
    assert bench.queue.get(job).result == {"by": "itself"}


@pytest.mark.parametrize(
    ("error", "text"), [(Invalid("no such thing"), "no such thing"), (KeyError("x"), "KeyError: 'x'")]
)
def test_an_error_gives_the_job_back_for_later(bench: Bench, error: Exception, text: str) -> None:
    job = bench.put()

    def work(lease: Lease) -> None:
        raise error

    bench.worker(work).run_one()
    found = bench.queue.get(job)
    assert (found.state, found.error) == (JobState.QUEUED, text)
    assert found.run_at > found.created_at


def test_a_job_of_an_unknown_kind_is_given_back(bench: Bench) -> None:
    job = bench.put("other")
    bench.worker(lambda lease: None).run_one()
    assert "does not do jobs of kind other" in bench.queue.get(job).error


def test_a_long_job_keeps_its_lease(bench: Bench) -> None:
    job = bench.put()
    tries: list[int] = []

    def work(lease: Lease) -> None:
        tries.append(lease.attempt)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert bench.queue.lease("thief", ["pipelines"]) is None
            time.sleep(0.1)

    bench.worker(work, lease_s=1.5).run_one()
    assert (bench.queue.get(job).state, tries) == (JobState.FINISHED, [1])


def test_a_cancelled_job_stops_at_its_next_check(bench: Bench) -> None:
    job = bench.put()
    stopped: list[BaseException] = []

    def work(lease: Lease) -> None:
        with bench.tables.write() as conn:
            bench.queue.cancel(conn, job)
        end = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < end:
                check_hold()
                time.sleep(0.01)
        except Fenced as reason:
            stopped.append(reason)
            raise

    bench.worker(work, lease_s=0.3).run_one()
    assert len(stopped) == 1
    assert bench.queue.get(job).state is JobState.CANCELLED


def test_stopping_gives_the_job_back_at_once(bench: Bench) -> None:
    job = bench.put()
    started = threading.Event()

    def work(lease: Lease) -> Mapping[str, object]:
        started.set()
        while True:
            check_hold()
            time.sleep(0.01)

    worker = bench.worker(work)
    worker.start()
    assert started.wait(PATIENCE_S)
    worker.stop(PATIENCE_S)
    assert bench.queue.get(job).state is JobState.QUEUED
    assert bench.queue.lease("next", ["pipelines"]) is not None


def test_a_job_outlives_any_number_of_workers_that_are_stopped(bench: Bench) -> None:
    with bench.tables.write() as conn:
        job = bench.queue.put(conn, NewJob(queue="pipelines", kind="job", max_attempts=2))

    def work(lease: Lease) -> None:
        began.set()
        while True:
            check_hold()
            time.sleep(0.001)

    for _ in range(5):
        began = threading.Event()
        worker = bench.worker(work)
        worker.start()
        assert began.wait(PATIENCE_S)
        worker.stop()
        assert bench.queue.get(job).state is JobState.QUEUED
    assert bench.worker(lambda lease: {"n": lease.attempt}).run_one()
    assert bench.queue.get(job).result == {"n": 6}


def test_a_worker_outlives_a_chore_that_fails(bench: Bench) -> None:
    def chore() -> None:
        if len(turns) < 2:
            turns.append(1)
            raise OSError("the database is away")

    turns: list[int] = []
    worker = bench.worker(lambda lease: None, chores=[chore])
    worker.start()
    job = bench.put()
    bench.until(job, JobState.FINISHED)
    worker.stop(PATIENCE_S)
    assert len(turns) == 2


def test_outside_of_a_worker_there_is_nothing_to_check() -> None:
    check_hold()
