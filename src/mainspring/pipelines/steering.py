"""What people do with runs that are under way: cancel, pause, resume, and answer what a run asks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Conflict, Forbidden, NotFound
from mainspring.pipelines import records
from mainspring.pipelines.desk import Desk, requeue
from mainspring.pipelines.events import ApprovalGiven, RunCancelled, RunPaused, RunResumed
from mainspring.pipelines.model import Decision, PipelineRun, RunState, StepRun, StepState
from mainspring.pipelines.tracked import close_tracked

if TYPE_CHECKING:
    from sqlalchemy import Connection

CLOCK = "clock"
"""Who answers a question whose time is over."""


class Steering:
    """Changes the course of runs.

    Args:
        desk: Storage and rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def cancel(self, run: PipelineRun, *, reason: str = "") -> bool:
        """Stop a run. Its worker is refused from now on, and stops the step that is running within a second.

        Returns: False when the run had ended already.
        """
        with self._desk.tables.write() as conn:
            fact = self.stop(conn, run, reason=reason)
            if fact is None:
                return False
            self._desk.journal.append(conn, fact)
        self.close(run)
        return True

    def stop(self, conn: Connection, run: PipelineRun, *, reason: str = "") -> RunCancelled | None:
        """As `cancel`, as part of the caller's transaction, after which it calls `close`.

        Returns: What the caller appends to the event log, behind all else that it changes; None when the run had ended.
        """
        now = self._desk.clock.now()
        values = {"state": RunState.CANCELLED, "finished_at": now, "error": reason}
        if not records.change_run(conn, run.id, values, states=records.UNFINISHED):
            return None
        self._desk.queue.cancel(conn, records.job_of(conn, run.id))  # run, job, steps: in the order of the ledger
        records.end_steps(conn, run.id, running=StepState.CANCELLED, at=now)
        return RunCancelled(subject=run.ref, pipeline=run.pipeline, reason=reason)

    def close(self, run: PipelineRun) -> None:
        """Close the tracked twin of a run that was stopped."""
        close_tracked(self._desk.tracking, run.id, RunState.CANCELLED)

    def pause(self, run: PipelineRun) -> bool:
        """Let a run rest: at once when it is queued, else after the steps that are under way.

        Returns: False when the run had ended, or rests already.
        """
        with self._desk.tables.write() as conn:
            resting = {"state": RunState.PAUSED, "pausing": True}
            if records.change_run(conn, run.id, resting, states=[RunState.QUEUED]):
                self._desk.queue.cancel(conn, records.job_of(conn, run.id))
            elif not records.change_run(conn, run.id, {"pausing": True}, states=[RunState.RUNNING]):
                return False
            self._desk.journal.append(conn, RunPaused(subject=run.ref, pipeline=run.pipeline))
        return True

    def resume(self, run: PipelineRun) -> bool:
        """Let a run go on that was paused, has failed or was cancelled. Steps that are finished stay finished.

        Returns: False when it is under way, waits for an answer, or has finished.
        """
        halted = (RunState.PAUSED, RunState.FAILED, RunState.CANCELLED)
        fresh = {"state": RunState.QUEUED, "error": "", "error_code": "", "finished_at": 0, "pausing": False}
        again = {"state": StepState.WAITING, "failures": 0, "finished_at": 0}
        with self._desk.tables.write() as conn:
            if not records.change_run(conn, run.id, fresh, states=halted):
                return records.change_run(conn, run.id, {"pausing": False}, states=[RunState.RUNNING])
            for state in (StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED):
                records.change_states(conn, run.id, state, again)
            requeue(conn, self._desk, run)
            self._desk.journal.append(conn, RunResumed(subject=run.ref, pipeline=run.pipeline))
        return True

    def answer(self, run: PipelineRun, step_id: str = "", *, approve: bool, comment: str = "") -> StepRun:
        """Answer what a run asks.

        Args:
            run: The run.
            step_id: Which question; it may be left out when there is only one.
            approve: Yes or no. A no fails the run.
            comment: Kept with the answer, and given to the steps that come.
        Raises:
            NotFound: The run asks nothing of that name.
            Conflict: It was answered already.
            Forbidden: Whoever asked for the run may not answer this.
        """
        step = _question(run, step_id)
        decision = step.decision or Decision(question="")
        who = caller().actor
        if decision.by_another and who == run.actor:
            raise Forbidden(f"{who} asked for this run", where=f"step {step.id}", hint="let somebody else answer")
        given = replace(decision, approved=approve, by=who, at=self._desk.clock.now(), comment=comment)
        with self._desk.tables.write() as conn:
            if not records.change_run(conn, run.id, {"pausing": False}, states=records.UNFINISHED):
                raise Conflict(f"the run is {run.state}", where=run.ref, hint="only a run under way can be answered")
            now = records.step_of(conn, run.id, step.id)  # the run's row is locked now, so nobody else answers
            if now is None or now.decision is None or now.decision.approved is not None:
                raise Conflict("it was answered already", where=f"step {step.id}", hint="look at the run")
            records.change_step(conn, run.id, step.id, {"decision": given.to_json()})
            names = {"pipeline": run.pipeline, "step": step.id, "comment": comment}
            self._desk.journal.append(conn, ApprovalGiven(subject=run.ref, approved=approve, **names))
            found = records.find_run(conn, run.id)
            if found is not None and found.state is RunState.WAITING:
                requeue(conn, self._desk, found)
        return replace(step, decision=given)

    def refuse_overdue(self) -> int:
        """Say no to every question, of every project, whose time is over. Returns how many there were."""
        with self._desk.tables.read() as conn:
            overdue = records.open_questions(conn, self._desk.clock.now())
        for project, run_id, step in overdue:
            with calling(Caller(CLOCK, project)):
                with self._desk.tables.read() as conn:
                    run = records.find_run(conn, run_id)
                if run is not None and not run.state.is_final:
                    self.answer(run, step, approve=False, comment="nobody answered in time")
        return len(overdue)


def _question(run: PipelineRun, step_id: str) -> StepRun:
    asked = [step for step in run.steps if step.state is StepState.ASKED]
    found = [step for step in asked if step_id in ("", step.id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(step.id for step in asked)
    if found:
        raise Conflict(f"the run asks {len(found)} things", where=run.ref, hint=f"say which: {names}")
    step = run.step(step_id)
    if step is not None and step.decision is not None:
        raise Conflict(f"step {step_id} is {step.state}", where=run.ref, hint="it was answered already")
    hint = f"it asks {names}" if names else f"it is {run.state}"
    raise NotFound(f"the run asks nothing{f' called {step_id!r}' if step_id else ''}", where=run.ref, hint=hint)
