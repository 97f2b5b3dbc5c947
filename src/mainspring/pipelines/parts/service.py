"""Does parts of runs: opens the run, leases the part, and says how it ended."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mainspring.core.errors import Conflict, Failed, Fenced, MainspringError, Unavailable
from mainspring.core.ids import new_id
from mainspring.engines import Engine, Outcome, OutcomeState, Task
from mainspring.pipelines import records
from mainspring.pipelines.desk import Desk
from mainspring.pipelines.model import PipelineRun, RunState, StepState
from mainspring.pipelines.parts.ledger import TRIES, PartLedger
from mainspring.pipelines.parts.model import Part, PartEnd, What
from mainspring.pipelines.rules import told_again
from mainspring.pipelines.tracked import TrackedRun
from mainspring.pipelines.worker import Heart, Hold, Stopping
from mainspring.storage.jobs import APART, Lease, NewJob, job_id

KIND = "pipelines.part"
_LOOK_S = 0.5


class Parts:
    """Does parts of runs, each as often as the platform starts it and once as far as anybody can see.

    Args:
        desk: Storage and rooms.
        engine: Runs the process of a step.
        heart: Renews leases.
        task: The task of a run with a folder of its own.
        root: Folder of the project.
        scratch: A folder for files of parts under way.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        engine: Engine,
        heart: Heart,
        task: Callable[[PipelineRun, Path], Task],
        root: Path,
        scratch: Path,
    ) -> None:
        self._desk, self._engine, self._heart, self._task = desk, engine, heart, task
        self._root, self._scratch = root, scratch

    def do(self, run_id: str, part: Part, stopping: threading.Event) -> PartEnd:
        """Do a part of a run, which is opened before if nobody did that.

        Args:
            run_id: The run.
            part: The part.
            stopping: Set when this process is to stop.
        Raises:
            Fenced: The run was cancelled, or has ended.
            Stopping: The process is to stop.
        """
        opened = self._until_over(run_id, Part(what=What.OPEN, shape=part.shape), stopping)
        if opened.error is not None or opened.is_again:
            return self._never_opened(run_id, part, opened)
        return self._until_over(run_id, part, stopping)

    def _until_over(self, run_id: str, part: Part, stopping: threading.Event) -> PartEnd:
        while True:
            run = self._get(run_id)
            over = _standing(run, part)
            if over is not None:
                return over
            lease = self._lease(run, part)
            if lease is not None:
                with self._heart.beating(Hold(lease, stopping)):
                    ended = self._work(run, lease, part)
                if ended is not None:
                    return ended
            if stopping.wait(_LOOK_S):
                raise Stopping("the process is being stopped", where=run.ref)

    def _lease(self, run: PipelineRun, part: Part) -> Lease | None:
        about = ("pipeline-part", run.id, part.what, part.row)
        name = job_id(*about) if part.is_recorded else new_id()
        queue = f"{APART}{name}"
        with self._desk.tables.write() as conn:
            job = NewJob(queue=queue, kind=KIND, payload={"run": run.id}, id=name, max_attempts=TRIES)
            self._desk.queue.put(conn, job)
        return self._desk.queue.lease(f"part {new_id()}", [queue], lease_s=self._desk.lease_s)

    def _work(self, run: PipelineRun, lease: Lease, part: Part) -> PartEnd | None:
        """The end of the part; None when the run rests, or another has done it meanwhile."""
        if _standing(self._get(run.id), part) is not None:
            return None
        folder = self._folder(run)
        tracked = TrackedRun(self._desk.tracking, run.id, root=self._root, target=run.target)
        ledger = PartLedger(self._desk, run, lease, folder, tracked, part)
        try:
            if part.what is What.OPEN:
                ledger.start()
            task = self._task(run, folder)
            task = replace(task, payload={**task.payload, "part": part.to_json()})
            return self._ended(run, ledger, part, self._engine.run(task, ledger))
        except Stopping as reason:
            ledger.give_back(reason.what, retry_in_s=0.0)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, run: PipelineRun, ledger: PartLedger, part: Part, outcome: Outcome) -> PartEnd | None:
        if outcome.state is OutcomeState.TIMED_OUT:
            error = ledger.time_is_up()
        elif outcome.state is OutcomeState.FINISHED:
            error = None
        else:
            error = outcome.error or Failed(f"the part {outcome.state}", where=run.ref)
        if outcome.state is OutcomeState.DIED and error is not None and ledger.died(error):
            error = None
        if part.what is What.CLOSE:
            return self._close(run, ledger, outcome, error)
        if error is not None:
            ledger.blame(error)
            ledger.end_part()
            return PartEnd(error=error)
        if outcome.state is not OutcomeState.FINISHED or "value" not in outcome.result:
            ledger.give_back("it is tried again", retry_in_s=0.0)
            return None if "parked" in outcome.result else PartEnd(is_again=True)
        ledger.end_part()
        return PartEnd(value=outcome.result["value"])

    def _close(
        self, run: PipelineRun, ledger: PartLedger, outcome: Outcome, error: MainspringError | None
    ) -> PartEnd | None:
        if outcome.state is not OutcomeState.FINISHED and error is None:
            ledger.give_back("it is tried again", retry_in_s=0.0)
            return None
        if error is None and "parked" in outcome.result:
            ledger.give_back("it rests", retry_in_s=0.0)
            return None
        if error is None:
            ledger.finish_run(outcome.result["result"])
        else:
            ledger.fail_run(error)
        self._tidy(run, ledger)
        return PartEnd(error=error)

    def _never_opened(self, run_id: str, part: Part, opened: PartEnd) -> PartEnd:
        """A run that cannot begin is failed by whoever comes first."""
        run = self._get(run_id)
        if opened.error is not None and not run.state.is_final:
            at, error = self._desk.clock.now(), opened.error
            values = {"state": RunState.FAILED, "error": str(error), "error_code": error.code, "finished_at": at}
            with self._desk.tables.write() as conn:
                records.change_run(conn, run_id, values, states=records.ACTIVE)
                self._desk.queue.cancel(conn, run.job_id)
        return opened

    def _tidy(self, run: PipelineRun, ledger: PartLedger) -> None:
        with self._desk.tables.write() as conn:
            self._desk.queue.cancel(conn, run.job_id)
        ledger.close_tracked(self._get(run.id).state)

    def _get(self, run_id: str) -> PipelineRun:
        with self._desk.tables.read() as conn:
            run = records.find_run(conn, run_id)
        if run is None:
            raise Unavailable("the run is gone", where=f"pipeline-runs/{run_id}", hint="start it anew")
        return run

    def _folder(self, run: PipelineRun) -> Path:
        return self._scratch / "pipeline-parts" / run.id / new_id()


def _standing(run: PipelineRun, part: Part) -> PartEnd | None:
    """How a part ended before, or None when it is to be done."""
    if part.what is What.OPEN and run.steps:
        return PartEnd()
    if run.state.is_final:
        return _after_the_end(run, part)
    if not part.is_recorded or part.what in (What.OPEN, What.CLOSE):
        return None
    step = run.step(part.row)
    if step is None:
        return None
    if step.state is StepState.FAILED:
        return PartEnd(error=told_again(step.error, step.error_code))
    return PartEnd() if step.state.has_result or step.state is StepState.SKIPPED else None


def _after_the_end(run: PipelineRun, part: Part) -> PartEnd:
    if run.state is RunState.FINISHED:
        return PartEnd()
    if part.what is What.CLOSE and run.state is RunState.FAILED:
        return PartEnd(error=told_again(run.error, run.error_code))
    if run.state is RunState.CANCELLED:
        raise Fenced("the run was cancelled", where=run.ref, hint="mainspring pipeline resume goes on with it")
    return PartEnd(error=Conflict(f"the run has {run.state}", where=run.ref, hint="start it anew on the platform"))
