"""The ledger of a run that is being worked on: answers the runner, and stores each step under the lease.

Every write renews the lease and touches the run in one transaction. A worker whose lease is lost, or whose run was
cancelled, is refused there, before anything of it can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mainspring.core.canonical import canonical_json
from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Fenced, MainspringError, NoRoom, NotFound, Refused, Timeout, Unavailable
from mainspring.core.events import Fact
from mainspring.core.values import dataclass
from mainspring.engines import Message
from mainspring.engines.port import pack_error, unpack_error
from mainspring.pipelines import logs, records
from mainspring.pipelines.claims import claim, is_free
from mainspring.pipelines.desk import ATTEMPTS, Desk, requeue
from mainspring.pipelines.events import ApprovalAsked, RunFailed, RunFinished, RunStarted, StepFinished
from mainspring.pipelines.model import (
    GROUPS,
    Artifact,
    Dataset,
    Decision,
    Json,
    KeyParts,
    PipelineRun,
    RunState,
    StepState,
)
from mainspring.pipelines.patience import PASSING, Patience
from mainspring.pipelines.records import StepPlan, StepRow
from mainspring.pipelines.rules import check_resources, same_code, told_again
from mainspring.pipelines.tracked import TrackedRun
from mainspring.pipelines.worker import check_hold
from mainspring.storage.jobs import JobState, Lease, backoff_s
from mainspring.storage.together import together

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
RENEW_S = 5.0
HELD = 100
"""How many steps taken from the cache are noted in one transaction, at most."""
LOOK_S = 0.5
"""How often it is looked whether the run shall pause."""
AWAY_S = 60.0
"""How long a step goes on while the database is away, held by another or full. Another worker may have the run by then,
when only this one cannot reach it; what this one wants to store is refused then."""
DEATHS = 3
"""How often a step's process may die without a word before the run fails."""


@dataclass(slots=True)
class _Batch:
    """What one answer stores, in one transaction."""

    writes: list[Callable[[Connection], None]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    run: dict[str, object] = field(default_factory=dict)


class Ledger:
    """Watches over one run as long as the lease holds. It is the `Watch` of the engine that runs the steps.

    Args:
        desk: Storage and rooms.
        run: The run as it stood when the lease was taken.
        lease: The right to work on it.
        folder: The run's scratch folder, where the logs of steps are while they run.
        tracked: The run's twin in the tracking room.
    """

    tries = ATTEMPTS

    def __init__(self, desk: Desk, run: PipelineRun, lease: Lease, folder: Path, tracked: TrackedRun) -> None:
        self._desk = desk
        self._run = run
        self._lease = lease
        self._folder = folder
        self._tracked = tracked
        self._renewed = time.monotonic()
        self._looked = -LOOK_S  # a pause may have been asked for before
        self._patience = Patience(0.0 if run.engine == "inline" else AWAY_S, check_hold)
        self._seq = 0
        self._is_new = run.attempt == 0
        self._held, self._held_since = _Batch(), 0.0
        self._is_pausing = False
        self._rows: dict[str, StepRow] = {}
        self._running: dict[str, float | None] = {}
        self._answers: Mapping[str, Callable[[Message, _Batch], Message]] = {
            "plan": self._plan,
            "expand": self._expand,
            "begin": self._begin,
            "finish": self._finish,
            "gather": self._gather,
            "skip": self._skip,
            "fail": self._fail,
            "question": self._question,
            "note": lambda message, batch: {},
            "still": self._still,
        }

    @property
    def blamed(self) -> str:
        """The step that failed, "" when none did."""
        return next((name for name, row in self._rows.items() if row.state is StepState.FAILED), "")

    @property
    def has_ending(self) -> bool:
        """Whether there is a step that runs at the end in any case, or after a failure."""
        return any(row.plan.ending for row in self._rows.values())

    def start(self) -> None:
        """Note that a worker has the run."""
        first = self._run.started_at == 0
        facts = [RunStarted(subject=self._run.ref, pipeline=self._run.pipeline)] if first else []
        self._run = replace(self._run, started_at=self._run.started_at or self._now)
        values = {
            "state": RunState.RUNNING,
            "attempt": self._run.attempt + 1,
            "started_at": self._run.started_at,
            "tracked": self._tracked.is_tracked,
        }
        self._seq = self._patience.until_it_works(lambda _: self._desk.journal.last())
        self._store(lambda conn: None, *facts, run=values)

    def answer(self, message: Message) -> Message:
        """Answer the runner. What it wants to be noted before is stored in the same transaction."""
        check_hold()
        batch = _Batch()
        for earlier in cast("list[Message]", message.get("before", [])):
            self._answers[str(earlier["ask"])](earlier, batch)
        asked = time.monotonic()
        reply = self._answers[str(message["ask"])](message, batch)
        if reply.get("do") == "run":
            reply = reply | {"until": asked + self._desk.lease_s}
        if reply.get("do") == "reuse" and self._may_hold(batch):
            return reply
        if batch.writes or batch.run:
            self._store(lambda conn: [write(conn) for write in batch.writes], *batch.facts, run=batch.run, at_once=True)
        return reply

    def _may_hold(self, batch: _Batch) -> bool:
        """Keep what is to be stored of steps taken from the cache for the next transaction: lost, it is found again."""
        self._held_since = self._held_since if self._held.writes else time.monotonic()
        self._held.writes += batch.writes
        self._held.facts += batch.facts
        batch.writes, batch.facts = [], []
        return len(self._held.writes) < HELD and time.monotonic() - self._held_since < LOOK_S and not batch.run

    def beat(self) -> float | None:
        """Look whether the run is still ours; returns the seconds that the current step has left."""
        check_hold()
        try:
            self._look_after_the_lease()
            self._patience.is_well()
        except PASSING as reason:  # the step goes on; the next beat looks again
            if not self._patience.bears(reason):
                raise
        limits = [until for until in self._running.values() if until is not None]
        return min(limits) - time.monotonic() if limits else None

    def _look_after_the_lease(self) -> None:
        job = self._desk.queue.get(self._lease.job.id)
        if job.state is not JobState.RUNNING or job.attempt != self._lease.attempt:
            raise Fenced("the run was cancelled or given to another worker", where=self._run.ref)
        self._look()
        if time.monotonic() - self._renewed > min(RENEW_S, self._desk.lease_s / 3):
            self._write(lambda conn: None, (), None)

    def finish_run(self, result: Json) -> None:
        """All steps are done: store the result and finish the job."""
        fact = RunFinished(subject=self._run.ref, pipeline=self._run.pipeline, result=result)
        values = {"state": RunState.FINISHED, "result": {"value": result}, "error": "", "finished_at": self._now}

        def work(conn: Connection) -> None:
            records.end_steps(conn, self._run.id, running=StepState.FAILED, at=self._now)
            self._desk.queue.finish(conn, self._lease, {"state": RunState.FINISHED})

        self._store(work, fact, run=values)

    def fail_run(self, error: MainspringError) -> None:
        """The run ends without a result; the job itself is finished: trying it again would not help."""
        running = next(iter(self._running), "")
        about = {"pipeline": self._run.pipeline, "step": running or self.blamed, "error": error.what}
        fact = RunFailed(subject=self._run.ref, **about)
        values = {"state": RunState.FAILED, "error": str(error), "error_code": error.code, "finished_at": self._now}

        def work(conn: Connection) -> None:
            records.end_steps(conn, self._run.id, running=StepState.FAILED, at=self._now)
            self._desk.queue.finish(conn, self._lease, {"state": RunState.FAILED, "error": error.what})

        self._store(work, fact, run=values)

    def park(self, why: str) -> None:
        """The run rests, without a job: until a person has answered, or until it is resumed."""
        state = RunState.PAUSED if why == "paused" else RunState.WAITING

        def work(conn: Connection) -> None:
            self._desk.queue.finish(conn, self._lease, {"state": state})
            records.change_states(conn, self._run.id, StepState.RUNNING, {"state": StepState.WAITING})
            if state is RunState.WAITING and records.is_answered(conn, self._run.id):  # the answer was faster
                requeue(conn, self._desk, self._run)

        self._store(work, run={"state": state})

    def give_back(self, reason: str, *, retry_in_s: float, counts: bool = True) -> None:
        """Another worker shall go on with the run; the steps that were running wait again."""

        def work(conn: Connection) -> None:
            values = {"state": StepState.WAITING, "error": reason}
            records.change_states(conn, self._run.id, StepState.RUNNING, values)
            self._desk.queue.fail(conn, self._lease, reason, retry_in_s=retry_in_s, counts=counts)

        self._store(work, run={"state": RunState.QUEUED})

    def time_is_up(self) -> MainspringError | None:
        """A step was stopped at its time limit: its error, or None when it may be tried again."""
        step = min((until, name) for name, until in self._running.items() if until is not None)[1]
        what = f"step {step} took longer than its {self._rows[step].plan.timeout_s:g} s"
        error = Timeout(what, where=f"step {step}", hint="give it a larger timeout_s, or less to do")
        batch = _Batch()
        again = self._note_failure(step, error, {"log": self._keep_log(step)}, batch)
        self._store(lambda conn: [write(conn) for write in batch.writes])
        self._running.clear()  # the others died with it, and begin again
        return error if again is None else None

    def may_go_on_after_death(self) -> bool:
        """Whether a process that died without a word is worth another one."""
        if not self._running:
            stopped = max(0, self._lease.job.max_attempts - self.tries)  # who was told to stop has not died
            return self._lease.attempt - stopped < DEATHS
        return all(self._has_lives(self._rows[step]) for step in self._running)

    def note_death(self, error: MainspringError) -> None:
        """Keep what the steps that died had written."""
        kept = [(step, {"error": str(error), "log": self._keep_log(step)}) for step in self._running]

        def work(conn: Connection) -> None:
            for each in kept:
                records.change_step(conn, self._run.id, *each)

        self._store(work)

    def keep_logs(self) -> None:
        """Keep what the steps that a cancel stopped had written, where the storage takes it at once."""
        kept = {step: self._keep_log(step) for step in self._running}
        with suppress(*PASSING), self._desk.tables.write() as conn:
            for step, log in kept.items():
                records.keep_log(conn, self._run.id, step, log)

    def close_tracked(self, state: RunState) -> None:
        """End the tracked run too."""
        self._tracked.close(self._run, state)

    @property
    def _now(self) -> int:
        return self._desk.clock.now()

    def _look(self) -> None:
        if time.monotonic() - self._looked > LOOK_S:
            self._is_pausing = self._read(lambda conn: records.is_pausing(conn, self._run.id))
            self._looked = time.monotonic()

    def _has_lives(self, row: StepRow) -> bool:
        return row.attempt - row.failures < DEATHS + row.plan.retries

    def _plan(self, message: Message, batch: _Batch) -> Message:
        plans = cast("list[Mapping[str, Json]]", message["steps"])
        pins, code = ({}, {}) if self._is_new else self._read(lambda conn: records.fixed_of(conn, self._run.id))
        named = cast("list[str]", message["datasets"])
        try:
            pins |= {name: self._newest(Dataset(name)) for name in named if name not in pins}
            code = same_code(code, cast("dict[str, str]", message["code"]))
            if self._run.engine != "ray":  # a cluster finds the room itself
                given = [plan for plan in plans if {"cpu", "memory", "gpu"} & {*plan}]
                asked = {str(plan["id"]): StepPlan.from_json(plan).resources for plan in given}
                check_resources(asked, self._desk.machine.has)
        except MainspringError as reason:
            return {"error": pack_error(reason)}
        values = {"pipeline": message["pipeline"], "params": message["params"], "pins": pins, "code": code}
        self._store(lambda conn: records.plan_steps(conn, self._run.id, plans), run=values)
        self._remember(plans)
        self._is_new = False
        params = cast("Mapping[str, Json]", message["params"])
        self._run = replace(self._run, pipeline=str(message["pipeline"]), params=params)
        for ref in pins.values():
            self._tracked.add_input(ref, "parameter")
        return {"pins": pins}

    def _remember(self, plans: Sequence[Mapping[str, Json]], parent: str = "") -> None:
        """Keep these steps in mind, as they stand."""
        begun = {} if self._is_new else self._read(lambda conn: records.begun_of(conn, self._run.id, parent))
        for plan in plans:
            step = str(plan["id"])
            self._rows[step] = StepRow(step, parent, StepPlan.from_json(plan), *begun.get(step, ()))

    def _newest(self, dataset: Dataset) -> str:
        if self._desk.data is None:
            raise Unavailable(f"there is no data room to find {dataset} in", where=self._run.ref)
        return str(self._desk.data.get(dataset.name, dataset.version).ref)

    def _expand(self, message: Message, batch: _Batch) -> Message:
        """A step goes through a list: its items are steps too."""
        step, plans = str(message["step"]), cast("list[Mapping[str, Json]]", message["items"])
        began = {} if self._rows[step].attempt else {"started_at": self._now}
        values: dict[str, object] = {"state": StepState.RUNNING, "attempt": 1, **began}

        def work(conn: Connection) -> None:
            records.plan_steps(conn, self._run.id, plans, parent=step)
            records.change_step(conn, self._run.id, step, values)

        self._store(work)
        self._rows[step].attempt = 1
        self._remember(plans, step)
        return {}

    def _begin(self, message: Message, batch: _Batch) -> Message:
        step, key = str(message["step"]), str(message["key"])
        row = self._rows[step]
        self._look()
        if row.state is StepState.FAILED and not row.plan.ending:
            return {"do": "failed", "error": pack_error(self._error_of(step))}
        if self._is_pausing and not row.plan.ending:
            return {"do": "stop"}
        known = self._known(row, key)
        if known is not None:
            return {"do": "reuse", "output": known.to_json()}
        parts = KeyParts.from_json(cast("Mapping[str, Json]", message["parts"]))
        row.is_barred = bool(parts.barrier)
        values: dict[str, object] = {"key": key, "parts": parts.to_json(), "started_at": self._now, "error": ""}
        found = self._stored(row, key)
        if found is not None:
            return self._reuse(row, found, key, values, batch)
        cards = self._desk.machine.take(self._run.id, step, row.plan.resources) if self._run.engine != "ray" else []
        if cards is None:
            return {"do": "wait"}
        values |= {"state": StepState.RUNNING, "attempt": row.attempt + 1, "finished_at": 0, "source": "", "log": ""}
        if (answer := self._claim(row, key, values, batch)) is not None:
            self._desk.machine.free(self._run.id, step)
            return answer
        self._tracked.open(self._run)
        row.state, row.key, row.started_at, row.attempt = StepState.RUNNING, key, self._now, row.attempt + 1
        limit = None if message.get("elsewhere") else row.plan.timeout_s
        self._running[step] = time.monotonic() + limit if limit else None
        return {"do": "run", "attempt": row.attempt, "cards": cards}

    def _still(self, message: Message, batch: _Batch) -> Message:
        """Whether a step may begin that was told so late: not when another worker has the run by now."""
        asked = time.monotonic()
        self._store(lambda conn: None)
        return {"until": asked + self._desk.lease_s}

    def _known(self, row: StepRow, key: str) -> Artifact | None:
        """The result that the step has in this run already."""
        if not row.state.has_result:
            return None
        step = self._read(lambda conn: records.step_of(conn, self._run.id, row.id))
        return step.output if step and step.key == key and step.output and self._is_there(step.output) else None

    def _may_take(self, row: StepRow) -> bool:
        return self._run.cache and row.plan.may_reuse and not row.is_barred

    def _stored(self, row: StepRow, key: str) -> records.Cached | None:
        """The result of another run under the same key."""
        if not self._may_take(row):
            return None
        found = self._read(lambda conn: records.find_cached(conn, key))
        return found if found and self._is_there(found.output) and self._is_fresh(found.reads) else None

    def _claim(self, row: StepRow, key: str, values: dict[str, object], batch: _Batch) -> Message | None:
        """Begin a step; else the answer, when another run is making the same result, or has made it meanwhile."""
        begin = partial(records.change_step, run_id=self._run.id, step=row.id, values=values)
        if self._run.engine == "inline" or not self._may_take(row):
            batch.writes.append(begin)
            return None
        about = (self._desk, self._run.id, key)
        if not (self._read(partial(is_free, *about)) and self._store_first(partial(claim, *about, begin), batch)):
            return {"do": "wait"}
        found = self._stored(row, key)
        return self._reuse(row, found, key, values | {"attempt": row.attempt}, batch) if found else None

    def _store_first(self, work: Callable[[Connection], T], batch: _Batch) -> T:
        """Store what was to be stored and then this, of which the answer is needed."""
        writes, facts, run, done = batch.writes, batch.facts, batch.run, list[T]()
        batch.writes, batch.facts, batch.run = [], [], {}

        def last(conn: Connection) -> None:
            done.append(work(conn))

        self._store(lambda conn: [write(conn) for write in (*writes, last)], *facts, run=run)
        return done[-1]

    def _reuse(
        self, row: StepRow, cached: records.Cached, key: str, values: dict[str, object], batch: _Batch
    ) -> Message:
        output = cached.output.to_json()
        row.state = StepState.CACHED
        values |= {"state": row.state, "output": output, "source": cached.run, "finished_at": self._now}
        batch.writes.append(lambda conn: records.change_step(conn, self._run.id, row.id, values))
        batch.facts.append(self._step_finished(row.id, StepState.CACHED, 0.0))
        return {"do": "reuse", "output": output}

    def _finish(self, message: Message, batch: _Batch) -> Message:
        step, now = str(message["step"]), self._now
        row = self._rows[step]
        output = Artifact.from_json(cast("Mapping[str, Json]", message["output"]))
        reads, key, took_us = cast("dict[str, int]", message["reads"]), row.key, now - row.started_at
        row.state, row.key, row.started_at = StepState.FINISHED, "", 0
        values = {"state": row.state, "output": output.to_json(), "finished_at": now, "error": "", **_took(message)}

        def work(conn: Connection) -> None:
            records.change_step(conn, self._run.id, step, values)
            if row.plan.may_reuse and not row.is_barred:
                records.store_cached(conn, key, records.Cached(output, reads, self._run.id), now)

        batch.writes.append(work)
        batch.facts.append(self._step_finished(step, StepState.FINISHED, took_us / 1e6))
        self._release(step)
        for ref in cast("list[str]", message["inputs"]):
            self._tracked.add_input(ref, step)
        return {}

    def _gather(self, message: Message, batch: _Batch) -> Message:
        """All items of a list have their results."""
        row = self._rows[step := str(message["step"])]
        inner = [each.state for each in self._rows.values() if each.parent == step]
        row.state = StepState.CACHED if inner and set(inner) == {StepState.CACHED} else StepState.FINISHED
        values = {"state": row.state, "output": message["output"], "finished_at": self._now}
        batch.writes.append(lambda conn: records.change_step(conn, self._run.id, step, values))
        return {}

    def _skip(self, message: Message, batch: _Batch) -> Message:
        row = self._rows[str(message["step"])]
        row.state = StepState.SKIPPED
        batch.writes.append(lambda conn: records.change_step(conn, self._run.id, row.id, {"state": row.state}))
        return {}

    def _fail(self, message: Message, batch: _Batch) -> Message:
        error = unpack_error(cast("Mapping[str, object]", message["error"]))
        step, took = str(message["step"]), _took(message)
        took["log"] = took["log"] or self._keep_log(step)  # who was stopped, or died, could not hand it in
        return {"retry_in_s": self._note_failure(step, error, took, batch, died=bool(message.get("died")))}

    def _note_failure(
        self, step: str, error: MainspringError, took: Mapping[str, object], batch: _Batch, *, died: bool = False
    ) -> float | None:
        row = self._rows[step]
        again = self._has_lives(row) if died else row.failures < row.plan.retries
        row.failures += not died
        row.state = StepState.WAITING if again else StepState.FAILED
        said = {"error": str(error), "error_code": error.code, "finished_at": self._now}
        values = {"state": row.state, "failures": row.failures, **said, **took}
        batch.writes.append(lambda conn: records.change_step(conn, self._run.id, step, values))
        if row.parent and not again:
            self._rows[row.parent].state = StepState.FAILED
            above = {"state": StepState.FAILED, **said}
            batch.writes.append(lambda conn: records.change_step(conn, self._run.id, row.parent, above))
        self._release(step)
        seed = f"{self._run.id}/{step}"
        return backoff_s(max(row.failures, 1), seed=seed, base_s=row.plan.retry_in_s) if again else None

    def _question(self, message: Message, batch: _Batch) -> Message:
        """A person is asked: the answer, when there is one for exactly this."""
        step, about = str(message["step"]), cast("dict[str, str]", message["about"])
        found = self._read(lambda conn: records.step_of(conn, self._run.id, step))
        given = found.decision if found else None
        is_open = self._rows[step].state is StepState.ASKED  # not after a cancel or a no: then it is asked again
        is_same = given is not None and dict(given.about) == about
        if given is not None and is_same and given.approved is not None and (given.approved or is_open):
            if given.approved:
                return {"do": "go", "answer": {"by": given.by, "at": given.at, "comment": given.comment}}
            what = f"{given.by} said no to: {given.question}"
            hint = given.comment or "ask them why, and resume the run: it asks again"
            error = Refused(what, where=f"step {step}", hint=hint)
            batch.run["error"] = ""
            self._note_failure(step, error, {}, batch)
            return {"do": "failed", "error": pack_error(error)}
        if given is None or not is_same or not is_open:
            within = float(cast(float, message["within_s"]))
            asked = Decision(
                question=str(message["question"]),
                about=about,
                until=self._now + round(within * SECOND_US) if within else 0,
                by_another=bool(message["by_another"]),
                earlier=given.answered if given else (),
            )
            values = {"state": StepState.ASKED, "decision": asked.to_json(), "started_at": self._now, "attempt": 1}
            batch.writes.append(lambda conn: records.change_step(conn, self._run.id, step, values))
            names = {"pipeline": self._run.pipeline, "step": step, "question": asked.question}
            batch.facts.append(ApprovalAsked(subject=self._run.ref, **names))
        self._rows[step].state = StepState.ASKED
        return {"do": "wait"}

    def _release(self, step: str) -> None:
        self._running.pop(step, None)
        self._desk.machine.free(self._run.id, step)

    def _error_of(self, step: str) -> MainspringError:
        found = self._read(lambda conn: records.step_of(conn, self._run.id, step))
        return told_again(found.error, found.error_code) if found else told_again("")

    def _keep_log(self, step: str) -> str:
        text = logs.tail(logs.log_path(self._folder, step, self._rows[step].attempt))
        with suppress(NoRoom):  # what is said about the step is worth more than its log
            return self._desk.blobs.put(text) if text else ""
        return ""

    def _is_there(self, artifact: Artifact) -> bool:
        if artifact.codec in GROUPS:
            return all(self._is_there(item) for _, item in artifact.items)
        return artifact.text is not None or self._desk.blobs.has(artifact.digest)

    def _is_fresh(self, reads: Mapping[str, int]) -> bool:
        try:
            return all(self._newest(Dataset(name)) == f"datasets/{name}/{number}" for name, number in reads.items())
        except NotFound:
            return False

    def _step_finished(self, step: str, state: StepState, seconds: float) -> StepFinished:
        names = {"pipeline": self._run.pipeline, "step": step, "state": str(state)}
        return StepFinished(subject=self._run.ref, seconds=round(seconds, 3), **names)

    def _store(
        self,
        work: Callable[[Connection], object],
        *facts: Fact,
        run: Mapping[str, object] | None = None,
        at_once: bool = False,
    ) -> None:
        """Store under the lease: who has lost it, or whose run was cancelled, is refused by the first statement.

        With `at_once` the work is of prepared statements only, which travel together.
        """
        since, held = self._now, self._held
        told = (*held.facts, *facts)

        def both(conn: Connection) -> None:
            for earlier in held.writes:
                earlier(conn)
            work(conn)

        def write(again: bool) -> None:
            if not (again and self._is_stored(told, since)):
                self._write(both, told, run, at_once=at_once)

        self._patience.until_it_works(write)
        self._held = _Batch()

    def _write(
        self,
        work: Callable[[Connection], object],
        facts: Sequence[Fact],
        run: Mapping[str, object] | None,
        *,
        at_once: bool = False,
    ) -> None:
        """One transaction. Whoever steers a run locks it first and its job second, and so does this."""
        with self._desk.tables.write() as conn:
            if run and not records.change_run(conn, self._run.id, run, states=records.ACTIVE):
                raise Fenced("the run was cancelled", where=self._run.ref)
            with together(conn) if at_once else nullcontext():
                self._desk.queue.renew(conn, self._lease, lease_s=self._desk.lease_s)
                work(conn)
                self._desk.journal.add(conn, *facts)
        self._renewed = time.monotonic()

    def _is_stored(self, facts: Sequence[Fact], since: int) -> bool:
        """Whether a transaction that nobody answered for was committed: then its facts are in the journal.

        One without facts may be done twice: it sets values.
        """
        wanted = {(fact.kind, canonical_json(fact.payload())) for fact in facts}
        while wanted and (found := self._desk.journal.read(self._seq, subject=self._run.ref)):
            wanted -= {(event.kind, canonical_json(event.payload)) for event in found if event.at >= since}
            self._seq = found[-1].seq
        return bool(facts) and not wanted

    def _read(self, ask: Callable[[Connection], T]) -> T:
        def read(_: bool) -> T:
            with self._desk.tables.read() as conn:
                return ask(conn)

        return self._patience.until_it_works(read)


def _took(message: Message) -> dict[str, object]:
    cpu_us = round(float(cast(float, message["cpu_s"])) * SECOND_US)
    return {"log": message["log"], "cpu_us": cpu_us, "memory": message["memory"]}
