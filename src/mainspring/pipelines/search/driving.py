"""Drives one search: asks for parameters, has them tried, and stores what came of it, under the lease of its job."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.clock import Clock
from mainspring.core.errors import Fenced, MainspringError, NotFound
from mainspring.core.values import dataclass
from mainspring.pipelines.model import Json, PipelineRun, RunState
from mainspring.pipelines.search import records
from mainspring.pipelines.search.events import SearchEnded, TrialEnded
from mainspring.pipelines.search.model import SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.rules import best_of, value_in
from mainspring.pipelines.search.sampling import Sampling
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.targets import AnyPipeline
from mainspring.pipelines.worker import Hold
from mainspring.storage.ports import Journal, Queue, Tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.core.events import Fact
    from mainspring.tracking import Tracking

Told = Callable[[Trial], None]
"""Hears of each trial that ended."""
CUT_OFF = "the search was cut off"
"""Why the run of a trial was stopped that is to go on when its search does."""
_LOOK_S = 5.0
"""How often runs are looked at when no news comes."""
_PRUNE_S = 0.5
"""The same where trials are pruned: what they log is no news."""
_HOPELESS = 5
"""A search ends when so many trials failed and none did not."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What searches are kept with."""

    tables: Tables
    journal: Journal
    queue: Queue
    clock: Clock
    pipelines: Pipelines
    tracking: Tracking | None
    lease_s: float

    def close(self, conn: Connection, study: Study, state: SearchState, error: str, *, job_id: str = "") -> list[Fact]:
        """Note that a search is over. Returns what is told of it, nothing when it was over already."""
        values = {"state": state, "error": error, "finished_at": self.clock.now()}
        if not records.change(conn, study.id, values, job_id=job_id):
            return []
        best = best_of(records.trials_of(conn, study.id), study.search.objective)
        numbers = tuple(trial.number for trial in best)
        return [SearchEnded(subject=study.ref, state=str(state), best=numbers, error=error)]


class Drive:
    """One process driving one search.

    Args:
        desk: Storage and rooms.
        study: The search as it stood when the lease was taken.
        hold: The lease of its job: every write names it, so that nobody else writes at the same time.
        told: Hears of trials.
        pipeline: The pipeline itself, when it is not to be loaded from its target.
        queued: Whether trials are put on the queue; else they run here, one after the other.
    """

    def __init__(
        self,
        desk: Desk,
        study: Study,
        hold: Hold,
        *,
        told: Told = lambda trial: None,
        pipeline: AnyPipeline | None = None,
        queued: bool = True,
    ) -> None:
        self._desk, self._study, self._hold, self._told = desk, study, hold, told
        self._search, self._pipeline, self._queued = study.search, pipeline, queued
        self._sampling = Sampling(study.search, study.trials)
        self._trials = {trial.number: trial for trial in study.trials}
        self._failed_here = 0

    def run(self) -> None:
        """Trials until there are enough, then the run of the winner.

        Raises:
            Fenced: The search was cancelled, or another process has it.
        """
        self._begin()
        self._until_done()
        self._end()

    def _begin(self) -> None:
        with self._desk.tables.write() as conn:
            self._check_ours(conn, {"state": SearchState.RUNNING})
        for trial in self._trials.values():
            if self._queued and trial.run and trial.state is TrialState.RUNNING:
                run = self._run_of(trial.run)
                if run.state is RunState.CANCELLED and run.error == CUT_OFF:
                    self._desk.pipelines.steering.resume(run)

    def _until_done(self) -> None:
        while True:
            self._hold.check()
            seen = self._desk.journal.last()
            running = [trial for trial in self._trials.values() if trial.state is TrialState.RUNNING]
            if self._is_hopeless():
                return self._give_up(running)
            room = (self._search.parallel if self._queued else 1) - len(running)
            for _ in range(min(room, self._search.trials - len(self._trials))):
                running.append(self._new())
            if not running:
                return None
            for trial in running:
                self._look(trial) if self._queued else self._try(trial)
            if self._queued:
                self._check_state()
                self._desk.journal.wait(seen, _PRUNE_S if self._search.prune else _LOOK_S)

    def _new(self) -> Trial:
        number = len(self._trials)
        params = self._sampling.ask(number)
        trial = Trial(number=number, state=TrialState.RUNNING, params=params, started_at=self._desk.clock.now())
        if self._queued:
            return self._submit(trial)
        self._store(trial)
        return trial

    def _submit(self, trial: Trial) -> Trial:
        """Put a trial on the queue, and note it there and here or not at all."""
        number, tries = trial.number, trial.tries + 1
        with self._desk.tables.write() as conn:
            self._check_ours(conn)
            run = self._put(conn, self._params(trial), f"{number}/{tries}")
            trial = replace(trial, run=run, tries=tries)
            records.put_trial(conn, self._study.id, trial)
        self._trials[number] = trial
        return trial

    def _put(self, conn: Connection, params: Mapping[str, Json], key: str) -> str:
        return self._desk.pipelines.submit(self._study.target, params, key=f"{self._study.id}/{key}", conn=conn)

    def _try(self, trial: Trial) -> None:
        """Run a trial here and now."""
        try:
            run = self._desk.pipelines.run_inline(self._pipeline or self._study.target, self._params(trial))
        except MainspringError as reason:
            self._ended(trial, TrialState.FAILED, note=str(reason))
            return
        self._judge(replace(trial, run=run.id, tries=trial.tries + 1), run)

    def _look(self, trial: Trial) -> None:
        """See how far a queued trial is; put it on the queue when it is not there."""
        if not trial.run:
            self._submit(trial)
            return
        run = self._run_of(trial.run)
        if self._search.prune:
            trial = self._with_steps(trial)  # of one that ended, too: others are compared with it
        if run.state.is_final:
            self._judge(trial, run)
        elif trial.state is TrialState.RUNNING and self._is_behind(trial):
            at = trial.steps[-1][0]
            self._ended(trial, TrialState.PRUNED, note=f"behind the others at step {at}", stop=run)

    def _with_steps(self, trial: Trial) -> Trial:
        known = len(trial.steps)
        found = self._steps(trial.run, next(iter(self._search.objective)))
        trial = replace(trial, steps=tuple(dict(found).items()))
        self._sampling.report(trial.number, trial.steps[known:])
        self._trials[trial.number] = trial
        return trial

    def _steps(self, run: str, metric: str) -> list[tuple[int, float]]:
        """What a run has logged of a metric so far, step by step."""
        if self._desk.tracking is None:
            return []
        try:
            points = self._desk.tracking.history(run, metric)
        except NotFound:  # its first step has not begun
            return []
        return [(point.step, point.value) for point in points if math.isfinite(point.value)]

    def _is_behind(self, trial: Trial) -> bool:
        return bool(trial.steps) and self._sampling.is_behind(trial.number)

    def _judge(self, trial: Trial, run: PipelineRun) -> None:
        """What a run that ended means for its trial."""
        if run.state is not RunState.FINISHED:
            error = run.error or f"the run was {run.state}"
            if trial.tries <= self._search.retries:
                self._store(replace(trial, run="", note=error))
            else:
                self._ended(trial, TrialState.FAILED, note=error)
            return
        values = {name: self._value(run, name) for name in self._search.objective}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            note = f"the run gave no finite {missing[0]}: return it from the pipeline, or log it"
            self._ended(trial, TrialState.FAILED, note=note)
            return
        known = {name: value for name, value in values.items() if value is not None}
        self._ended(replace(trial, values=known), TrialState.FINISHED)

    def _value(self, run: PipelineRun, metric: str) -> float | None:
        """A metric of a run: from what the pipeline returned, else from its tracked run."""
        found = value_in(run.result, metric)
        if found is None and self._desk.tracking is not None and run.tracked:
            point = self._desk.tracking.latest(run.id)[1].get(metric)
            found = point.value if point else None
        return found if found is not None and math.isfinite(found) else None

    def _give_up(self, running: list[Trial]) -> None:
        for trial in running:
            run = self._run_of(trial.run) if trial.run else None
            self._ended(trial, TrialState.FAILED, note="the search was given up", stop=run)

    def _ended(self, trial: Trial, state: TrialState, *, note: str = "", stop: PipelineRun | None = None) -> None:
        """Store a trial that is over, together with the end of its run when that goes on."""
        trial = replace(trial, state=state, note=note or trial.note, finished_at=self._desk.clock.now())
        said = {"state": str(state), "run": trial.run, "values": dict(trial.values)}
        facts: list[Fact] = [TrialEnded(subject=self._study.ref, trial=trial.number, **said)]  # type: ignore[arg-type]
        with self._desk.tables.write() as conn:
            self._check_ours(conn)
            records.put_trial(conn, self._study.id, trial)
            stopped = self._desk.pipelines.steering.stop(conn, stop, reason=note) if stop else None
            self._desk.journal.append(conn, *facts, *([stopped] if stopped else []))
        if stop and stopped:
            self._desk.pipelines.steering.close(stop)
        self._trials[trial.number] = trial
        self._sampling.tell(trial)
        self._failed_here += state is TrialState.FAILED
        self._told(trial)

    def _store(self, trial: Trial) -> None:
        with self._desk.tables.write() as conn:
            self._check_ours(conn)
            records.put_trial(conn, self._study.id, trial)
        self._trials[trial.number] = trial

    def _check_ours(self, conn: Connection, values: Mapping[str, object] | None = None) -> None:
        """Change the search, first of all in a transaction: nobody else does until its end.

        Raises:
            Fenced: The search was cancelled, or is another's.
        """
        lease = self._hold.lease
        if not records.change(conn, self._study.id, {"error": "", **(values or {})}, job_id=lease.job.id):
            raise Fenced("the search was cancelled, or another process has it", where=self._study.ref)
        self._desk.queue.renew(conn, lease, lease_s=self._desk.lease_s)

    def _check_state(self) -> None:
        with self._desk.tables.read() as conn:
            state, job_id = records.state_of(conn, self._study.id)
        if state.is_final or job_id != self._hold.lease.job.id:
            raise Fenced("the search was cancelled, or another process has it", where=self._study.ref)

    def _params(self, trial: Trial) -> dict[str, Json]:
        return {**self._search.params, **trial.params}

    def _run_of(self, run_id: str) -> PipelineRun:
        return self._desk.pipelines.glance(run_id)

    def _is_hopeless(self) -> bool:
        states = {trial.state for trial in self._trials.values() if trial.state is not TrialState.RUNNING}
        return self._failed_here >= _HOPELESS and states == {TrialState.FAILED}

    def _end(self) -> None:
        best = best_of([*self._trials.values()], self._search.objective)
        if not best:
            notes = [trial.note for trial in self._trials.values() if trial.note]
            self._close(SearchState.FAILED, f"no trial finished: {notes[-1] if notes else 'none was tried'}")
            return
        run = self._crowned(best[0]) if self._search.winner else None
        if run is not None and run.state is not RunState.FINISHED:
            self._close(SearchState.FAILED, f"the run of the winner {run.state}: {run.error}")
        else:
            self._close(SearchState.FINISHED)

    def _close(self, state: SearchState, error: str = "") -> None:
        with self._desk.tables.write() as conn:
            facts = self._desk.close(conn, self._study, state, error, job_id=self._hold.lease.job.id)
            self._desk.journal.append(conn, *facts)

    def _crowned(self, best: Trial) -> PipelineRun:
        """Run the best once more with what is for it alone. Returns that run when it is over."""
        params = {**self._params(best), **self._search.winner}
        if not self._queued:
            run = self._desk.pipelines.run_inline(self._pipeline or self._study.target, params)
            with self._desk.tables.write() as conn:
                self._check_ours(conn, {"winner": run.id})
            return run
        with self._desk.tables.write() as conn:
            self._check_ours(conn)
            run_id = self._put(conn, params, f"winner/{best.number}")
            self._check_ours(conn, {"winner": run_id})
        run = self._run_of(run_id)
        if run_id == self._study.winner and run.state in (RunState.FAILED, RunState.CANCELLED):
            self._desk.pipelines.steering.resume(run)
        while True:
            seen = self._desk.journal.last()
            run = self._run_of(run_id)
            if run.state.is_final:
                return run
            self._hold.check()
            self._check_state()
            self._desk.journal.wait(seen, _LOOK_S)
