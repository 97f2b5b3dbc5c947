"""The verbs of training: start a leaderboard, work on it, look, cancel, resume."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, Failed, Fenced, Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits.model import Split, SplitSpec
from mainspring.data.splits.service import Splits
from mainspring.engines import Engine, InlineEngine, OutcomeState, ProcessEngine, Task
from mainspring.pipelines.settling import HERE, end_lost
from mainspring.pipelines.worker import Heart, Hold, Stopping, never_stopping
from mainspring.storage.jobs import Lease, NewJob, job_id
from mainspring.storage.ports import Journal, Queue, Tables
from mainspring.tracking import Tracking
from mainspring.training import child, families, records
from mainspring.training.events import TrainingCancelled, TrainingFailed, TrainingRequested
from mainspring.training.families.stacking import NAME as STACKING
from mainspring.training.model import Candidate, CandidateState, Leaderboard, LeaderboardState, TrainRequest
from mainspring.training.rules import check_metric
from mainspring.training.watching import Desk, Told, Watching, close_run

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import DatasetVersion
    from mainspring.training.preparing import Look

QUEUE, KIND = "training", "training.leaderboard"
ATTEMPTS = 10


class Training:
    """Makes leaderboards, durably: whatever is killed goes on where it was.

    Args:
        tables: Metadata.
        journal: The event log.
        queue: Where leaderboards wait for a worker.
        data: The rows.
        splits: Who is trained on what, and what is sealed.
        clock: Times of records.
        scratch: A folder for files of work under way.
        tracking: Each candidate is a tracked run there, all of them part of one.
        wiring: The house, for work in this process.
        house: "module:function" that opens the house in a child process.
        house_env: Environment variables that the child needs for it.
        root: Working directory of children.
        engine: "process" or "inline": where the work is done.
        lease_s: How long a leaderboard stays with a worker that shows no sign of life.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        data: Data,
        splits: Splits,
        clock: Clock,
        scratch: Path,
        tracking: Tracking | None = None,
        wiring: Wiring | None = None,
        house: str = "",
        house_env: Mapping[str, str] | None = None,
        root: Path | None = None,
        engine: str = "process",
        lease_s: float = 30.0,
    ) -> None:
        self._desk = Desk(tables, journal, queue, clock, tracking, lease_s)
        self._data, self._splits = data, splits
        self._scratch = scratch
        self._wiring, self._house, self._house_env = wiring, house, dict(house_env or {})
        self._root = (root or Path.cwd()).absolute()
        engines: dict[str, Engine] = {"process": ProcessEngine(), "inline": InlineEngine()}
        self._engine = engines[engine]
        self._heart = Heart(tables, queue, lease_s=lease_s)

    def start(self, request: TrainRequest, *, here: bool = False) -> Leaderboard:
        """Look at the rows, make the split, and put the leaderboard on the queue.

        Args:
            request: What is asked for.
            here: For `work` in this process: no worker takes it.
        Raises:
            NotFound: No such dataset, version or split.
            Invalid: Something in the request does not fit the rows; nothing was begun.
        """
        version = self._data.resolve(request.data)
        self._check_names(request, version)
        chosen = [families.family(name) for name in request.families or families.names()]
        missing = [kind.NAME for kind in chosen if not kind.is_there()]
        if request.families and missing:
            hint = f"pip install 'mainspring[{missing[0]}]'"
            raise Invalid(f"the package of the family {missing[0]} is not installed here", where="families", hint=hint)
        from mainspring.training.preparing import look_at

        frame = self._data.frame(version.dataset, version.number).collect()
        left_out = [*request.leave_out, *([request.group] if request.group else [])]
        look = look_at(frame, request.target, task=request.task, leave_out=left_out, folds=self._folds(request))
        metric = check_metric(request.metric, look.task)
        split = self._split(request, version, look)
        board = Leaderboard(
            id=new_id(),
            request=request,
            dataset=version.ref,
            split=split.ref,
            task=look.task,
            metric=metric,
            state=LeaderboardState.QUEUED,
            classes=look.classes,
            columns=look.columns,
            left_out=look.left_out,
            warnings=self._warnings(frame, look, split, request.target),
            created_at=self._desk.clock.now(),
        )
        board = replace(board, candidates=tuple(_candidates(board, [kind for kind in chosen if kind.is_there()])))
        return self._add(board, here=here)

    def work(self, leaderboard_id: str, told: Told = lambda candidate: None) -> Leaderboard:
        """Do the work of a leaderboard that was started with `here`, and return it when it has ended, well or not."""
        job = self._desk.queue.get(self.get(leaderboard_id).job_id)
        lease = self._desk.queue.lease(f"inline {leaderboard_id}", [job.queue], lease_s=self._desk.lease_s)
        if lease is None:
            raise Failed("the leaderboard is being worked on elsewhere", where=f"leaderboards/{leaderboard_id}")
        with self._heart.beating(Hold(lease, never_stopping())):
            try:
                with suppress(Fenced):  # cancelled from elsewhere: the leaderboard says so
                    self._work(lease, told)
            except BaseException:
                self.cancel(leaderboard_id, reason="interrupted")
                raise
        return self.get(leaderboard_id)

    def work_once(self, lease: Lease) -> None:
        """Do the work of one lease, for `Worker` handlers; it finishes the job itself.

        Raises:
            Fenced: The lease was lost or the leaderboard cancelled; nothing more is stored.
        """
        with calling(Caller(lease.job.actor, lease.job.project)):
            self._work(lease, lambda candidate: None)

    def get(self, leaderboard_id: str) -> Leaderboard:
        """A leaderboard with its candidates, the best first.

        Raises:
            NotFound: There is none of that id in the project.
        """
        with self._desk.tables.read() as conn:
            found = records.find(conn, leaderboard_id.removeprefix("leaderboards/"))
        if found is None:
            raise NotFound(f"no leaderboard {leaderboard_id!r}", where="training", hint="mainspring training ls")
        return found

    def leaderboards(self, dataset: str = "", *, before: int = 0, limit: int = 100) -> list[Leaderboard]:
        """Leaderboards, newest first.

        Args:
            dataset: Only of the dataset of this name.
            before: Only those created before this time in microseconds, for the next page; 0 for all.
            limit: At most this many, 1 to 1000.
        """
        with self._desk.tables.read() as conn:
            return records.newest(conn, dataset=dataset, before=before, limit=max(1, min(limit, 1000)))

    def cancel(self, leaderboard_id: str, *, reason: str = "") -> bool:
        """Stop a leaderboard; what was measured stays.

        Returns: False when it had ended already.
        Raises:
            NotFound: There is none of that id.
        """
        board = self.get(leaderboard_id)
        values = {"state": LeaderboardState.CANCELLED, "finished_at": self._desk.clock.now(), "error": reason}
        with self._desk.tables.write() as conn:
            if not records.change(conn, board.id, values):
                return False
            self._desk.journal.append(conn, TrainingCancelled(subject=board.ref, reason=reason))
            self._desk.queue.cancel(conn, board.job_id)
        self._close_runs(board, "killed")
        return True

    def resume(self, leaderboard_id: str, *, budget_s: float = 0.0, here: bool = False) -> Leaderboard:
        """Go on with a leaderboard that failed, was cancelled or ran out of budget.

        Args:
            leaderboard_id: Which.
            budget_s: More seconds on top of the budget; what was skipped for want of time gets another chance.
            here: As for `start`.
        Raises:
            NotFound: There is none of that id.
            Conflict: It is under way.
            Invalid: Nothing is left of the budget, and no more is given.
        """
        board = self.get(leaderboard_id)
        if not board.state.is_final:
            hint = f"mainspring training show {board.id}"
            raise Conflict(f"it is {board.state} already", where=board.ref, hint=hint)
        if board.left_s + budget_s <= 0.5:
            raise Invalid("nothing is left of the budget", where=board.ref, hint="give more seconds: --budget 60")
        request = replace(board.request, budget_s=board.request.budget_s + budget_s)
        job = self._job(board, here=here, again=True)
        with self._desk.tables.write() as conn:
            values = {"state": LeaderboardState.QUEUED, "finished_at": 0, "error": ""}
            values |= {"job_id": self._desk.queue.put(conn, job)}
            records.change(conn, board.id, values, states=tuple(LeaderboardState))
            records.change_request(conn, board.id, request)
            of = (CandidateState.SKIPPED, CandidateState.RUNNING)
            records.change_open(conn, board.id, to=CandidateState.WAITING, note="", of=of)
        return self.get(board.id)

    def settle(self) -> int:
        """End leaderboards that nobody will work on any more: their job is dead, or its process is gone.

        Returns: How many there were, over all projects.
        """
        with self._desk.tables.read() as conn:
            waiting = records.unfinished(conn)
        return end_lost("training", self._desk.tables, self._desk.queue, waiting, self._end_lost)

    def _add(self, board: Leaderboard, *, here: bool) -> Leaderboard:
        job = self._job(board, here=here)
        with self._desk.tables.write() as conn:
            board = replace(board, job_id=self._desk.queue.put(conn, job))
            records.add(conn, board)
            fact = TrainingRequested(
                subject=board.ref,
                dataset=board.dataset,
                target=board.request.target,
                split=board.split,
                candidates=len(board.candidates),
            )
            self._desk.journal.append(conn, fact)
        return self.get(board.id)

    def _job(self, board: Leaderboard, *, here: bool, again: bool = False) -> NewJob:
        return NewJob(
            queue=f"{HERE}-{board.id}" if here else QUEUE,
            kind=KIND,
            payload={"leaderboard": board.id},
            id=new_id() if again else job_id("leaderboard", board.id),
            max_attempts=1 if here else ATTEMPTS,
        )

    def _work(self, lease: Lease, told: Told) -> None:
        board = self.get(str(lease.job.payload["leaderboard"]))
        if board.state.is_final:
            with self._desk.tables.write() as conn:
                self._desk.queue.finish(conn, lease, {"state": board.state})
            return
        folder = self._scratch / "training" / board.id / str(lease.attempt)
        watching = Watching(self._desk, board, lease, told)
        try:
            watching.start()
            self._run(board, watching, folder)
        except Stopping as reason:
            watching.give_back(reason.what, counts=False)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        ended = self.get(board.id)
        if ended.state.is_final:
            self._close_runs(ended, "finished" if ended.state is LeaderboardState.FINISHED else "failed")

    def _run(self, board: Leaderboard, watching: Watching, folder: Path) -> None:
        who = caller()
        payload: dict[str, object] = {"leaderboard": board.id, "house": self._house}
        payload |= {"actor": who.actor, "project": who.project}
        task = Task(entry=child.ENTRY, payload=payload, folder=folder, cwd=self._root, env=self._house_env)
        while True:
            with child.holding(self._wiring if self._engine.name == "inline" else None):
                outcome = self._engine.run(task, watching)
            if outcome.state is not OutcomeState.TIMED_OUT:
                break
            watching.out_of_time()
        if outcome.state is OutcomeState.FINISHED:
            return
        error = outcome.error or Failed(f"the training {outcome.state}", where=board.ref, hint="mainspring doctor")
        watching.fail(error)

    def _check_names(self, request: TrainRequest, version: DatasetVersion) -> None:
        """Refuse what the columns alone say is wrong, before any row is read."""
        from mainspring.core.errors import did_you_mean

        columns = {column.name: column for column in version.columns}
        named = {"target": request.target, "group": request.group, "time": request.time, "fair": request.fair}
        for where, name in named.items():
            if name and name not in columns:
                hint = did_you_mean(name, columns) or "columns are " + ", ".join([*columns][:20])
                raise Invalid(f"no column {name!r}", where=where, hint=hint)
        if columns[request.target].nulls >= version.rows:
            hint = "name another target, or ingest rows that have it"
            raise Invalid(f"none of {version.rows} rows has a {request.target}", where="target", hint=hint)
        if request.register and not request.split and request.test == 0:
            hint = "seal some rows for its gate: --test 0.2"
            raise Invalid("a model is registered with rows to judge it by", where="register", hint=hint)
        if request.open_test and not request.split and request.test == 0:
            raise Invalid("no rows are sealed", where="open test", hint="seal some: --test 0.2")

    def _folds(self, request: TrainRequest) -> int:
        return self._splits.resolve(request.split).spec.folds if request.split else request.folds

    def _split(self, request: TrainRequest, version: DatasetVersion, look: Look) -> Split:
        if request.split:
            split = self._splits.resolve(request.split)
            if split.dataset != version.ref:
                hint = f"--data {split.dataset.removeprefix('datasets/')}, or another split"
                raise Invalid(f"{split.ref} is of {split.dataset}, not of {version.ref}", where="split", hint=hint)
            return split
        how = request.how or ("group" if request.group else "time" if request.time else "stratified")
        column = {
            "stratified": request.target,
            "group": request.group,
            "time": request.time or version.time_column,
        }.get(how, "")
        spec = SplitSpec(how, request.folds, request.test, column, request.seed)
        return self._splits.make(version.ref, spec)

    def _warnings(self, frame: pl.DataFrame, look: Look, split: Split, target: str) -> tuple[str, ...]:
        from mainspring.data.splits import TEST
        from mainspring.training.preparing import features_of, shared_with_test, truth_of

        sealed = self._splits.assignment(split) == TEST
        truth = truth_of(frame, target, look.classes)
        shared = shared_with_test(features_of(frame, look.columns), truth, sealed) if sealed.any() else 0
        if not shared:
            return look.warnings
        said = f"{shared} of {int(sealed.sum())} sealed rows are also rows to train on"
        return (*look.warnings, f"{said}: ingest unique rows, or split by group")

    def _close_runs(self, board: Leaderboard, status: str) -> None:
        if self._desk.tracking is None:
            return
        for candidate in board.candidates:
            if candidate.state is CandidateState.RUNNING:
                close_run(self._desk.tracking, candidate.run, "killed", [])
        close_run(self._desk.tracking, board.id, status, [])

    def _end_lost(self, board_id: str, reason: str) -> bool:
        board = self.get(board_id)
        values = {"state": LeaderboardState.FAILED, "finished_at": self._desk.clock.now(), "error": reason}
        with self._desk.tables.write() as conn:
            if not records.change(conn, board_id, values):
                return False
            self._desk.journal.append(conn, TrainingFailed(subject=board.ref, error=reason))
            self._desk.queue.cancel(conn, board.job_id)
        self._close_runs(board, "failed")
        return True


def _candidates(board: Leaderboard, chosen: Sequence[families.Family]) -> list[Candidate]:
    """The usual configuration of each family, then the others; the stack of the best comes last."""
    most, found = board.request.configurations, []
    tried = {kind.NAME: list(kind.configurations(board.task))[:most] for kind in chosen}
    for number in range(max((len(entries) for entries in tried.values()), default=0)):
        found += [(kind, number) for kind in chosen if kind.NAME != STACKING and number < len(tried[kind.NAME])]
    found += [(kind, 0) for kind in chosen if kind.NAME == STACKING]
    listed = []
    for position, (kind, number) in enumerate(found):
        name = kind.NAME if number == 0 else f"{kind.NAME}-{number + 1}"
        listed.append(
            Candidate(
                position=position,
                name=name,
                family=kind.NAME,
                params=tried[kind.NAME][number],
                state=CandidateState.WAITING,
                run=job_id("candidate", board.id, position),
            )
        )
    return listed
