"""The ledger of a run that is being worked on: answers the runner, and stores each step under the lease.

Every write renews the lease and touches the run in one transaction. A worker whose lease is lost, or whose run was
cancelled, is refused there, before anything of it can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mainspring.core.clock import Clock
from mainspring.core.errors import Fenced, MainspringError, NotFound, Timeout, Unavailable
from mainspring.core.events import Fact
from mainspring.engines import Message
from mainspring.engines.port import pack_error, unpack_error
from mainspring.pipelines import logs, records
from mainspring.pipelines.events import RunFailed, RunFinished, RunStarted, StepFinished
from mainspring.pipelines.model import (
    GROUPS,
    Artifact,
    Dataset,
    Json,
    KeyParts,
    PipelineRun,
    RunState,
    StepRun,
    StepState,
)
from mainspring.pipelines.rules import retry_delay_s
from mainspring.pipelines.tracked import TrackedRun, close_tracked
from mainspring.pipelines.worker import check_hold
from mainspring.storage.jobs import JobState, Lease
from mainspring.storage.ports import Blobs, Journal, Queue, Tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.tracking import Tracking

T = TypeVar("T")
RENEW_S = 5.0
DEATHS = 3
"""How often a step's process may die without a word before the run fails."""


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


class Ledger:
    """Watches over one run as long as the lease holds. It is the `Watch` of the engine that runs the steps.

    Args:
        desk: Storage and rooms.
        run: The run as it stood when the lease was taken.
        lease: The right to work on it.
        folder: The run's scratch folder, where the logs of steps are while they run.
        tracked: The run's twin in the tracking room.
    """

    def __init__(self, desk: Desk, run: PipelineRun, lease: Lease, folder: Path, tracked: TrackedRun) -> None:
        self._desk = desk
        self._run = run
        self._lease = lease
        self._folder = folder
        self._tracked = tracked
        self._renewed = time.monotonic()
        self._current: tuple[str, int] | None = None
        self._until: float | None = None

    def start(self) -> None:
        """Note that a worker has the run."""
        first = self._run.started_at == 0
        now = self._desk.clock.now()
        facts = [RunStarted(subject=self._run.ref, pipeline=self._run.pipeline)] if first else []
        values = {
            "state": RunState.RUNNING,
            "attempt": self._lease.attempt,
            "started_at": self._run.started_at or now,
            "tracked": self._tracked.is_tracked,
        }
        self._store(lambda conn: None, *facts, run=values)

    def answer(self, message: Message) -> Message:
        """Answer the runner: plan, begin, finish or fail."""
        check_hold()
        answers: dict[str, Callable[[Message], Message]] = {
            "plan": self._plan,
            "begin": self._begin,
            "finish": self._finish,
            "fail": self._fail,
        }
        return answers[str(message["ask"])](message)

    def beat(self) -> float | None:
        """Look whether the run is still ours; returns the seconds that the current step has left."""
        check_hold()
        job = self._desk.queue.get(self._lease.job.id)
        if job.state is not JobState.RUNNING or job.attempt != self._lease.attempt:
            raise Fenced("the run was cancelled or given to another worker", where=self._run.ref)
        if time.monotonic() - self._renewed > min(RENEW_S, self._desk.lease_s / 3):
            self._store(lambda conn: None)
        return None if self._until is None else self._until - time.monotonic()

    def finish_run(self, result: Json) -> None:
        """All steps are done: store the result and finish the job."""
        fact = RunFinished(subject=self._run.ref, pipeline=self._run.pipeline, result=result)
        values = {"state": RunState.FINISHED, "result": {"value": result}, "error": "", "finished_at": self._now}

        def work(conn: Connection) -> None:
            self._desk.queue.finish(conn, self._lease, {"state": RunState.FINISHED})

        self._store(work, fact, run=values)

    def fail_run(self, error: MainspringError) -> None:
        """The run ends without a result; the job itself is finished: trying it again would not help."""
        step = self._current[0] if self._current else ""
        with self._desk.tables.read() as conn:
            failed = [s.id for s in records.steps_of(conn, self._run.id) if s.state is StepState.FAILED]
        blamed = step or (failed[-1] if failed else "")
        fact = RunFailed(subject=self._run.ref, pipeline=self._run.pipeline, step=blamed, error=error.what)
        values = {"state": RunState.FAILED, "error": str(error), "finished_at": self._now}

        def work(conn: Connection) -> None:
            records.end_steps(conn, self._run.id, running=StepState.FAILED, at=self._now)
            self._desk.queue.finish(conn, self._lease, {"state": RunState.FAILED, "error": error.what})

        self._store(work, fact, run=values)

    def give_back(self, reason: str, *, retry_in_s: float) -> None:
        """Another worker shall go on with the run; the step that was running waits again."""

        def work(conn: Connection) -> None:
            if self._current:
                records.change_step(conn, self._run.id, self._current[0], {"state": StepState.WAITING, "error": reason})
            self._desk.queue.fail(conn, self._lease, reason, retry_in_s=retry_in_s)

        self._store(work, run={"state": RunState.QUEUED})

    def time_is_up(self) -> MainspringError | None:
        """The current step was stopped at its time limit: its error, or None when it may be tried again."""
        step = self._current_step
        with self._desk.tables.read() as conn:
            _, plan, _ = records.step_plan(conn, self._run.id, step)
        what = f"step {step} took longer than its {plan.timeout_s:g} s"
        error = Timeout(what, where=f"step {step}", hint="give it a larger timeout_s, or less to do")
        return error if self._note_failure(step, error, self._keep_log()) is None else None

    def may_go_on_after_death(self) -> bool:
        """Whether a process that died without a word is worth another one."""
        if self._current is None:
            return self._lease.attempt < DEATHS
        with self._desk.tables.read() as conn:
            step, plan, failures = records.step_plan(conn, self._run.id, self._current[0])
        return step.attempt - failures < DEATHS + plan.retries

    def note_death(self, error: MainspringError) -> None:
        """Keep what the step that died had written."""
        if self._current:
            values = {"error": str(error), "log": self._keep_log()}
            self._store(lambda conn: records.change_step(conn, self._run.id, self._current_step, values))

    def close_tracked(self, state: RunState) -> None:
        """End the tracked run too."""
        self._tracked.open(self._run)
        close_tracked(self._desk.tracking, self._run.id, state)

    @property
    def _now(self) -> int:
        return self._desk.clock.now()

    @property
    def _current_step(self) -> str:
        return self._current[0] if self._current else ""

    def _plan(self, message: Message) -> Message:
        with self._desk.tables.read() as conn:
            pins = records.pins_of(conn, self._run.id)
        named = cast("list[str]", message["datasets"])
        try:
            pins |= {name: self._newest(Dataset(name)) for name in named if name not in pins}
        except (NotFound, Unavailable) as reason:
            return {"error": pack_error(reason)}
        values = {"pipeline": message["pipeline"], "params": message["params"], "pins": pins}
        plans = cast("list[Mapping[str, Json]]", message["steps"])
        self._store(lambda conn: records.plan_steps(conn, self._run.id, plans), run=values)
        params = cast("Mapping[str, Json]", message["params"])
        self._run = replace(self._run, pipeline=str(message["pipeline"]), params=params)
        for ref in pins.values():
            self._tracked.add_input(ref, "parameter")
        return {"pins": pins}

    def _newest(self, dataset: Dataset) -> str:
        if self._desk.data is None:
            raise Unavailable(f"there is no data room to find {dataset} in", where=self._run.ref)
        return str(self._desk.data.get(dataset.name, dataset.version).ref)

    def _begin(self, message: Message) -> Message:
        step_id, key = str(message["step"]), str(message["key"])
        with self._desk.tables.read() as conn:
            step, plan, _ = records.step_plan(conn, self._run.id, step_id)
            cached = records.find_cached(conn, key) if plan.may_reuse else None
        if step.state.has_result and step.key == key and step.output and self._is_there(step.output):
            return {"do": "reuse", "output": step.output.to_json()}
        parts = KeyParts.from_json(cast("Mapping[str, Json]", message["parts"]))
        known = {"key": key, "parts": parts.to_json(), "started_at": self._now, "error": ""}
        if cached and not parts.barrier and self._is_there(cached.output) and self._is_fresh(cached.reads):
            return self._reuse(step, cached, known)
        self._tracked.open(self._run)
        attempt = step.attempt + 1
        values = known | {"state": StepState.RUNNING, "attempt": attempt, "finished_at": 0, "source": "", "log": ""}
        self._store(lambda conn: records.change_step(conn, self._run.id, step_id, values))
        self._current = (step_id, attempt)
        self._until = time.monotonic() + plan.timeout_s if plan.timeout_s else None
        return {"do": "run", "attempt": attempt}

    def _reuse(self, step: StepRun, cached: records.Cached, known: Mapping[str, object]) -> Message:
        output = cached.output.to_json()
        values = {**known, "state": StepState.CACHED, "output": output, "source": cached.run, "finished_at": self._now}
        fact = self._step_finished(step.id, StepState.CACHED, 0.0)
        self._store(lambda conn: records.change_step(conn, self._run.id, step.id, values), fact)
        return {"do": "reuse", "output": output}

    def _finish(self, message: Message) -> Message:
        step_id, now = str(message["step"]), self._now
        output = Artifact.from_json(cast("Mapping[str, Json]", message["output"]))
        reads = cast("dict[str, int]", message["reads"])
        with self._desk.tables.read() as conn:
            step, plan, _ = records.step_plan(conn, self._run.id, step_id)
        values = {"state": StepState.FINISHED, "output": output.to_json(), "log": message["log"], "finished_at": now}

        def work(conn: Connection) -> None:
            records.change_step(conn, self._run.id, step_id, values)
            if plan.may_reuse and step.parts and not step.parts.barrier:
                records.store_cached(conn, step.key, records.Cached(output, reads, self._run.id), now)

        fact = self._step_finished(step_id, StepState.FINISHED, (now - step.started_at) / 1e6)
        self._store(work, fact)
        self._current = self._until = None
        for ref in cast("list[str]", message["inputs"]):
            self._tracked.add_input(ref, step_id)
        return {}

    def _fail(self, message: Message) -> Message:
        error = unpack_error(cast("Mapping[str, object]", message["error"]))
        return {"retry_in_s": self._note_failure(str(message["step"]), error, str(message["log"]))}

    def _note_failure(self, step_id: str, error: MainspringError, log: str) -> float | None:
        with self._desk.tables.read() as conn:
            _, plan, failures = records.step_plan(conn, self._run.id, step_id)
        again = failures < plan.retries
        values = {
            "state": StepState.WAITING if again else StepState.FAILED,
            "failures": failures + 1,
            "error": str(error),
            "log": log,
            "finished_at": self._now,
        }
        self._store(lambda conn: records.change_step(conn, self._run.id, step_id, values))
        self._current = self._until = None
        return retry_delay_s(failures + 1, plan.retry_in_s) if again else None

    def _keep_log(self) -> str:
        if self._current is None:
            return ""
        text = logs.tail(logs.log_path(self._folder, *self._current))
        return self._desk.blobs.put(text) if text else ""

    def _is_there(self, artifact: Artifact) -> bool:
        if artifact.codec in GROUPS:
            return all(self._is_there(item) for _, item in artifact.items)
        return self._desk.blobs.has(artifact.digest)

    def _is_fresh(self, reads: Mapping[str, int]) -> bool:
        try:
            return all(self._newest(Dataset(name)) == f"datasets/{name}/{number}" for name, number in reads.items())
        except NotFound:
            return False

    def _step_finished(self, step: str, state: StepState, seconds: float) -> StepFinished:
        names = {"pipeline": self._run.pipeline, "step": step, "state": str(state)}
        return StepFinished(subject=self._run.ref, seconds=round(seconds, 3), **names)

    def _store(self, work: Callable[[Connection], None], *facts: Fact, run: Mapping[str, object] | None = None) -> None:
        with self._desk.tables.write() as conn:
            self._desk.queue.renew(conn, self._lease, lease_s=self._desk.lease_s)
            values = {"error": ""} if run is None else run
            if not records.change_run(conn, self._run.id, values, states=records.UNFINISHED):
                raise Fenced("the run was cancelled", where=self._run.ref)
            work(conn)
            if facts:
                self._desk.journal.append(conn, *facts)
        self._renewed = time.monotonic()
