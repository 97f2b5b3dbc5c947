"""The states of a run under any sequence of what people, workers and clocks do: only legal ones, and it always ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mainspring import pipeline, step
from mainspring.core.caller import Caller, calling
from mainspring.core.clock import HOUR_US, SECOND_US, ManualClock
from mainspring.core.errors import Conflict, Fenced, NotFound, Refused, Unavailable
from mainspring.core.events import Fact
from mainspring.core.wiring import Wiring
from mainspring.engines import InlineEngine, Outcome, Task, Watch
from mainspring.engines.port import find_entry
from mainspring.pipelines import PipelineRun, Pipelines, RunState, child, flow
from mainspring.storage.files import FileBlobs
from mainspring.storage.jobs import JobState
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs, Tables
from mainspring.storage.queue import SqlQueue

LEASE_S = 30.0
NEXT: dict[str, set[str]] = {
    "queued": {"running", "paused", "cancelled", "failed"},
    "running": {"finished", "failed", "cancelled", "paused", "waiting", "queued"},
    "waiting": {"queued", "cancelled"},
    "paused": {"queued", "cancelled"},
    "failed": {"queued"},
    "cancelled": {"queued"},
    "finished": set(),
}
"""Which state may follow which."""


@dataclass
class World:
    """What happens while steps run."""

    fails: bool = False
    refuses: bool = False
    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    began: list[str] = field(default_factory=list)


world = World()


def _go(name: str) -> None:
    world.began.append(name)
    if world.meanwhile:
        world.meanwhile.pop(0)()


@step
def first() -> int:
    _go("first")
    return 1


@step(cache=False)
def second(number: int) -> int:
    _go("second")
    if world.fails:
        raise ValueError("not today")
    if world.refuses:
        raise Refused("the gate says fail", hint="look at the evidence")
    return number + 1


@step
def on_failure() -> None:
    _go("on_failure")


@step
def lastly(what: dict[str, object]) -> None:
    _go(f"lastly {what['state']}")


@pipeline(on_failure=on_failure, lastly=lastly)
def asking() -> int:
    number = second(first())
    flow.approval("Go on?", about=number, within="2h")
    return second(number)


class Dies(BaseException):
    """The worker is killed here: nothing after it is done."""


def _die() -> None:
    raise Dies


class Here:
    """An engine of queued runs that runs them in this process, for the pipelines of this file."""

    name = "process"

    def __init__(self, blobs: Blobs) -> None:
        self._wiring = Wiring()
        self._wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]  # the wiring knows ports by name

    def run(self, task: Task, watch: Watch) -> Outcome:
        """As the inline engine does it."""
        assert find_entry(task.entry) is child.run_pipeline
        with child.holding(child.Held(self._wiring, asking)):
            return InlineEngine().run(task, watch)


@pytest.fixture
def room(sqlite_tables: Tables, tmp_path: Path) -> Iterator[Room]:
    yield Room(sqlite_tables, tmp_path)


class Room:
    """Pipelines on real tables, with a clock that is set by hand."""

    def __init__(self, tables: Tables, folder: Path) -> None:
        self.clock = ManualClock(1_700_000_000 * SECOND_US)
        self.tables, self.journal = tables, SqlJournal(tables, self.clock)
        self.queue = SqlQueue(tables, lambda _: self.clock.now())
        blobs = FileBlobs(folder / "blobs")
        self.pipelines = Pipelines(
            tables=tables,
            journal=self.journal,
            queue=self.queue,
            blobs=blobs,
            scratch=folder / "scratch",
            clock=self.clock,
            root=Path(__file__).parent,
            lease_s=LEASE_S,
            engines=[Here(blobs)],
        )
        world.fails = world.refuses = False
        world.meanwhile.clear()
        world.began.clear()

    def submit(self) -> str:
        return self.pipelines.submit(f"{Path(__file__).name}:asking")

    def work(self) -> bool:
        """What a worker does that comes by; False when there is nothing to do."""
        self.clock.advance(400 * SECOND_US)  # whoever was given back has waited
        lease = self.queue.lease("worker", ["pipelines"], lease_s=LEASE_S)
        if lease is None:
            return False
        with calling(Caller(lease.job.actor, lease.job.project)), suppress(Fenced, Dies):
            self.pipelines.work_once(lease)
        return True

    def kinds(self, run: PipelineRun) -> list[str]:
        found = self.journal.read(subject=run.ref, limit=500)
        return [event.kind.removeprefix("pipelines.") for event in found]


class RunMachine(RuleBasedStateMachine):
    """One run, whatever happens to it."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        world.fails = False
        world.meanwhile.clear()
        self.id = room.submit()
        self.state = "queued"
        self.seen = ["queued"]

    def run(self) -> PipelineRun:
        return self.room.pipelines.get(self.id)

    def pause_now(self) -> None:
        self.room.pipelines.steering.pause(self.run())
        self.note()

    def cancel_now(self) -> None:
        self.room.pipelines.cancel(self.id)
        self.note()

    def note(self) -> None:
        """Between any two looks the states follow each other legally, over at most three that were not seen."""
        now = self.run().state.value
        ways = {self.state}
        for _ in range(4):
            if now in ways:
                break
            ways |= {after for way in ways for after in NEXT[way]}
        assert now in ways, f"{self.state} became {now}"
        self.state = now

    @rule(during=st.sampled_from(["", "", "pause", "cancel", "die", "asleep"]), fails=st.booleans())
    def work(self, during: str, fails: bool) -> None:
        """A worker comes by; while its first step runs something may happen."""
        acts: dict[str, Callable[[], object]] = {
            "pause": self.pause_now,
            "cancel": self.cancel_now,
            "die": _die,
            "asleep": self._another_takes_over,
        }
        world.fails, world.meanwhile = fails, [acts[during]] if during else []
        self.room.work()
        world.meanwhile = []
        self.note()

    def _another_takes_over(self) -> None:
        """The worker slept through its lease; another does the work, and this one may write no more."""
        self.room.clock.advance(round((LEASE_S + 1) * SECOND_US))
        self.room.work()

    @rule()
    def pause(self) -> None:
        was = self.run().state
        assert self.room.pipelines.steering.pause(self.run()) == (was in (RunState.QUEUED, RunState.RUNNING))
        self.note()

    @rule()
    def resume(self) -> None:
        was = self.run().state
        taken = self.room.pipelines.steering.resume(self.run())
        assert taken == (was not in (RunState.QUEUED, RunState.WAITING, RunState.FINISHED))
        self.note()

    @rule()
    def cancel(self) -> None:
        was = self.run().state
        assert self.room.pipelines.cancel(self.id) != was.is_final
        self.note()

    @rule(approve=st.booleans())
    def answer(self, approve: bool) -> None:
        run = self.run()
        asked = any(s.state == "asked" and s.decision and s.decision.approved is None for s in run.steps)
        try:
            self.room.pipelines.steering.answer(run, approve=approve)
        except (NotFound, Conflict):
            assert not asked or run.state.is_final
        else:
            assert asked
        self.note()

    @rule(hours=st.sampled_from([1, 3]))
    def time_passes(self, hours: int) -> None:
        self.room.clock.advance(hours * HOUR_US)
        self.room.pipelines.settle()
        self.note()

    @invariant()
    def the_events_tell_the_state(self) -> None:
        run, kinds = self.run(), self.room.kinds(self.run())
        assert kinds[0] == "run_requested" and kinds.count("run_requested") == 1
        assert kinds.count("run_started") == (run.started_at > 0)
        turns = [k for k in kinds if k in ("run_finished", "run_failed", "run_cancelled", "run_resumed")]
        assert run.state.is_final == bool(turns and turns[-1] != "run_resumed")
        if run.state.is_final:
            assert turns[-1] == f"run_{run.state}"
        for before, after in pairwise(turns):
            assert (before == "run_resumed") or after == "run_resumed" or before == after, turns

    @invariant()
    def only_runs_under_way_have_a_job(self) -> None:
        run = self.run()
        job = self.room.queue.get(run.job_id)
        assert (run.state in (RunState.QUEUED, RunState.RUNNING)) == (not job.state.is_final)
        unfinished = self.room.queue.find(states=[JobState.QUEUED, JobState.RUNNING])
        assert len([each for each in unfinished if each.payload == {"run": self.id}]) <= 1

    @invariant()
    def what_has_ended_is_closed(self) -> None:
        run = self.run()
        states = {step.state.value for step in run.steps}
        assert not (run.state.is_final and states & {"running", "waiting", "asked"}), states
        assert (run.finished_at > 0) == run.state.is_final

    def teardown(self) -> None:
        """It ends when people want it to: taken up, answered, worked on."""
        world.fails, world.meanwhile = False, []
        for _ in range(12):
            run = self.run()
            if run.state is RunState.FINISHED:
                break
            if run.state in (RunState.PAUSED, RunState.FAILED, RunState.CANCELLED):
                self.room.pipelines.steering.resume(run)
            if run.state is RunState.WAITING:
                self.room.pipelines.steering.answer(run, approve=True)
            self.room.work()
            self.note()
        run = self.run()
        assert run.state is RunState.FINISHED or "said no" in run.error, (run, self.room.queue.get(run.job_id))
        self.room.pipelines.cancel(self.id)


def live(room: Room, examples: int, steps: int) -> None:
    class Machine(RunMachine):
        def __init__(self) -> None:
            super().__init__(room)

    few = settings(
        max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck), deadline=None
    )
    run_state_machine_as_test(Machine, settings=few)


def test_whatever_happens_to_a_run_its_states_are_legal_and_it_ends(room: Room) -> None:
    live(room, 12, 8)


@pytest.mark.long
def test_whatever_happens_to_a_run_for_long_its_states_are_legal_and_it_ends(room: Room) -> None:
    live(room, 150, 20)


def test_a_pause_that_was_asked_for_while_the_worker_was_dead_is_kept(room: Room) -> None:
    run_id = room.submit()
    world.meanwhile = [_die]
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.RUNNING
    assert room.pipelines.steering.pause(room.pipelines.get(run_id))
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.PAUSED
    assert world.began == ["first"], "no step began after the pause"


def test_what_a_gate_refused_stays_refused_when_the_worker_dies_of_what_comes_after_it(room: Room) -> None:
    run_id = room.submit()
    world.refuses, world.meanwhile = True, [lambda: None, lambda: None, _die]
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.RUNNING
    assert room.work()
    run = room.pipelines.get(run_id)
    assert (run.state, run.error_code) == (RunState.FAILED, "refused")
    assert world.began == ["first", "second", "on_failure", "on_failure", "lastly failed"]


def test_nothing_comes_after_a_cancel_until_the_run_is_taken_up_again(room: Room) -> None:
    run_id = room.submit()
    world.meanwhile = [lambda: None, lambda: room.pipelines.cancel(run_id)]
    assert room.work()
    run = room.pipelines.get(run_id)
    assert (run.state, world.began) == (RunState.CANCELLED, ["first", "second"])
    assert {each.id: each.state for each in run.steps}["lastly"] == "skipped"
    assert room.pipelines.steering.resume(run)
    assert room.work()
    room.pipelines.steering.answer(room.pipelines.get(run_id), approve=True)
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.FINISHED
    assert world.began[2:] == ["second", "second", "lastly finished"]


def test_a_question_is_asked_again_when_a_cancelled_run_is_taken_up(room: Room) -> None:
    run_id = room.submit()
    assert room.work()
    assert room.pipelines.cancel(run_id)
    assert room.pipelines.steering.resume(room.pipelines.get(run_id))
    assert room.work()
    run = room.pipelines.get(run_id)
    assert run.state is RunState.WAITING
    room.pipelines.steering.answer(run, approve=True)
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.FINISHED


@pytest.mark.parametrize("verb", ["submit", "cancel", "pause", "resume", "answer"])
def test_a_change_whose_event_cannot_be_stored_has_not_happened(
    room: Room, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = room.submit()
    if verb in ("resume", "answer"):
        room.work()
    if verb == "resume":
        room.pipelines.cancel(run_id)
    before, steering = room.pipelines.get(run_id), room.pipelines.steering
    acts: dict[str, Callable[[], object]] = {
        "submit": room.submit,
        "cancel": lambda: steering.cancel(before),
        "pause": lambda: steering.pause(before),
        "resume": lambda: steering.resume(before),
        "answer": lambda: steering.answer(before, approve=True),
    }

    def refuse(journal: SqlJournal, conn: object, *facts: Fact) -> int:
        raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(SqlJournal, "append", refuse)
        acts[verb]()
    assert room.pipelines.get(run_id) == before
    assert len(room.pipelines.runs()) == 1
    assert room.queue.get(before.job_id).state.is_final == (verb in ("resume", "answer"))


def test_a_commit_that_nobody_answered_for_is_not_done_twice(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away after every other commit before it has said so, and before every fifth."""
    run_id, write, count = room.submit(), type(room.tables).write, [0]

    @contextmanager
    def shaky(tables: Tables) -> Iterator[object]:
        count[0] += 1
        if count[0] % 5 == 0:
            raise Unavailable("the database does not answer") from OSError("gone")
        with write(tables) as conn:
            yield conn
        if count[0] % 2:
            raise Unavailable("the database does not answer") from OSError("gone")

    lease = room.queue.lease("worker", ["pipelines"], lease_s=LEASE_S)
    assert lease is not None
    with monkeypatch.context() as patch:
        patch.setattr("mainspring.pipelines.patience.AGAIN_S", 0.0)
        patch.setattr(type(room.tables), "write", shaky)
        with suppress(Fenced):  # the run waits now: its job was finished the first time
            room.pipelines.work_once(lease)
    run = room.pipelines.get(run_id)
    assert (run.state, world.began) == (RunState.WAITING, ["first", "second"])
    assert room.kinds(run) == ["run_requested", "run_started", "step_finished", "step_finished", "approval_asked"]


def test_a_database_that_stays_away_is_given_up_and_the_run_goes_to_another(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = room.submit()
    lease = room.queue.lease("worker", ["pipelines"], lease_s=LEASE_S)
    assert lease is not None

    def away(tables: Tables) -> object:
        raise Unavailable("the database does not answer") from OSError("gone")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr("mainspring.pipelines.ledger.AWAY_S", 0.0)
        patch.setattr(type(room.tables), "write", away)
        room.pipelines.work_once(lease)
    assert room.work()
    assert room.pipelines.get(run_id).state is RunState.WAITING
