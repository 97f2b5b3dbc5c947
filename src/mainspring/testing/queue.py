"""What every backend of the queue port must do, and of `QueueControl`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import SECOND_US, ManualClock
from mainspring.core.errors import Fenced, Invalid, NotFound, Unavailable
from mainspring.storage.jobs import JobState, Lease, NewJob, QueueMode
from mainspring.storage.ports import Queue, Tables
from mainspring.testing.processes import apart
from mainspring.testing.queue_calls import LEASE_S, Database, FullQueue, cancel, fail, finish, put
from mainspring.testing.queue_history import QueueMachine

PATIENCE_S = 60.0


def taken(queue: Queue, name: str = "q", worker: str = "w") -> Lease:
    lease = queue.lease(worker, [name], lease_s=LEASE_S)
    assert lease is not None
    return lease


def hold_a_lease(database: Database, make: Callable[[Tables], Queue], pipe: Pipe) -> None:
    """Take the job, say so, and never come back."""
    lease = make(database()).lease("doomed", ["q"], lease_s=1)
    pipe.send(lease)
    pipe.recv()


def work_off(database: Database, make: Callable[[Tables], Queue], pipe: Pipe) -> None:
    """Finish jobs until there are none, and report which."""
    tables, done = database(), []
    queue = make(tables)
    pipe.send("ready")
    pipe.recv()
    while (lease := queue.lease(str(os.getpid()), ["q"])) is not None:
        finish(tables, queue, lease)
        done.append(lease.job.id)
    pipe.send(done)
    tables.close()


class QueueContract:
    """Needs the fixtures `tables`, `database`, `clock` (a `ManualClock` at 1000 s), `queue` (on both), and
    `make_queue`: makes a queue on given tables with the database's own time, also in another process."""

    def test_a_job_is_given_out_once_with_all_it_carries(self, tables: Tables, queue: FullQueue) -> None:
        with calling(Caller("ada", "p1")):
            job_id = put(tables, queue, payload={"n": [1, "ü"]}, key="k", group="g", priority=2)
        lease = taken(queue)
        job = lease.job
        assert (job.id, job.project, job.actor, job.queue, job.kind) == (job_id, "p1", "ada", "q", "work")
        assert (job.payload, job.key, job.group, job.priority) == ({"n": [1, "ü"]}, "k", "g", 2)
        assert (lease.attempt, lease.worker, lease.until) == (1, "w", 1030 * SECOND_US)
        assert (job.state, job.worker, job.lease_until) == (JobState.RUNNING, "w", lease.until)
        assert queue.get(job_id) == job
        assert queue.lease("other", ["q"]) is None

    def test_a_put_that_is_rolled_back_put_nothing(self, tables: Tables, queue: FullQueue) -> None:
        with pytest.raises(ZeroDivisionError), tables.write() as conn:
            queue.put(conn, NewJob(queue="q", kind="work"))
            raise ZeroDivisionError
        assert queue.lease("w", ["q"]) is None

    def test_only_the_queues_asked_for_are_served(self, tables: Tables, queue: FullQueue) -> None:
        put(tables, queue, "other")
        assert queue.lease("w", ["q"]) is None
        assert queue.lease("w", []) is None
        assert queue.lease("w", ["q", "other"]) is not None

    def test_higher_priority_goes_first_then_earlier_due_then_older(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        put(tables, queue, kind="late", run_at=900 * SECOND_US)
        put(tables, queue, kind="early", run_at=800 * SECOND_US)
        put(tables, queue, kind="urgent", priority=1)
        put(tables, queue, kind="first")
        clock.advance(1)
        put(tables, queue, kind="second")
        assert [taken(queue).job.kind for _ in range(5)] == ["urgent", "early", "late", "first", "second"]

    def test_a_job_for_later_waits(self, tables: Tables, queue: FullQueue, clock: ManualClock) -> None:
        put(tables, queue, run_at=1005 * SECOND_US)
        assert queue.lease("w", ["q"]) is None
        clock.advance(5 * SECOND_US)
        assert queue.lease("w", ["q"]) is not None

    @pytest.mark.parametrize("job", [NewJob(queue="", kind="k"), NewJob(queue="q", kind="")])
    def test_a_job_without_queue_or_kind_is_refused(self, tables: Tables, queue: FullQueue, job: NewJob) -> None:
        with pytest.raises(Invalid), tables.write() as conn:
            queue.put(conn, job)

    def test_a_job_that_may_never_run_is_refused(self, tables: Tables, queue: FullQueue) -> None:
        with pytest.raises(Invalid, match="max_attempts"):
            put(tables, queue, max_attempts=0)

    def test_an_unfinished_job_with_the_same_key_is_the_same_job(self, tables: Tables, queue: FullQueue) -> None:
        first = put(tables, queue, key="k")
        assert put(tables, queue, key="k") == first
        lease = taken(queue)
        assert put(tables, queue, key="k") == first
        finish(tables, queue, lease)
        assert put(tables, queue, key="k") != first

    def test_keys_of_other_queues_and_projects_are_other_keys(self, tables: Tables, queue: FullQueue) -> None:
        ids = {put(tables, queue, key="k"), put(tables, queue, "other", key="k")}
        with calling(Caller(project="p1")):
            ids.add(put(tables, queue, key="k"))
        assert len(ids) == 3

    def test_a_job_with_a_deterministic_id_runs_once(self, tables: Tables, queue: FullQueue) -> None:
        assert put(tables, queue, id="a" * 32) == put(tables, queue, id="a" * 32) == "a" * 32
        finish(tables, queue, taken(queue))
        assert put(tables, queue, id="a" * 32) == "a" * 32
        assert queue.lease("w", ["q"]) is None

    def test_a_finished_job_keeps_its_result(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        finish(tables, queue, lease)
        job = queue.get(lease.job.id)
        assert (job.state, job.result, job.finished_at) == (JobState.FINISHED, {"ok": True}, 1000 * SECOND_US)

    def test_the_result_and_the_state_are_stored_together(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        with pytest.raises(ZeroDivisionError), tables.write() as conn:
            queue.finish(conn, lease, {})
            raise ZeroDivisionError
        assert queue.get(lease.job.id).state == JobState.RUNNING

    def test_a_failed_job_is_tried_again_after_its_wait(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        fail(tables, queue, taken_after_put(tables, queue), 10)
        assert queue.lease("w", ["q"]) is None
        clock.advance(10 * SECOND_US)
        lease = taken(queue)
        assert (lease.attempt, lease.job.error) == (2, "it broke")

    def test_a_job_without_a_retry_is_dead(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        fail(tables, queue, lease, None)
        job = queue.get(lease.job.id)
        assert (job.state, job.error, job.attempt) == (JobState.DEAD, "it broke", 1)

    def test_a_job_that_is_given_back_by_who_is_told_to_stop_keeps_its_attempts(
        self, tables: Tables, queue: FullQueue
    ) -> None:
        job_id = put(tables, queue, max_attempts=2)
        for _ in range(5):
            lease = taken(queue)
            with tables.write() as conn:
                queue.fail(conn, lease, "stopped", retry_in_s=0, counts=False)
        with tables.write() as conn, pytest.raises(Fenced):
            queue.fail(conn, lease, "again", retry_in_s=0, counts=False)
        fail(tables, queue, taken(queue), 0)
        fail(tables, queue, taken(queue), 0)
        assert (queue.get(job_id).state, queue.get(job_id).attempt) == (JobState.DEAD, 7)

    def test_a_job_that_used_up_its_attempts_is_dead(self, tables: Tables, queue: FullQueue) -> None:
        job_id = put(tables, queue, max_attempts=2)
        fail(tables, queue, taken(queue), 0)
        assert queue.get(job_id).state == JobState.QUEUED
        fail(tables, queue, taken(queue), 0)
        assert queue.get(job_id).state == JobState.DEAD

    def test_a_lease_that_ran_out_is_given_to_another(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        first = taken_after_put(tables, queue)
        clock.advance(round(LEASE_S * SECOND_US))
        assert queue.lease("other", ["q"]) is None
        clock.advance(1)
        second = taken(queue, worker="other")
        assert (second.job.id, second.attempt, second.worker) == (first.job.id, 2, "other")

    def test_every_write_of_a_worker_that_lost_its_lease_is_refused(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        zombie = taken_after_put(tables, queue)
        clock.advance(round(LEASE_S * SECOND_US) + 1)
        holder = taken(queue, worker="other")
        for write in (
            lambda conn: queue.renew(conn, zombie),
            lambda conn: queue.finish(conn, zombie, {}),
            lambda conn: queue.fail(conn, zombie, "", retry_in_s=0),
        ):
            with pytest.raises(Fenced, match="attempt 1"), tables.write() as conn:
                write(conn)
        finish(tables, queue, holder)
        with pytest.raises(Fenced), tables.write() as conn:
            queue.finish(conn, zombie, {})

    def test_a_lease_cannot_be_used_twice(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        finish(tables, queue, lease)
        with pytest.raises(Fenced):
            finish(tables, queue, lease)

    def test_a_renewed_lease_holds_longer(self, tables: Tables, queue: FullQueue, clock: ManualClock) -> None:
        lease = taken_after_put(tables, queue)
        clock.advance(20 * SECOND_US)
        with tables.write() as conn:
            longer = queue.renew(conn, lease, lease_s=LEASE_S)
        assert longer.until == 1050 * SECOND_US
        clock.advance(20 * SECOND_US)
        assert queue.lease("other", ["q"]) is None
        finish(tables, queue, lease)

    def test_a_job_whose_workers_keep_dying_is_put_aside(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        job_id = put(tables, queue, max_attempts=2)
        for _ in range(2):
            taken(queue)
            clock.advance(round(LEASE_S * SECOND_US) + 1)
        assert queue.lease("w", ["q"]) is None
        job = queue.get(job_id)
        assert job.state == JobState.DEAD
        assert "worker was lost" in job.error

    def test_a_cancelled_job_is_not_given_out(self, tables: Tables, queue: FullQueue) -> None:
        job_id = put(tables, queue)
        assert cancel(tables, queue, job_id)
        assert queue.lease("w", ["q"]) is None
        assert queue.get(job_id).state == JobState.CANCELLED
        assert not cancel(tables, queue, job_id)
        assert not cancel(tables, queue, "0" * 32)

    def test_cancelling_a_running_job_fences_its_worker(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        assert cancel(tables, queue, lease.job.id)
        with pytest.raises(Fenced), tables.write() as conn:
            queue.renew(conn, lease)

    def test_an_unknown_job_is_not_found(self, queue: FullQueue) -> None:
        with pytest.raises(NotFound, match="no job"):
            queue.get("0" * 32)
        with pytest.raises(NotFound, match="no job"):
            queue.revive("0" * 32)

    def test_jobs_are_found_by_state_and_queue_in_the_project_of_the_caller(
        self, tables: Tables, queue: FullQueue
    ) -> None:
        running = put(tables, queue)
        taken(queue)
        queued, other = put(tables, queue), put(tables, queue, "other")
        with calling(Caller(project="p1")):
            put(tables, queue)
            assert len(queue.find()) == 1
        assert {job.id for job in queue.find()} == {running, queued, other}
        assert [job.id for job in queue.find(states=[JobState.RUNNING])] == [running]
        assert {job.id for job in queue.find(queue="q")} == {running, queued}

    def test_a_paused_queue_gives_nothing_out_and_takes_everything_in(self, tables: Tables, queue: FullQueue) -> None:
        lease = taken_after_put(tables, queue)
        queue.set_mode("q", QueueMode.PAUSED)
        put(tables, queue)
        assert queue.lease("w", ["q"]) is None
        finish(tables, queue, lease)
        queue.set_mode("q", QueueMode.OPEN)
        assert queue.lease("w", ["q"]) is not None

    def test_a_draining_queue_takes_nothing_in_and_gives_everything_out(self, tables: Tables, queue: FullQueue) -> None:
        put(tables, queue)
        queue.set_mode("q", QueueMode.DRAINING)
        with pytest.raises(Unavailable, match="draining"):
            put(tables, queue)
        assert queue.lease("w", ["q"]) is not None

    def test_a_queue_gives_out_no_more_than_its_limit(
        self, tables: Tables, queue: FullQueue, clock: ManualClock
    ) -> None:
        queue.set_limits("q", limit=2)
        for _ in range(4):
            put(tables, queue)
        first, _ = taken(queue), taken(queue)
        assert queue.lease("w", ["q"]) is None
        finish(tables, queue, first)
        taken(queue)
        clock.advance(round(LEASE_S * SECOND_US) + 1)  # both holders are lost: they do not count
        taken(queue), taken(queue)
        assert queue.lease("w", ["q"]) is None

    def test_a_group_gets_no_more_than_its_limit_and_others_go_on(self, tables: Tables, queue: FullQueue) -> None:
        queue.set_limits("q", group_limit=1)
        for group in ("a", "a", "b", ""):
            put(tables, queue, group=group)
        put(tables, queue, group="")
        with calling(Caller(project="p1")):
            put(tables, queue, group="a")
        got = [taken(queue).job for _ in range(5)]
        assert sorted((job.project, job.group) for job in got) == [
            ("default", ""),
            ("default", ""),
            ("default", "a"),
            ("default", "b"),
            ("p1", "a"),
        ]
        assert queue.lease("w", ["q"]) is None

    def test_status_tells_mode_limits_and_counts(self, tables: Tables, queue: FullQueue, clock: ManualClock) -> None:
        queue.set_limits("q", limit=5, group_limit=2)
        queue.set_mode("q", QueueMode.PAUSED)
        queue.set_mode("q", QueueMode.OPEN)
        for _ in range(4):
            put(tables, queue)
        fail(tables, queue, taken(queue), None)
        taken(queue)
        status = queue.status("q")
        assert (status.mode, status.limit, status.group_limit) == (QueueMode.OPEN, 5, 2)
        assert (status.queued, status.running, status.dead) == (2, 1, 1)
        clock.advance(round(LEASE_S * SECOND_US) + 1)
        assert (queue.status("q").queued, queue.status("q").running) == (3, 0)

    def test_negative_limits_are_refused(self, queue: FullQueue) -> None:
        with pytest.raises(Invalid, match="limits"):
            queue.set_limits("q", limit=-1)

    def test_a_dead_job_gets_fresh_attempts_and_old_leases_stay_fenced(self, tables: Tables, queue: FullQueue) -> None:
        job_id = put(tables, queue, max_attempts=1)
        old = taken(queue)
        fail(tables, queue, old, None)
        assert queue.revive(job_id)
        assert not queue.revive(job_id)
        assert taken(queue).attempt == 2
        with pytest.raises(Fenced):
            finish(tables, queue, old)

    def test_many_workers_never_get_the_same_job(self, tables: Tables, queue: FullQueue) -> None:
        for _ in range(40):
            put(tables, queue)

        def work(name: int) -> list[str]:
            got = []
            while (lease := queue.lease(str(name), ["q"])) is not None:
                got.append(lease.job.id)
            return got

        with ThreadPoolExecutor(6) as pool:
            got = [job_id for ids in pool.map(work, range(6)) for job_id in ids]
        assert len(got) == len(set(got)) == 40

    def test_many_workers_together_stay_below_a_limit(self, tables: Tables, queue: FullQueue) -> None:
        queue.set_limits("q", limit=3)
        for _ in range(20):
            put(tables, queue)
        with ThreadPoolExecutor(8) as pool:
            leases = list(pool.map(lambda n: queue.lease(str(n), ["q"]), range(20)))
        assert sum(lease is not None for lease in leases) == 3

    @pytest.mark.slow
    def test_processes_share_the_work_and_do_each_job_once(
        self, tables: Tables, queue: FullQueue, database: Database, make_queue: Callable[[Tables], Queue]
    ) -> None:
        ids = {put(tables, queue) for _ in range(60)}
        pipes = [apart.Pipe() for _ in range(3)]
        processes = [apart.Process(target=work_off, args=(database, make_queue, there)) for _, there in pipes]
        for process in processes:
            process.start()
        for here, _ in pipes:
            assert here.poll(PATIENCE_S)
            here.recv()
        for here, _ in pipes:
            here.send("go")
        done = [job_id for here, _ in pipes for job_id in here.recv()]
        for process in processes:
            process.join(PATIENCE_S)
        assert len(done) == 60
        assert set(done) == ids

    def test_the_job_of_a_killed_process_is_given_to_another(
        self, tables: Tables, database: Database, make_queue: Callable[[Tables], Queue]
    ) -> None:
        queue = make_queue(tables)
        job_id = put(tables, queue)
        here, there = apart.Pipe()
        process = apart.Process(target=hold_a_lease, args=(database, make_queue, there))
        process.start()
        assert here.poll(PATIENCE_S)
        zombie = here.recv()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(PATIENCE_S)
        lease = _lease_in_time(queue)
        assert (lease.job.id, lease.attempt) == (job_id, 2)
        with pytest.raises(Fenced):
            finish(tables, queue, zombie)
        finish(tables, queue, lease)

    def test_any_history_agrees_with_a_plain_dict(self, tables: Tables, queue: FullQueue, clock: ManualClock) -> None:
        class Machine(QueueMachine):
            def __init__(self) -> None:
                super().__init__(tables, queue, clock)

        quick = settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        run_state_machine_as_test(Machine, settings=quick)


def taken_after_put(tables: Tables, queue: Queue) -> Lease:
    put(tables, queue)
    return taken(queue)


def _lease_in_time(queue: Queue) -> Lease:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (lease := queue.lease("heir", ["q"])) is not None:
            return lease
        time.sleep(0.05)
    raise AssertionError("the lease of a dead worker was never given to another")
