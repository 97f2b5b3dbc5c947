"""Watches over one leaderboard that is being worked on: stores each candidate under the lease, and keeps the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from mainspring.core.clock import Clock
from mainspring.core.errors import Fenced, MainspringError
from mainspring.core.events import Fact
from mainspring.core.values import dataclass
from mainspring.engines import Message
from mainspring.pipelines.worker import check_hold
from mainspring.storage.jobs import Lease
from mainspring.storage.ports import Journal, Queue, Tables
from mainspring.tracking import Metric, Tracking
from mainspring.training import records
from mainspring.training.events import CandidateMeasured, TrainingFailed, TrainingFinished
from mainspring.training.model import Candidate, CandidateState, Leaderboard, LeaderboardState

if TYPE_CHECKING:
    from sqlalchemy import Connection

Told = Callable[[Candidate], None]
"""Hears of each candidate that was measured, stopped, skipped or failed."""
_RENEW_S = 3.0
_GRACE_S = 2.0
"""How long the work may take to notice by itself that the budget is used up."""
_TEXT = 500


@dataclass(frozen=True, slots=True)
class Desk:
    """What leaderboards are kept with."""

    tables: Tables
    journal: Journal
    queue: Queue
    clock: Clock
    tracking: Tracking | None
    lease_s: float


class Watching:
    """The `Watch` of the engine that does the work.

    Args:
        desk: Storage and rooms.
        board: The leaderboard as it stood when the lease was taken.
        lease: The right to work on it.
        told: Hears of candidates.
    """

    def __init__(self, desk: Desk, board: Leaderboard, lease: Lease, told: Told) -> None:
        self.racing = True
        self._desk = desk
        self._board = board
        self._lease = lease
        self._told = told
        self._started = time.monotonic()
        self._renewed = 0.0
        self._by_position = {candidate.position: candidate for candidate in board.candidates}

    @property
    def left_s(self) -> float:
        """What is left of the budget."""
        return self._board.left_s - (time.monotonic() - self._started)

    def start(self) -> None:
        """Note that a worker has the leaderboard."""
        self._store(lambda conn: None, values={"state": LeaderboardState.RUNNING, "attempt": self._lease.attempt})
        self._open_run(self._board.id, f"{self._board.request.target} from {self._board.dataset}", {}, parent="")

    def answer(self, message: Message) -> Message:
        """Answer the race, and store what it says."""
        check_hold()
        answers: dict[str, Callable[[Message], Message]] = {
            "plan": lambda _: {"phase": "race" if self.racing else "finish", "left_s": max(0.0, self.left_s)},
            "begin": self._begin,
            "early": self._early,
            "measured": self._measured,
            "raced": self._raced,
            "finished": self._finished,
        }
        return answers.get(str(message["ask"]), self._ended)(message)

    def beat(self) -> float | None:
        """Look whether the leaderboard is still ours; returns what is left of the budget while candidates race."""
        check_hold()
        if time.monotonic() - self._renewed > min(_RENEW_S, self._desk.lease_s / 3):
            self._store(lambda conn: None)
        return self.left_s + _GRACE_S if self.racing else None

    def out_of_time(self) -> None:
        """The work was stopped at the end of the budget: what was open is skipped."""
        self.racing = False
        note = "the budget was used up while it was trained"
        self._store(lambda conn: self._close_open(conn, note))

    def fail(self, error: MainspringError) -> None:
        """The leaderboard ends without a best candidate."""
        values = {"state": LeaderboardState.FAILED, "error": str(error), "finished_at": self._desk.clock.now()}

        def work(conn: Connection) -> None:
            self._desk.queue.finish(conn, self._lease, {"state": LeaderboardState.FAILED})

        self._store(work, TrainingFailed(subject=self._board.ref, error=error.what), values=values)

    def give_back(self, reason: str, *, counts: bool = True) -> None:
        """Another worker shall go on."""

        def work(conn: Connection) -> None:
            self._desk.queue.fail(conn, self._lease, reason, retry_in_s=1.0, counts=counts)

        self._store(work, values={"state": LeaderboardState.QUEUED})

    def _begin(self, message: Message) -> Message:
        position, candidate = self._named(message)
        values = {"state": CandidateState.RUNNING, "params": message["params"], "note": ""}
        self._store(lambda conn: records.change_candidate(conn, self._board.id, position, values))
        params = cast("Mapping[str, object]", message["params"])
        self._open_run(candidate.run, candidate.name, params, parent=self._board.id)
        return {"do": "run"}

    def _early(self, message: Message) -> Message:
        position, _ = self._named(message)
        values = {"measured": {"early": message["early"]}}
        self._store(lambda conn: records.change_candidate(conn, self._board.id, position, values))
        return {}

    def _measured(self, message: Message) -> Message:
        position, candidate = self._named(message)
        measured = cast("dict[str, object]", message["measured"])
        score = float(cast("list[float]", measured["score"])[0])
        values = {"state": CandidateState.MEASURED, "measured": measured, "answers": message["answers"]}
        behind = cast("dict[str, list[float]]", message["behind"])

        def work(conn: Connection) -> None:
            records.change_candidate(conn, self._board.id, position, values)
            for place, far in behind.items():
                records.change_candidate(conn, self._board.id, int(place), {"behind": far})

        metric = self._board.metric
        fact = CandidateMeasured(
            subject=self._board.ref, candidate=candidate.name, family=candidate.family, metric=metric, score=score
        )
        self._store(work, fact)
        costs = {name: measured[name] for name in ("latency_ms", "size_bytes", "cpu_s", "gap")}
        metrics = cast("dict[str, float]", measured["metrics"])
        self._close_run(candidate.run, "finished", {**metrics, **{k: v for k, v in costs.items() if v is not None}})
        self._tell(position)
        return {}

    def _ended(self, message: Message) -> Message:
        """A candidate was stopped, skipped or failed."""
        position, candidate = self._named(message)
        state = CandidateState(str(message["ask"]))
        values = {"state": state, "note": message["note"]}
        self._store(lambda conn: records.change_candidate(conn, self._board.id, position, values))
        self._close_run(candidate.run, "failed" if state is CandidateState.FAILED else "killed", {})
        self._tell(position)
        return {}

    def _raced(self, message: Message) -> Message:
        self.racing = False
        self._store(lambda conn: self._close_open(conn, "the budget was used up"))
        return {}

    def _finished(self, message: Message) -> Message:
        with self._desk.tables.read() as conn:
            board = records.find(conn, self._board.id)
        best = board.best if board else None
        values = {name: message[name] for name in ("version", "test", "test_use")}
        values |= {"state": LeaderboardState.FINISHED, "error": "", "finished_at": self._desk.clock.now()}

        def work(conn: Connection) -> None:
            self._desk.queue.finish(conn, self._lease, {"state": LeaderboardState.FINISHED})

        fact = TrainingFinished(
            subject=self._board.ref,
            best=best.name if best else "",
            metric=self._board.metric,
            score=best.score.value if best and best.score else 0.0,
            version=int(str(message["version"])),
        )
        self._store(work, fact, values=values)
        return {}

    def _close_open(self, conn: Connection, note: str) -> None:
        waiting = (CandidateState.WAITING, CandidateState.RUNNING)
        records.change_open(conn, self._board.id, to=CandidateState.SKIPPED, note=note, of=waiting)

    def _named(self, message: Message) -> tuple[int, Candidate]:
        position = int(cast(int, message["position"]))
        return position, self._by_position[position]

    def _tell(self, position: int) -> None:
        with self._desk.tables.read() as conn:
            board = records.find(conn, self._board.id)
        found = next((each for each in board.candidates if each.position == position), None) if board else None
        if found is not None:
            self._told(found)

    def _open_run(self, run_id: str, name: str, params: Mapping[str, object], *, parent: str) -> None:
        tracking = self._desk.tracking
        if tracking is None:
            return
        experiment = f"train-{self._board.dataset.split('/')[1]}"
        tags = {"leaderboard": self._board.id}
        tracking.create_run(experiment, name=name[:200], parent=parent, tags=tags, run_id=run_id)
        tracking.resume(run_id)
        if params and "parts" not in params:
            tracking.log_batch(run_id, params={key: str(value)[:_TEXT] for key, value in params.items()})
        if not parent:
            tracking.log_input(run_id, self._board.dataset, "training")

    def _close_run(self, run_id: str, status: str, metrics: Mapping[str, object]) -> None:
        tracking = self._desk.tracking
        if tracking is None:
            return
        now = self._desk.clock.now()
        points = [Metric(key=key, value=float(str(value)), step=0, at=now) for key, value in metrics.items()]
        close_run(tracking, run_id, status, points)

    def _store(
        self, work: Callable[[Connection], None], *facts: Fact, values: Mapping[str, object] | None = None
    ) -> None:
        spent = self._board.spent_s + time.monotonic() - self._started
        kept = {"spent_us": int(spent * 1e6)} if self.racing else {}
        with self._desk.tables.write() as conn:
            self._desk.queue.renew(conn, self._lease, lease_s=self._desk.lease_s)
            if not records.change(conn, self._board.id, {"error": "", **kept, **(values or {})}):
                raise Fenced("the leaderboard was cancelled", where=self._board.ref)
            work(conn)
            if facts:
                self._desk.journal.append(conn, *facts)
        self._renewed = time.monotonic()


def close_run(tracking: Tracking, run_id: str, status: str, points: list[Metric]) -> None:
    """Log what was measured and end the tracked run; one that was never begun or has ended stays as it is."""
    from contextlib import suppress

    from mainspring.core.errors import Conflict, NotFound

    with suppress(NotFound, Conflict):
        if points:
            tracking.log_batch(run_id, metrics=points)
        tracking.finish(run_id, status)
