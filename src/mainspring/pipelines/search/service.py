"""The verbs of searches: start, run, look, cancel, resume."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, Fenced, Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.engines import Engine, OutcomeState, ProcessEngine, Task
from mainspring.pipelines.decorators import Pipeline
from mainspring.pipelines.desk import ATTEMPTS
from mainspring.pipelines.desk import KIND as RUN
from mainspring.pipelines.desk import QUEUE as RUNS
from mainspring.pipelines.patience import PASSING
from mainspring.pipelines.search import child, records
from mainspring.pipelines.search.declaring import search_for, section_of
from mainspring.pipelines.search.driving import CUT_OFF, Desk, Drive, Told
from mainspring.pipelines.search.events import SearchResumed, SearchStarted
from mainspring.pipelines.search.model import Search, SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.rules import best_of
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.settling import HERE, end_lost, lost
from mainspring.pipelines.targets import AnyPipeline, check_inside, check_target, load_target
from mainspring.pipelines.worker import Heart, Hold, Stopping, Watching, Worker, never_stopping
from mainspring.storage.jobs import Lease, NewJob, job_id
from mainspring.storage.ports import Journal, Queue, Tables

if TYPE_CHECKING:
    from mainspring.core.events import Fact
    from mainspring.pipelines.model import PipelineRun
    from mainspring.tracking import Tracking

QUEUE, JOB = "searches", "pipelines.search"


class Searches:
    """Searches the parameters of pipelines, durably.

    Args:
        tables: Where searches and trials are kept.
        journal: The event log.
        queue: Whose leases see to it that one process drives a search.
        pipelines: Runs the trials.
        clock: Times of records.
        scratch: A folder for files of processes that look at pipelines or drive searches.
        tracking: Where metrics of trials are looked for that a pipeline does not return.
        sections: Gives the `[search.NAME]` sections of the settings as they are now, by name.
        house: "module:function" that opens the house in a process that drives a search.
        house_env: Environment variables that such a process needs for it.
        root: Folder that relative targets start from.
        lease_s: How long a search stays with a process that shows no sign of life.
        engine: Runs such processes; a child of this one by default.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        pipelines: Pipelines,
        clock: Clock,
        scratch: Path,
        tracking: Tracking | None = None,
        sections: Callable[[], Mapping[str, object]] = dict,
        house: str = "",
        house_env: Mapping[str, str] | None = None,
        root: Path | None = None,
        lease_s: float = 30.0,
        engine: Engine | None = None,
    ) -> None:
        self._desk = Desk(tables, journal, queue, clock, pipelines, tracking, lease_s)
        self._sections = sections
        self._house, self._house_env = house, dict(house_env or {})
        self._root = (root or Path.cwd()).absolute()
        self._scratch = scratch / "searches"
        self._heart = Heart(tables, queue, lease_s=lease_s)
        self._engine = engine or ProcessEngine()

    def start(
        self,
        target: AnyPipeline | str,
        changes: Mapping[str, object] | None = None,
        *,
        key: str = "",
        queue: bool = False,
        confined: bool = False,
    ) -> Study:
        """Note a search, after everything that can be known before its first trial was checked.

        Args:
            target: A pipeline, where it is ("path/to/file.py:function" or "package.module:function"), or the name of a
                section `[search.NAME]`.
            changes: What is other than declared, by the names of `Search`.
            key: The same key in the same project is the same search, however often it is asked for.
            queue: A worker of the server drives it, and goes on with it whatever dies; else `run` does, in this
                process.
            confined: For those who ask from another machine: refuse files outside the project folder, and look at the
                pipeline in a process of its own.
        Raises:
            NotFound: There is no such section or file.
            Invalid: Nothing is declared, the space does not fit the pipeline, or the package of the sampler is not
                installed.
            Refused: The file is not in the project folder, and `confined` was asked for.
        """
        study_id = job_id("search", caller().project, key) if key else new_id()
        if key and (known := self._known(study_id)) is not None:
            return known
        place, name, search = self._asked(target, dict(changes or {}), confined=confined)
        study = Study(
            id=study_id,
            pipeline=name,
            target=place,
            search=search,
            state=SearchState.QUEUED,
            job_id=new_id(),
            created_at=self._desk.clock.now(),
        )
        with self._desk.tables.write() as conn:
            if not records.add(conn, study):  # somebody else was sooner with the same key
                return records.find(conn, study.id) or study
            self._desk.queue.put(conn, replace(_job(study, queue=queue), id=study.job_id))
            fact = SearchStarted(subject=study.ref, pipeline=name, trials=search.trials)
            self._desk.journal.append(conn, fact)
        return study

    def _known(self, study_id: str) -> Study | None:
        with self._desk.tables.read() as conn:
            return records.find(conn, study_id)

    def run(
        self,
        study_id: str,
        *,
        workers: int = 0,
        pipeline: AnyPipeline | None = None,
        told: Told = lambda trial: None,
    ) -> Study:
        """Do what is left of a search in this process, and return it when it has ended, well or not.

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
        if study.search.prune and not workers:
            raise Invalid(
                "trials in this process cannot be stopped", where="search prune", hint="use workers: --workers 1"
            )
        queue = self._desk.queue.get(study.job_id).queue
        is_here = queue.startswith(f"{HERE}-")
        lease = self._desk.queue.lease(f"search {study.id}", [queue], lease_s=self._desk.lease_s) if is_here else None
        if lease is None:
            raise Conflict("another process drives this search", where=study.ref, hint="wait for it, or cancel it")
        hold = Hold(lease, never_stopping())
        worker = self._worker(workers) if workers else None
        try:
            with self._heart.beating(hold):
                if worker is not None:
                    worker.start()
                with suppress(Fenced):  # it was cancelled from elsewhere, and says so
                    Drive(self._desk, study, hold, told=told, pipeline=pipeline, queued=worker is not None).run()
        except BaseException as reason:
            if isinstance(reason, MainspringError):
                self._cut_off(study, SearchState.FAILED, str(reason), job_id=lease.job.id)
            else:
                self.cancel(study.id, reason="interrupted")
            raise
        finally:
            if worker is not None:
                worker.stop(timeout_s=10.0)
            with suppress(Fenced), self._desk.tables.write() as conn:
                self._desk.queue.finish(conn, lease, {})
        return self.get(study.id)

    def work_once(self, lease: Lease) -> None:
        """Have a search driven by a process of its own, for `Worker` handlers.

        Raises:
            Fenced: The lease was lost or the search cancelled; nothing more is stored.
        """
        with calling(Caller(lease.job.actor, lease.job.project)):
            study = self.get(str(lease.job.payload["search"]))
            if not study.state.is_final:
                self._have_driven(study, lease)

    def drive(self, job_id: str, worker: str, attempt: int) -> Study:
        """Drive the search of a job that another process holds and keeps alive. Returns it when there is no more to do.

        Args:
            job_id: The job.
            worker: Who holds it.
            attempt: The fencing token of its lease.
        """
        lease = Lease(self._desk.queue.get(job_id), worker, attempt, 0)
        study = self.get(str(lease.job.payload["search"]))
        with suppress(Fenced):  # it was cancelled, or is another's by now, who says more
            Drive(self._desk, study, Hold(lease, never_stopping())).run()
        return self.get(study.id)

    def get(self, study_id: str) -> Study:
        """A search with its trials.

        Raises:
            NotFound: There is none of that id in the project.
        """
        with self._desk.tables.read() as conn:
            found = records.find(conn, study_id.removeprefix("searches/"))
        if found is None:
            raise NotFound(f"no search {study_id!r}", where="searches", hint="mainspring search ls")
        return found

    def studies(self, pipeline: str = "", *, before: int = 0, limit: int = 100) -> list[Study]:
        """Searches, newest first, of one pipeline or of all; for the next page pass the last one's `created_at`."""
        with self._desk.tables.read() as conn:
            return records.newest(conn, pipeline=pipeline, before=before, limit=max(1, min(limit, 1000)))

    def best(self, study: Study) -> list[Trial]:
        """The best trial; of several objectives all that no other is better than in every one."""
        return best_of(study.trials, study.search.objective)

    def sections(self) -> list[str]:
        """Names of the searches that `mainspring.toml` declares now."""
        return sorted(self._sections())

    def cancel(self, study_id: str, *, reason: str = "") -> bool:
        """Stop a search and the trials that run; what is known stays.

        Returns: False when it had ended already.
        Raises:
            NotFound: There is none of that id.
        """
        return self._cut_off(self.get(study_id), SearchState.CANCELLED, reason)

    def resume(self, study_id: str, *, trials: int = 0, queue: bool = False) -> Study:
        """Go on with a search that was cancelled, failed, lost its process, or is to have more trials.

        Args:
            study_id: Which.
            trials: So many more.
            queue: As for `start`.
        Raises:
            NotFound: There is none of that id.
            Conflict: It is under way.
            Invalid: It has all its trials, and no more are asked for.
        """
        study = self.get(study_id)
        if trials < 0:
            raise Invalid(f"{trials} trials more", where="trials", hint="use 0 or more")
        if not study.state.is_final and not lost(self._desk.tables, self._desk.queue, study.job_id):
            hint = f"look: mainspring search show {study.id}"
            raise Conflict(f"it is {study.state} already", where=study.ref, hint=hint)
        wanted = replace(study.search, trials=study.search.trials + trials)
        is_whole = study.state is SearchState.FINISHED or not self.best(study)
        if study.ended >= wanted.trials and is_whole:
            raise Invalid(f"all {study.ended} trials are done", where=study.ref, hint="ask for more: --trials 20")
        values = {"state": SearchState.QUEUED, "error": "", "finished_at": 0}
        with self._desk.tables.write() as conn:
            if not records.change(conn, study.id, values, states=[study.state], job_id=study.job_id):
                raise Conflict("somebody else changed it just now", where=study.ref, hint="look at it")
            self._desk.queue.cancel(conn, study.job_id)
            records.change(conn, study.id, {"job_id": self._desk.queue.put(conn, _job(study, queue=queue))})
            records.change_search(conn, study.id, wanted)
            self._desk.journal.append(conn, SearchResumed(subject=study.ref, trials=wanted.trials))
        return self.get(study.id)

    def settle(self) -> int:
        """End searches that nobody will drive any more: their job is dead, or the process that drove them is gone.

        Returns: How many there were, over all projects.
        """
        with self._desk.tables.read() as conn:
            waiting = records.unfinished(conn)
        return end_lost("searches", self._desk.tables, self._desk.queue, waiting, self._end_lost)

    def _end_lost(self, study_id: str, reason: str) -> bool:
        return self._cut_off(self.get(study_id), SearchState.FAILED, reason)

    def _asked(
        self, target: AnyPipeline | str, changes: dict[str, object], *, confined: bool
    ) -> tuple[str, str, Search]:
        if isinstance(target, Pipeline):
            place = f"{target.function.__module__}:{target.function.__qualname__}"
            return place, target.name, search_for(target, {}, changes)
        target, section = section_of(target, self._sections() if ":" not in target else {})
        if confined:
            check_inside(target, self._root)
        place = check_target(target, self._root)
        if not confined:
            pipeline = load_target(place, self._root)
            return place, pipeline.name, search_for(pipeline, section, changes)
        folder = self._scratch / new_id()
        try:
            said = {"section": section, "changes": changes}
            return place, *child.look_at(self._engine, place, self._root, folder, said)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _have_driven(self, study: Study, lease: Lease) -> None:
        who, folder = caller(), self._scratch / study.id / str(lease.attempt)
        payload: dict[str, object] = {"house": self._house, "actor": who.actor, "project": who.project}
        payload |= {"job": lease.job.id, "worker": lease.worker, "attempt": lease.attempt}
        task = Task(entry=child.DRIVE, payload=payload, folder=folder, cwd=self._root, env=self._house_env)
        try:
            outcome = self._engine.run(task, Watching())
        except Stopping:
            self._give_back(study, lease, "")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if outcome.state is OutcomeState.FINISHED or outcome.error is None:
            return
        if outcome.state is OutcomeState.DIED or isinstance(outcome.error, PASSING):
            self._give_back(study, lease, str(outcome.error))
            raise outcome.error
        self._cut_off(study, SearchState.FAILED, str(outcome.error), job_id=lease.job.id)

    def _give_back(self, study: Study, lease: Lease, error: str) -> None:
        """Another process goes on with it, as soon as the job is given out again."""
        with self._desk.tables.write() as conn:
            values = {"state": SearchState.QUEUED, "error": error}
            records.change(conn, study.id, values, states=[SearchState.RUNNING], job_id=lease.job.id)

    def _cut_off(self, study: Study, state: SearchState, error: str, *, job_id: str = "") -> bool:
        """End a search, its job and the runs under way for it, all at once. False when it was over."""
        steering = self._desk.pipelines.steering
        with self._desk.tables.write() as conn:
            facts = self._desk.close(conn, study, state, error, job_id=job_id)
            if not facts:
                return False
            now = records.find(conn, study.id) or study
            self._desk.queue.cancel(conn, now.job_id)
            open_runs = [trial.run for trial in now.trials if trial.state is TrialState.RUNNING]
            stopped: list[tuple[PipelineRun, Fact]] = []
            for run_id in filter(None, [*open_runs, now.winner]):
                with suppress(NotFound):
                    run = self._desk.pipelines.glance(run_id)
                    fact = steering.stop(conn, run, reason=CUT_OFF)
                    stopped += [(run, fact)] if fact else []
            self._desk.journal.append(conn, *facts, *(fact for _, fact in stopped))
        for run, _ in stopped:
            steering.close(run)
        return True

    def _worker(self, threads: int) -> Worker:
        """A worker that takes runs from the queue of pipelines."""
        return Worker(
            self._desk.tables,
            self._desk.queue,
            {RUN: self._desk.pipelines.work_once},
            queues=(RUNS,),
            threads=threads,
            lease_s=self._desk.lease_s,
            poll_s=0.05,
            chores=(self._desk.pipelines.settle,),
        )


def _job(study: Study, *, queue: bool) -> NewJob:
    return NewJob(
        queue=QUEUE if queue else f"{HERE}-{study.id}",
        kind=JOB,
        payload={"search": study.id},
        max_attempts=ATTEMPTS if queue else 1,
    )
