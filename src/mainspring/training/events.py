"""What happens in this room, in the past tense."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingRequested(Fact):
    """Somebody asked for a leaderboard. The subject of this and all below is `leaderboards/ID`."""

    kind: ClassVar[str] = "training.requested"
    dataset: str
    target: str
    split: str
    candidates: int


@dataclass(frozen=True, kw_only=True)
class CandidateMeasured(Fact):
    """A candidate was measured on all folds."""

    kind: ClassVar[str] = "training.candidate_measured"
    candidate: str
    family: str
    metric: str
    score: float


@dataclass(frozen=True, kw_only=True)
class TrainingFinished(Fact):
    """The leaderboard is whole, or its budget is used up; `best` is the best candidate."""

    kind: ClassVar[str] = "training.finished"
    best: str
    metric: str
    score: float
    version: int


@dataclass(frozen=True, kw_only=True)
class TrainingFailed(Fact):
    """The leaderboard ended without a best candidate."""

    kind: ClassVar[str] = "training.failed"
    error: str


@dataclass(frozen=True, kw_only=True)
class TrainingCancelled(Fact):
    """Somebody cancelled the leaderboard; what was measured stays."""

    kind: ClassVar[str] = "training.cancelled"
    reason: str
