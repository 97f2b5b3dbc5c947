"""The verbs of searches: start, run, look, cancel, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, Fenced, Invalid, MainspringError, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.pipelines.decorators import Pipeline
from mainspring.pipelines.ledger import KIND, QUEUE
from mainspring.pipelines.model import Json, PipelineRun, RunState
from mainspring.pipelines.search import declared, records
from mainspring.pipelines.search.events import SearchEnded, SearchStarted, TrialEnded
from mainspring.pipelines.search.model import Search, SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.rules import best_of, corners, search_of, value_in
from mainspring.pipelines.search.sampling import Sampling, check_installed
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.targets import AnyPipeline, check_target, load_target
from mainspring.pipelines.worker import Heart, Hold, Worker, never_stopping
from mainspring.storage.jobs import NewJob
from mainspring.storage.ports import Journal, Queue, Tables

if TYPE_CHECKING:
    from mainspring.core.events import Fact
    from mainspring.tracking import Tracking

Told = Callable[[Trial], None]
"""Hears of each trial that ended."""
JOB = "pipelines.search"
_POLL_S = 0.1
_HOPELESS = 5
"""A search ends when so many trials failed and none did not."""


class Searches:
    """Searches the parameters of pipelines, durably.

    Args:
        tables: Where searches and trials are kept.
        journal: The event log.
        queue: Whose leases see to it that one process drives a search.
        pipelines: Runs the trials.
        clock: Times of records.
        tracking: Where metrics of trials are looked for that a pipeline does not return.
        sections: The `[search.NAME]` sections of the settings, by name.
        root: Folder that relative targets start from.
        lease_s: How long a search stays with a process that shows no sign of life.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        pipelines: Pipelines,
        clock: Clock,
        tracking: Tracking | None = None,
        sections: Mapping[str, object] | None = None,
        root: Path | None = None,
        lease_s: float = 30.0,
    ) -> None:
        self._tables, self._journal, self._queue, self._clock = tables, journal, queue, clock
        self._pipelines, self._tracking = pipelines, tracking
        self._sections = dict(sections or {})
        self._root = (root or Path.cwd()).absolute()
        self._lease_s = lease_s
        self._heart = Heart(tables, queue, lease_s=lease_s)

    def start(self, target: AnyPipeline | str, changes: Mapping[str, object] | None = None) -> Study:
        """Note a search, after everything that can be known before its first trial was checked.

        Args:
            target: A pipeline, where it is ("path/to/file.py:function" or "package.module:function"), or the name of a
                section `[search.NAME]`.
            changes: What is other than declared, by the names of `Search`.
        Raises:
            NotFound: There is no such section or file.
            Invalid: Nothing is declared, or the space does not fit the pipeline.
            Failed: The package of the sampler is not installed.
        """
        place, pipeline, search = self._declared(target, dict(changes or {}))
        check_installed(search.method)
        _check_fits(pipeline, search)
        study = Study(
            id=new_id(),
            pipeline=pipeline.name,
            target=place,
            search=search,
            state=SearchState.RUNNING,
            created_at=self._clock.now(),
        )
        with self._tables.write() as conn:
            records.add(conn, study)
            fact = SearchStarted(subject=study.ref, pipeline=pipeline.name, trials=search.trials)
            self._journal.append(conn, fact)
        return study

    def run(
        self,
        study_id: str,
        *,
        workers: int = 0,
        pipeline: AnyPipeline | None = None,
        told: Told = lambda trial: None,
    ) -> Study:
        """Do what is left of a search, and return it when it has ended, well or not.

        Args:
            study_id: Which.
            workers: Threads of this process that take trials from the queue, each trial in a process of its own; with
                0 trials run in this process, one after the other.
            pipeline: The pipeline itself, when it is not to be loaded from its target.
            told: Hears of trials.
        Raises:
            NotFound: There is none of that id.
            Conflict: Another process drives it.
        """
        study = self.get(study_id)
        queue = f"search-{study.id}"
        if study.search.prune and not workers:
            raise Invalid(
                "trials in this process cannot be stopped", where="search prune", hint="use workers: --workers 1"
            )
        with self._tables.write() as conn:
            job = NewJob(queue=queue, kind=JOB, payload={"search": study.id}, key=study.id, max_attempts=1000)
            self._queue.put(conn, job)
        lease = self._queue.lease(f"search {study.id}", [queue], lease_s=self._lease_s)
        if lease is None:
            raise Conflict("another process drives this search", where=study.ref, hint="wait for it, or cancel it")
        hold = Hold(lease, never_stopping())
        try:
            with self._heart.beating(hold):
                _Drive(self, study, hold, told, pipeline).run(workers)
        except BaseException as reason:
            if not isinstance(reason, MainspringError):
                self.cancel(study.id, reason="interrupted")
            raise
        finally:
            with suppress(Fenced), self._tables.write() as conn:
                self._queue.finish(conn, lease, {})
        return self.get(study.id)

    def get(self, study_id: str) -> Study:
        """A search with its trials.

        Raises:
            NotFound: There is none of that id in the project.
        """
        with self._tables.read() as conn:
            found = records.find(conn, study_id.removeprefix("searches/"))
        if found is None:
            raise NotFound(f"no search {study_id!r}", where="searches", hint="mainspring search ls")
        return found

    def studies(self, pipeline: str = "", *, before: int = 0, limit: int = 100) -> list[Study]:
        """Searches, newest first, of one pipeline or of all; for the next page pass the last one's `created_at`."""
        with self._tables.read() as conn:
            return records.newest(conn, pipeline=pipeline, before=before, limit=max(1, min(limit, 1000)))

    def best(self, study: Study) -> list[Trial]:
        """The best trial; of several objectives all that no other is better than in every one."""
        return best_of(study.trials, study.search.objective)

    def cancel(self, study_id: str, *, reason: str = "") -> bool:
        """Stop a search and the trials that run; what is known stays.

        Returns: False when it had ended already.
        Raises:
            NotFound: There is none of that id.
        """
        study = self.get(study_id)
        ended = self.end(study, SearchState.CANCELLED, reason)
        for trial in study.trials if ended else ():
            if trial.state is TrialState.RUNNING and trial.run:
                with suppress(NotFound):
                    self._pipelines.cancel(trial.run, reason="the search was cancelled")
        return ended

    def resume(self, study_id: str, *, trials: int = 0) -> Study:
        """Go on with a search that was cancelled, failed, or is to have more trials; `run` does the work.

        Args:
            study_id: Which.
            trials: So many more.
        Raises:
            NotFound: There is none of that id.
            Invalid: It has all its trials, and no more are asked for.
        """
        study = self.get(study_id)
        ended = sum(trial.state is not TrialState.RUNNING for trial in study.trials)
        if ended >= study.search.trials + trials:
            raise Invalid(f"all {ended} trials are done", where=study.ref, hint="ask for more: --trials 20")
        with self._tables.write() as conn:
            records.change_search(conn, study.id, replace(study.search, trials=study.search.trials + trials))
            values = {"state": SearchState.RUNNING, "error": "", "finished_at": 0}
            records.change(conn, study.id, values, states=tuple(SearchState))
        return self.get(study.id)

    def keep(self, study: Study, trial: Trial) -> None:
        """Store a trial, and say so when it ended.

        Raises:
            Fenced: The search was cancelled.
        """
        facts: list[Fact] = []
        if trial.state is not TrialState.RUNNING:
            said = {"state": str(trial.state), "run": trial.run, "values": dict(trial.values)}
            facts.append(TrialEnded(subject=study.ref, trial=trial.number, **said))  # type: ignore[arg-type]
        with self._tables.write() as conn:
            if not records.change(conn, study.id, {"error": ""}):
                raise Fenced("the search was cancelled", where=study.ref)
            records.put_trial(conn, study.id, trial)
            if facts:
                self._journal.append(conn, *facts)

    def end(self, study: Study, state: SearchState, error: str = "", *, winner: str = "") -> bool:
        """Close a search; False when it is closed already."""
        values = {"state": state, "error": error, "winner": winner, "finished_at": self._clock.now()}
        numbers = tuple(trial.number for trial in self.best(self.get(study.id)))
        with self._tables.write() as conn:
            if not records.change(conn, study.id, values):
                return False
            fact = SearchEnded(subject=study.ref, state=str(state), best=numbers, error=error)
            self._journal.append(conn, fact)
        return True

    def now(self) -> int:
        """The time of records."""
        return self._clock.now()

    def try_here(self, pipeline: AnyPipeline | str, params: Mapping[str, Json]) -> PipelineRun:
        """Run a trial in this process."""
        return self._pipelines.run_inline(pipeline, params)

    def try_queued(self, study: Study, params: Mapping[str, Json], key: str) -> str:
        """Put a trial on the queue; its id."""
        return self._pipelines.submit(study.target, params, key=f"{study.id}/{key}")

    def run_of(self, trial: Trial) -> PipelineRun:
        """The run of a trial."""
        return self._pipelines.get(trial.run)

    def stop_run(self, run: str, reason: str) -> None:
        """Stop the run of a trial."""
        self._pipelines.cancel(run, reason=reason)

    def worker(self, threads: int) -> Worker:
        """A worker that takes runs from the queue of pipelines."""
        return Worker(
            self._tables,
            self._queue,
            {KIND: self._pipelines.work_once},
            queues=(QUEUE,),
            threads=threads,
            lease_s=self._lease_s,
            poll_s=0.05,
            chores=(self._pipelines.settle,),
        )

    def value(self, run: PipelineRun, metric: str) -> float | None:
        """A metric of a run: from what the pipeline returned, else from its tracked run."""
        found = value_in(run.result, metric)
        if found is None and self._tracking is not None and run.tracked:
            point = self._tracking.latest(run.id)[1].get(metric)
            found = point.value if point else None
        return found if found is not None and math.isfinite(found) else None

    def steps(self, run: str, metric: str) -> list[tuple[int, float]]:
        """What a run has logged of a metric so far, step by step."""
        if self._tracking is None:
            return []
        try:
            points = self._tracking.history(run, metric)
        except NotFound:  # its first step has not begun
            return []
        return [(point.step, point.value) for point in points if math.isfinite(point.value)]

    def _declared(self, target: AnyPipeline | str, changes: dict[str, object]) -> tuple[str, AnyPipeline, Search]:
        if isinstance(target, Pipeline):
            place = f"{target.function.__module__}:{target.function.__qualname__}"
            return place, target, self._merged(target, {}, changes)
        section: dict[str, object] = {}
        if ":" not in target:
            found = self._sections.get(target)
            if not isinstance(found, Mapping):
                hint = did_you_mean(target, self._sections) or f"write [search.{target}], or name FILE.py:PIPELINE"
                raise NotFound(f"no search {target!r}", where="search", hint=hint)
            section = {str(name): value for name, value in found.items()}
            target = str(section.pop("pipeline", ""))
        place = check_target(target, self._root)
        pipeline = load_target(place, self._root)
        return place, pipeline, self._merged(pipeline, section, changes)

    def _merged(self, pipeline: AnyPipeline, section: dict[str, object], changes: dict[str, object]) -> Search:
        said = declared(pipeline)
        first = {name: getattr(said, name) for name in Search.__dataclass_fields__} if said else {}
        if not (first or section or changes):
            hint = "write @search(space=..., objective=...) above @pipeline, or a section [search.NAME]"
            raise Invalid(f"nothing is declared to search {pipeline.name} for", where="search", hint=hint)
        params = {**first.get("params", {}), **_table(section, "params"), **_table(changes, "params")}
        return search_of({**first, **section, **changes, "params": params}, where="search")


class _Drive:
    """One process driving one search."""

    def __init__(self, searches: Searches, study: Study, hold: Hold, told: Told, pipeline: AnyPipeline | None) -> None:
        self._searches, self._study, self._hold, self._told = searches, study, hold, told
        self._search = study.search
        self._pipeline = pipeline
        self._sampling = Sampling(study.search, study.trials)
        self._trials = {trial.number: trial for trial in study.trials}

    def run(self, workers: int) -> None:
        """Trials until there are enough, then the run of the winner."""
        worker = self._searches.worker(workers) if workers else None
        if worker is not None:
            worker.start()
        try:
            with suppress(Fenced):  # it was cancelled from elsewhere, and says so
                self._until_done(queued=worker is not None)
                self._end(queued=worker is not None)
        finally:
            if worker is not None:
                worker.stop(timeout_s=10.0)

    def _until_done(self, *, queued: bool) -> None:
        while True:
            self._hold.check()
            running = [trial for trial in self._trials.values() if trial.state is TrialState.RUNNING]
            if self._is_hopeless():
                return self._give_up(running)
            room = (self._search.parallel if queued else 1) - len(running)
            for _ in range(min(room, self._search.trials - len(self._trials))):
                running.append(self._new())
            if not running:
                return None
            for trial in running:
                self._look(trial) if queued else self._try(trial)
            if queued:
                self._check_state()
                time.sleep(_POLL_S)

    def _give_up(self, running: list[Trial]) -> None:
        for trial in running:
            if trial.run:
                self._searches.stop_run(trial.run, "the search was given up")
            self._ended(trial, TrialState.FAILED, note="the search was given up")

    def _new(self) -> Trial:
        number = len(self._trials)
        params = self._sampling.ask(number)
        trial = Trial(number=number, state=TrialState.RUNNING, params=params, started_at=self._searches.now())
        self._store(trial)
        return trial

    def _try(self, trial: Trial) -> None:
        """Run a trial here and now."""
        try:
            run = self._searches.try_here(self._pipeline or self._study.target, self._params(trial))
        except MainspringError as reason:
            self._ended(trial, TrialState.FAILED, note=str(reason))
            return
        self._judge(replace(trial, run=run.id, tries=trial.tries + 1), run)

    def _look(self, trial: Trial) -> None:
        """See how far a queued trial is; put it on the queue when it is not there."""
        if not trial.run:
            tries = trial.tries + 1
            run = self._searches.try_queued(self._study, self._params(trial), f"{trial.number}/{tries}")
            self._store(replace(trial, run=run, tries=tries))
            return
        run_now = self._searches.run_of(trial)
        if self._search.prune:
            trial = self._with_steps(trial)  # of one that ended, too: others are compared with it
        if run_now.state.is_final:
            self._judge(trial, run_now)
        elif trial.state is TrialState.RUNNING and self._is_behind(trial):
            at = trial.steps[-1][0]
            self._searches.stop_run(trial.run, f"pruned at step {at}")
            self._ended(trial, TrialState.PRUNED, note=f"behind the others at step {at}")

    def _with_steps(self, trial: Trial) -> Trial:
        known = len(trial.steps)
        found = self._searches.steps(trial.run, next(iter(self._search.objective)))
        trial = replace(trial, steps=tuple(dict(found).items()))
        self._sampling.report(trial.number, trial.steps[known:])
        self._trials[trial.number] = trial
        return trial

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
        values = {name: self._searches.value(run, name) for name in self._search.objective}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            note = f"the run gave no finite {missing[0]}: return it from the pipeline, or log it"
            self._ended(trial, TrialState.FAILED, note=note)
            return
        known = {name: value for name, value in values.items() if value is not None}
        self._ended(replace(trial, values=known), TrialState.FINISHED)

    def _ended(self, trial: Trial, state: TrialState, *, note: str = "") -> None:
        trial = replace(trial, state=state, note=note or trial.note, finished_at=self._searches.now())
        self._store(trial)
        self._sampling.tell(trial)
        self._told(trial)

    def _store(self, trial: Trial) -> None:
        self._searches.keep(self._study, trial)
        self._trials[trial.number] = trial

    def _params(self, trial: Trial) -> dict[str, Json]:
        return {**self._search.params, **trial.params}

    def _check_state(self) -> None:
        if self._searches.get(self._study.id).state is not SearchState.RUNNING:
            raise Fenced("the search was cancelled", where=self._study.ref)

    def _is_hopeless(self) -> bool:
        states = [trial.state for trial in self._trials.values() if trial.state is not TrialState.RUNNING]
        return len(states) >= _HOPELESS and set(states) == {TrialState.FAILED}

    def _end(self, *, queued: bool) -> None:
        best = best_of([*self._trials.values()], self._search.objective)
        if not best:
            notes = [trial.note for trial in self._trials.values() if trial.note]
            error = f"no trial finished: {notes[-1] if notes else 'none was tried'}"
            self._searches.end(self._study, SearchState.FAILED, error)
            return
        winner = self._crown(best[0], queued=queued) if self._search.winner else ""
        self._searches.end(self._study, SearchState.FINISHED, winner=winner)

    def _crown(self, best: Trial, *, queued: bool) -> str:
        """Run the best once more with what is for it alone."""
        params = {**self._params(best), **self._search.winner}
        if not queued:
            run = self._searches.try_here(self._pipeline or self._study.target, params)
            return self._crowned(run)
        run_id = self._searches.try_queued(self._study, params, "winner")
        trial = replace(best, run=run_id)
        while not (run := self._searches.run_of(trial)).state.is_final:
            self._hold.check()
            self._check_state()
            time.sleep(_POLL_S)
        return self._crowned(run)

    def _crowned(self, run: PipelineRun) -> str:
        if run.state is not RunState.FINISHED:
            self._searches.end(self._study, SearchState.FAILED, f"the run of the winner {run.state}: {run.error}")
            raise Fenced("the run of the winner did not finish", where=self._study.ref)
        return run.id


def _table(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise Invalid(f"{name} is no table", where=f"search {name}", hint="write { name = value }")
    return found


def _check_fits(pipeline: AnyPipeline, search: Search) -> None:
    """Draw the pipeline with each end of each range: what it does not take is refused now and not in the tenth trial.

    Raises:
        Invalid: A parameter is unknown, has the wrong type, or is both searched and fixed.
    """
    for name in search.space:
        if name in search.params:
            hint = "take it out of the space or out of params"
            raise Invalid(f"{name} is searched and fixed at once", where="search params", hint=hint)
    ends = corners(search.space)
    usual = dict(reversed(ends))
    for name, value in ends:
        try:
            pipeline.draw({**search.params, **usual, name: value})
        except Invalid as reason:
            raise Invalid(reason.what, where=f"search, {name} = {value!r}", hint=reason.hint) from None
    if search.winner:
        pipeline.draw({**search.params, **usual, **search.winner})
