"""Values of training: what was asked for, candidates as they stand, and the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from mainspring.core.errors import Invalid
from mainspring.core.ids import check_name
from mainspring.core.values import dataclass

TASKS = ("", "binary", "multiclass", "regression")
LONGEST_S = 7 * 24 * 3600.0
HIGHER = {
    "roc_auc": True,
    "accuracy": True,
    "f1": True,
    "r2": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
}
"""Metrics of leaderboards, and whether more of them is better."""
METRICS = {
    "binary": ("roc_auc", "log_loss", "accuracy", "brier", "f1"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics of each task, the usual one first."""


class LeaderboardState(StrEnum):
    """Where a leaderboard stands. The last three are final, but a failed or cancelled one can be resumed."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing is being done for it any more."""
        return self not in (LeaderboardState.QUEUED, LeaderboardState.RUNNING)


class CandidateState(StrEnum):
    """Where a candidate stands. `stopped` was behind on few rows; `skipped` would not have fitted into the budget."""

    WAITING = "waiting"
    RUNNING = "running"
    MEASURED = "measured"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether it has yet to be measured."""
        return self in (CandidateState.WAITING, CandidateState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What a leaderboard is to be made of.

    Args:
        data: A dataset, "NAME" or "NAME/NUMBER".
        target: The column to predict.
        task: "binary", "multiclass" or "regression"; guessed from the target when empty.
        metric: What candidates are ordered by; the usual one of the task when empty.
        families: Names of families; all that are installed when empty.
        configurations: At most so many configurations of each family, 1 to 10.
        budget_s: Seconds of work, over all resumptions; the best so far is kept when they are over.
        split: An existing split, "NAME" or "NAME/NUMBER"; made when empty.
        how: How to split when no split is named: "random", "stratified", "group" or "time"; empty: stratified.
        folds: Folds of the split that is made.
        test: Share of the rows that is sealed in the split that is made.
        group: Column of groups that stay together, for `how="group"`.
        time: Column of times, for `how="time"`; the dataset's own when empty.
        leave_out: Columns that are no features.
        fair: Column whose groups are compared; it stays a feature unless it is left out.
        register: Register the best under this model name, trained on all rows but the sealed ones.
        open_test: Open the sealed rows and measure the best on them, which is counted.
        seed: Seed of splits and models.
    """

    data: str
    target: str
    task: str = ""
    metric: str = ""
    families: tuple[str, ...] = ()
    configurations: int = 3
    budget_s: float = 120.0
    split: str = ""
    how: str = ""
    folds: int = 5
    test: float = 0.2
    group: str = ""
    time: str = ""
    leave_out: tuple[str, ...] = ()
    fair: str = ""
    register: str = ""
    open_test: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.budget_s) or not 0 < self.budget_s <= LONGEST_S:
            hint = "give seconds above 0, at most a week: --budget 120"
            raise Invalid(f"a budget of {self.budget_s:g} s", where="budget", hint=hint)
        if self.task not in TASKS:
            raise Invalid(f"no task {self.task!r}", where="task", hint="use " + ", ".join(TASKS[1:]))
        if not 1 <= self.configurations <= 10:
            raise Invalid(f"{self.configurations} configurations a family", where="configurations", hint="use 1 to 10")
        if not self.data or not self.target:
            raise Invalid("no data or no target was named", where="train", hint="--data flights --target late")
        if self.register:
            check_name(self.register, "model")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; without ends where there are too few rows for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One configuration of one family.

    Attributes:
        score: The metric on the folds' held-out rows.
        behind: How much worse than the best on the same rows, in the metric, 0 or more for what is truly worse.
        metrics: The other metrics.
        latency_ms: One row, the median of some.
        size_bytes: Of the trained model as a package keeps it.
        cpu_s: Processor seconds of training on all folds.
        gap: The largest difference between groups of `fair`: of the rate of the second class, of the accuracy, or of
            the mean error.
        early: The score on few rows, when there were rounds.
        note: Why it was stopped, skipped or failed.
        answers: Digest of the blob with what it said to the held-out rows.
    """

    position: int
    name: str
    family: str
    params: Mapping[str, object]
    state: CandidateState = CandidateState.WAITING
    score: Estimate | None = None
    behind: Estimate | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    size_bytes: int | None = None
    cpu_s: float | None = None
    gap: float | None = None
    early: float | None = None
    note: str = ""
    run: str = ""
    answers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Candidates on the same folds, the best first. Its id is also that of the tracked run they are part of.

    Attributes:
        columns: How each column is read: "number", "category", "date" or "text".
        left_out: Columns that are no features, with the reason.
        warnings: What may make the scores too good.
        spent_s: Seconds of the budget that are used up.
        version: Number of the registered version of the best, 0 when there is none.
        test: Metrics of the best on the sealed rows, when they were opened; `test_use` is the how-manieth opening.
    """

    id: str
    request: TrainRequest
    dataset: str
    split: str
    task: str
    metric: str
    state: LeaderboardState
    classes: tuple[str | int | float | bool, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    spent_s: float = 0.0
    version: int = 0
    test: Mapping[str, float] = field(default_factory=dict)
    test_use: int = 0
    error: str = ""
    job_id: str = ""
    attempt: int = 0
    created_at: int = 0
    finished_at: int = 0

    @property
    def ref(self) -> str:
        """Its reference, such as `leaderboards/0199...`."""
        return f"leaderboards/{self.id}"

    @property
    def best(self) -> Candidate | None:
        """The first candidate, when one was measured."""
        first = self.candidates[0] if self.candidates else None
        return first if first is not None and first.state is CandidateState.MEASURED else None

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return max(0.0, self.request.budget_s - self.spent_s)
