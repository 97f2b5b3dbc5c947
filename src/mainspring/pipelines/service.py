"""The verbs of the room: submit, run, work, cancel, look, and say why."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import Clock, SystemClock
from mainspring.core.errors import Failed, Fenced, Invalid, MainspringError, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.core.wiring import Wiring
from mainspring.engines import Engine, InlineEngine, Outcome, OutcomeState, ProcessEngine, Task, ray
from mainspring.engines.port import pack_error
from mainspring.engines.ray import check_address
from mainspring.pipelines import child, logs, records, rules
from mainspring.pipelines.decorators import Pipeline
from mainspring.pipelines.desk import ATTEMPTS, KIND, QUEUE, Desk
from mainspring.pipelines.events import RunRequested
from mainspring.pipelines.ledger import Ledger
from mainspring.pipelines.machine import Machine
from mainspring.pipelines.model import Change, Json, PipelineRun, RunState, Size, StepRun, Why
from mainspring.pipelines.opening import small_house
from mainspring.pipelines.parts.service import Parts
from mainspring.pipelines.settling import FOLDER, HERE, Settling
from mainspring.pipelines.steering import Steering
from mainspring.pipelines.targets import AnyPipeline, check_inside, check_target, load_target
from mainspring.pipelines.tracked import TrackedRun
from mainspring.pipelines.worker import Heart, Hold, Stopping, never_stopping
from mainspring.storage.jobs import APART, Lease, NewJob, backoff_s, job_id
from mainspring.storage.ports import Blobs, Journal, Queue, Tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.tracking import Tracking

_LOOK_S = 0.5
WHOLE_STEPS = 300
"""How many steps, not counting items of lists, an outline of a run has whole."""
SIZED_RUNS = 20
"""How many of the latest runs say how large a step is."""


class Pipelines:
    """Runs pipelines, durably.

    Args:
        tables: Metadata.
        journal: The event log.
        queue: Where runs wait for a worker.
        blobs: Where results of steps are kept.
        scratch: A folder for files of runs under way.
        clock: Times of records.
        data: The data room, for datasets named by parameters.
        tracking: The tracking room; each run is tracked there under the same id.
        wiring: The house, for steps that run in this process.
        house: "module:function" that opens the house in a child process.
        house_env: Environment variables that the child needs for it.
        root: Folder that relative targets start from, and working directory of children; the current one by default.
        engine: "process", "inline", "ray" or "ray://HOST:PORT": where runs go that do not say it themselves.
        engines: The engines by name.
        lease_s: How long a run stays with a worker that shows no sign of life.
        secrets: A file of secrets, for those that are not in the environment.
        machine: What the steps of this process's workers may take; all of it by default.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        blobs: Blobs,
        scratch: Path,
        clock: Clock | None = None,
        data: Data | None = None,
        tracking: Tracking | None = None,
        wiring: Wiring | None = None,
        house: str = "",
        house_env: Mapping[str, str] | None = None,
        root: Path | None = None,
        engine: str = "process",
        engines: Sequence[Engine] = (),
        lease_s: float = 30.0,
        secrets: Path | None = None,
        machine: Machine | None = None,
    ) -> None:
        at = clock or SystemClock()
        self._desk = Desk(tables, journal, queue, blobs, at, data, tracking, lease_s, machine or Machine())
        self._engines = {each.name: each for each in engines or (InlineEngine(), ProcessEngine())}
        self._cluster = check_address(engine, "pipelines.engine") if engine.startswith(ray.NAME) else ""
        self._engine = self._known_engine(ray.NAME if engine.startswith(ray.NAME) else engine)
        self._wiring = wiring or small_house(self._desk)
        self._house = house
        self._house_env = dict(house_env or {})
        self._root = (root or Path.cwd()).absolute()
        self._scratch = scratch
        self._heart = Heart(tables, queue, lease_s=lease_s)
        self._secrets = secrets
        self._settling = Settling(self._desk, scratch / FOLDER)
        self.steering = Steering(self._desk)
        self.parts = Parts(
            self._desk,
            engine=self._engines.get("process") or ProcessEngine(),
            heart=self._heart,
            task=self._task,
            root=self._root,
            scratch=scratch,
        )

    def submit(
        self,
        target: str,
        params: Mapping[str, Json] | None = None,
        *,
        key: str = "",
        engine: str = "",
        confined: bool = False,
        cache: bool = True,
        priority: int = 0,
        conn: Connection | None = None,
    ) -> str:
        """Put a run of a pipeline on the queue. Once this returns it will be run, whatever dies.

        Args:
            target: "path/to/file.py:function" or "package.module:function".
            params: JSON values by parameter name; texts are read as the parameter's type.
            key: The same key in the same project is the same run, however often it is submitted.
            engine: "process" or "ray"; empty for the default.
            confined: Refuse files outside the project folder: for those who ask from another machine.
            cache: Take results of other runs; without it every step runs.
            priority: Runs of a higher one are taken first, -100 to 100.
            conn: The caller's transaction, which the run is to be part of.
        Returns: The id of the run.
        Raises:
            Invalid: The target has the wrong form, or a parameter is not JSON.
            NotFound: There is no such file.
            Refused: The file is not in the project folder, and `confined` was asked for.
        """
        if confined:
            check_inside(target, self._root)
        place = check_target(target, self._root)
        if not -100 <= priority <= 100:
            raise Invalid(f"priority {priority}", where="priority", hint="use -100 to 100; 0 is usual")
        if engine == HERE != self._engine:  # whoever asks, the worker's own process is not theirs
            hint = "leave it out, or use process or ray"
            raise Invalid("a queued run has a process of its own", where="engine", hint=hint)
        run = self._new_run(place, place.rpartition(":")[2], params or {}, engine or self._engine)
        return self._add(replace(run, cache=cache, priority=priority), key=key, queue=QUEUE, conn=conn).id

    def find(self, target: str) -> str:
        """The target with an absolute path, when it names a file of the project folder; nothing is imported.

        Raises:
            Invalid: It has another form.
            NotFound: There is no such file.
        """
        return check_target(target, self._root)

    def load(self, target: str) -> AnyPipeline:
        """Import the module or file of a target here, and return its pipeline.

        Raises:
            Invalid: The module cannot be imported, or has no such pipeline.
            NotFound: There is no such file or module.
        """
        return load_target(target, self._root)

    def check(self, target: str, params: Mapping[str, Json]) -> None:
        """Return when a pipeline can be drawn with these parameters, or can't be imported here, which a worker may.

        Raises:
            Invalid: It has no such parameter, or another type, or is no pipeline.
        """
        try:
            held = load_target(target, self._root)
        except NotFound:
            return
        held.draw(params)

    def place_in_project(self, target: str) -> str:
        """The target as it is written in another copy of the project's folder.

        Raises:
            Invalid: It is not in that folder.
        """
        place, _, name = check_target(target, self._root).rpartition(":")
        if not place.endswith(".py"):
            return target
        if not Path(place).is_relative_to(self._root):
            hint = f"move the file below {self._root}, which the image has a copy of"
            raise Invalid("the target is outside the project folder", where=target, hint=hint)
        return f"{Path(place).relative_to(self._root)}:{name}"

    def run_inline(
        self, pipeline: AnyPipeline | str, params: Mapping[str, Json] | None = None, *, cache: bool = True
    ) -> PipelineRun:
        """Run a pipeline now, in this process, and return the run when it has ended, well or not.

        Args:
            pipeline: The pipeline itself, or a target.
            params: As for `submit`.
            cache: As for `submit`.
        Raises:
            Invalid, NotFound: The target or a parameter is wrong, or the pipeline cannot be drawn.
        """
        held = pipeline if isinstance(pipeline, Pipeline) else load_target(pipeline, self._root)
        target = _target_of(held) if isinstance(pipeline, Pipeline) else check_target(pipeline, self._root)
        drawn = [held.draw(params or {})]  # what is wrong with the call is the caller's to hear, and no run
        queue = f"{HERE}-{new_id()}"
        run = self._add(replace(self._new_run(target, held.name, params or {}, HERE), cache=cache), queue=queue)
        lease = self._desk.queue.lease(f"inline {run.id}", [queue], lease_s=self._desk.lease_s)
        if lease is None:
            raise Failed("the run was taken from the queue by another", where=run.ref)
        with self._heart.beating(Hold(lease, never_stopping())):
            try:
                with suppress(Fenced):  # cancelled from elsewhere: the run says so
                    self._work(run, lease, child.Held(self._wiring, held, drawn, is_target=isinstance(pipeline, str)))
            except BaseException:
                self.cancel(run.id, reason="interrupted")
                raise
        return self.get(run.id)

    def run_on(
        self,
        target: str,
        params: Mapping[str, Json],
        *,
        key: str,
        engine: str = "",
        cache: bool = True,
        stopping: threading.Event | None = None,
    ) -> PipelineRun:
        """Run a pipeline here, or go on with the run of the same key where another process left it.

        While another process has the run, this one waits for it.

        Args:
            target: As for `submit`.
            params: As for `submit`.
            key: The same key in the same project is the same run.
            engine: As for `submit`.
            cache: As for `submit`.
            stopping: Set by somebody when this process is to stop: the run is left to the next one.
        Returns: The run when it has ended, or rests until somebody answers or resumes it.
        Raises:
            Invalid, NotFound: The target or a parameter is wrong, or the pipeline cannot be drawn.
            Stopping: The process is to stop.
        """
        place, asked = check_target(target, self._root), stopping or never_stopping()
        load_target(target, self._root).draw(params)
        queue = f"{APART}{job_id('run-on', caller().project, key)}"
        fresh = self._new_run(place, place.rpartition(":")[2], params, engine or self._engine)
        run_id = self._add(replace(fresh, cache=cache), key=key, queue=queue).id
        while (run := self.get(run_id)).state in records.ACTIVE:
            lease = self._desk.queue.lease(f"{queue} {new_id()}", [queue], lease_s=self._desk.lease_s)
            if lease is None:
                if self._settling.lost(run.job_id):
                    self.settle()
                if asked.wait(_LOOK_S):
                    raise Stopping("the process is being stopped", where=run.ref)
                continue
            with self._heart.beating(Hold(lease, asked)), suppress(Fenced):  # cancelled from elsewhere: it says so
                self._work(self._found(str(lease.job.payload["run"])), lease, None)
        return run

    def join(self, target: str, params: Mapping[str, Json], *, key: str, cache: bool = True) -> str:
        """The run of a key whose parts are done by processes of their own: see `parts`. It is made when there is none.

        Args:
            target: As for `submit`.
            params: As for `submit`.
            key: The same key in the same project is the same run.
            cache: As for `submit`.
        Returns: Its id.
        """
        place = check_target(target, self._root)
        fresh = self._new_run(place, place.rpartition(":")[2], params, "process")
        queue = f"{APART}{job_id('join', caller().project, key)}"
        return self._add(replace(fresh, cache=cache), key=key, queue=queue).id

    def work_once(self, lease: Lease) -> None:
        """Do the work of one lease: the remaining steps of its run. For `Worker` handlers; it finishes the job itself.

        Raises:
            Fenced: The lease was lost or the run cancelled; nothing more is stored.
        """
        with calling(Caller(lease.job.actor, lease.job.project)):
            self._work(self._found(str(lease.job.payload["run"])), lease, None)

    def get(self, run_id: str) -> PipelineRun:
        """One run with its steps.

        Raises:
            NotFound: There is no such run in the project.
        """
        return self._found(run_id, with_steps=True)

    def glance(self, run_id: str) -> PipelineRun:
        """One run without its steps.

        Raises:
            NotFound: There is no such run in the project.
        """
        return self._found(run_id)

    def outline(self, run_id: str) -> PipelineRun:
        """One run for people to look at: of its steps where there are many, only names, states, times and errors.

        Raises:
            NotFound: There is no such run in the project.
        """
        run = self._found(run_id)
        with self._desk.tables.read() as conn:
            return replace(run, steps=records.outline_of(conn, run_id, most=WHOLE_STEPS))

    def step(self, run_id: str, step_id: str) -> StepRun:
        """One step of a run, with all that is known of it.

        Raises:
            NotFound: There is no such run or step.
        """
        with self._desk.tables.read() as conn:
            return records.step_of(conn, run_id, step_id) or self._step(self.get(run_id), step_id)

    def runs(
        self, pipeline: str = "", *, states: Sequence[str] = (), before: int = 0, limit: int = 100
    ) -> list[PipelineRun]:
        """Runs without their steps, newest first.

        Args:
            pipeline: Only this pipeline; empty for all.
            states: Only these states; empty for all.
            before: Only runs created before this time in microseconds, for the next page; 0 for all.
            limit: At most this many, 1 to 1000.
        """
        limit = max(1, min(limit, 1000))
        with self._desk.tables.read() as conn:
            return records.find_runs(conn, pipeline=pipeline, states=states, before=before, limit=limit)

    def cancel(self, run_id: str, *, reason: str = "") -> bool:
        """Stop a run. Its worker is refused from now on, and stops the step that is running within a second.

        Returns: False when the run had ended already.
        Raises:
            NotFound: There is no such run.
        """
        return self.steering.cancel(self._found(run_id), reason=reason)

    def why(self, run_id: str, step_id: str) -> Why:
        """Why a step ran, or did not: which parts of its cache key differ from the run before.

        Raises:
            NotFound: There is no such run or step.
        """
        run = self.get(run_id)
        return self.explain(run, self._step(run, step_id))

    def explain(self, run: PipelineRun, step: StepRun) -> Why:
        """As `why`, for a run and a step that are at hand."""
        with self._desk.tables.read() as conn:
            _, plan, _ = records.step_plan(conn, run.id, step.id)
            found = records.earlier_step(conn, run, step) if step.parts else None
        if step.parts is None:
            return Why(step.id, step.state, "", (), f"it has not had its turn: {step.state}")
        before, earlier = found or ("", None)
        changed: tuple[Change, ...] = ()
        if earlier and earlier.parts:
            changed = self._in_words(rules.changes(earlier.parts, step.parts))
        reason = rules.why_it_ran(step, earlier, changed, may_reuse=plan.may_reuse)
        return Why(step.id, step.state, before, changed, reason)

    def sizes(self, pipeline: str) -> list[Size]:
        """What the steps of a pipeline ask for, what they took in the latest runs, and what would do."""
        with self._desk.tables.read() as conn:
            found = records.measured(conn, pipeline, runs=SIZED_RUNS)
        return rules.sizes(found)

    def log(self, run_id: str, step_id: str) -> str:
        """What a step wrote, the last part of it; while it runs, as far as it can be seen from this machine.

        Raises:
            NotFound: There is no such run or step.
        """
        run = self.get(run_id)
        return self.text(run, self._step(run, step_id))

    def text(self, run: PipelineRun, step: StepRun) -> str:
        """As `log`, for a run and a step that are at hand."""
        if step.log:
            data = self._desk.blobs.get(step.log)
        else:
            data = logs.tail(logs.log_path(self._folder(run.id, run.attempt), step.id, step.attempt))
        return data.decode(errors="replace")

    def metrics(self, run_id: str) -> dict[str, float]:
        """The latest value of each metric of a run, such as the one that made a result that was taken again."""
        if self._desk.tracking is None:
            return {}
        with suppress(NotFound):
            return {name: metric.value for name, metric in self._desk.tracking.get(run_id).metrics.items()}
        return {}

    def settle(self) -> int:
        """End runs that nobody will work on any more: their job is dead, or the process they ran in is gone.

        Returns: How many there were, over all projects.
        """
        return self.steering.refuse_overdue() + self._settling.settle()

    def _found(self, run_id: str, *, with_steps: bool = False) -> PipelineRun:
        with self._desk.tables.read() as conn:
            run = records.find_run(conn, run_id, with_steps=with_steps)
        if run is None:
            raise NotFound(f"no pipeline run {run_id!r}", where="pipelines", hint="mainspring pipeline ls")
        return run

    def _new_run(self, target: str, name: str, params: Mapping[str, Json], engine: str) -> PipelineRun:
        return PipelineRun(
            id=new_id(),
            pipeline=name,
            target=target,
            params=dict(params),
            state=RunState.QUEUED,
            engine=self._known_engine(engine),
            actor=caller().actor,
            created_at=self._desk.clock.now(),
        )

    def _add(self, run: PipelineRun, *, key: str = "", queue: str, conn: Connection | None = None) -> PipelineRun:
        run = replace(run, id=job_id("pipeline-run", caller().project, key)) if key else run
        with nullcontext(conn) if conn is not None else self._desk.tables.write() as conn:
            job = NewJob(
                queue=queue,
                kind=KIND,
                payload={"run": run.id},
                id=job_id("pipeline-job", run.id),
                priority=run.priority,
                max_attempts=1 if queue.startswith(f"{HERE}-") else ATTEMPTS,
            )
            run = replace(run, job_id=self._desk.queue.put(conn, job))
            if records.add_run(conn, run):
                fact = RunRequested(subject=run.ref, pipeline=run.pipeline, target=run.target)
                self._desk.journal.append(conn, fact)
        return run

    def _work(self, run: PipelineRun, lease: Lease, held: child.Held | None) -> None:
        if run.state.is_final:
            with self._desk.tables.write() as conn:
                self._desk.queue.finish(conn, lease, {"state": run.state})
            return
        folder = self._folder(run.id, run.attempt + 1)
        tracked = TrackedRun(self._desk.tracking, run.id, root=self._root, target=run.target)
        ledger = Ledger(self._desk, run, lease, folder, tracked)
        try:
            ledger.start()
            self._run(run, lease, ledger, self._task(run, folder), held)
        except Stopping as reason:
            ledger.give_back(reason.what, retry_in_s=0.0, counts=False)
            raise
        except Fenced:
            ledger.keep_logs()
            raise
        finally:
            self._desk.machine.free(run.id)
            shutil.rmtree(folder, ignore_errors=True)
        with self._desk.tables.read() as conn:
            state = records.state_of(conn, run.id)
        if state.is_final:
            for left in range(1, run.attempt + 1):  # attempts that were killed left theirs
                shutil.rmtree(self._folder(run.id, left), ignore_errors=True)
            ledger.close_tracked(state)

    def _run(self, run: PipelineRun, lease: Lease, ledger: Ledger, task: Task, held: child.Held | None) -> None:
        outcome = self._engine_run(run, task, ledger, held)
        while outcome.state is OutcomeState.TIMED_OUT:
            late = ledger.time_is_up()
            if late is not None:
                return self._fail(run, ledger, task, held, late)
            outcome = self._engine_run(run, task, ledger, held)
        if outcome.state is OutcomeState.FINISHED and "parked" in outcome.result:
            return ledger.park(str(outcome.result["parked"]))
        if outcome.state is OutcomeState.FINISHED:
            return ledger.finish_run(outcome.result["result"])
        error = outcome.error or Failed(f"the run {outcome.state}", where=run.ref)
        if outcome.state is not OutcomeState.DIED:
            return ledger.fail_run(error)
        ledger.note_death(error)
        if ledger.may_go_on_after_death():
            return ledger.give_back(error.what, retry_in_s=backoff_s(lease.attempt, seed=run.id))
        return self._fail(run, ledger, task, held, error)

    def _fail(
        self, run: PipelineRun, ledger: Ledger, task: Task, held: child.Held | None, error: MainspringError
    ) -> None:
        """The steps' process ended early for good: what comes at the end gets one of its own."""
        if ledger.has_ending:
            ending = replace(task, payload={**task.payload, "failed": pack_error(error)})
            self._engine_run(run, ending, ledger, held)
        ledger.fail_run(error)

    def _engine_run(self, run: PipelineRun, task: Task, ledger: Ledger, held: child.Held | None) -> Outcome:
        with child.holding(held or (child.Held(self._wiring) if run.engine == HERE else None)):
            return self._engines["process" if run.engine == ray.NAME else run.engine].run(task, ledger)

    def _task(self, run: PipelineRun, folder: Path) -> Task:
        who = caller()
        payload: dict[str, object] = {
            "run": run.id,
            "target": run.target,
            "params": dict(run.params),
            "root": str(self._root),
            "folder": str(folder),
            "house": self._house,
            "house_env": self._house_env,
            "engine": run.engine,
            "cluster": self._cluster,
            "secrets": str(self._secrets or ""),
            "actor": who.actor,
            "project": who.project,
        }
        return Task(entry=child.ENTRY, payload=payload, folder=folder, cwd=self._root, env=self._house_env)

    def _folder(self, run_id: str, attempt: int) -> Path:
        return self._scratch / FOLDER / f"{run_id}-{attempt}"

    def _step(self, run: PipelineRun, step_id: str) -> StepRun:
        step = run.step(step_id)
        if step is None:
            names = [each.id for each in run.steps]
            hint = did_you_mean(step_id, names) or f"it has {', '.join(names) or 'no steps yet'}"
            raise NotFound(f"no step {step_id!r} in the run", where=run.ref, hint=hint)
        return step

    def _in_words(self, changed: Sequence[Change]) -> tuple[Change, ...]:
        found: list[Change] = []
        for change in changed:
            found += self._packages(change) if change.part == "lock" else (change,)
        return tuple(found)

    def _packages(self, change: Change) -> Sequence[Change]:
        try:
            lists = [self._desk.blobs.get(digest).decode().splitlines() for digest in (change.before, change.after)]
        except (NotFound, Invalid):
            return (change,)
        return rules.table_diff(lists[0], lists[1])

    def _known_engine(self, name: str) -> str:
        known = [*self._engines, ray.NAME]
        if name not in known:
            near = did_you_mean(name, known) or f"known are {', '.join(known)}"
            raise Invalid(f"no engine {name!r}", where="pipelines", hint=near)
        return name


def _target_of(pipeline: AnyPipeline) -> str:
    return f"{pipeline.function.__module__}:{pipeline.function.__qualname__}"
