"""What happened in serving."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class Deployed(Fact):
    """An endpoint is new, or was switched to a version by hand. Subject: `deployments/NAME`."""

    kind: ClassVar[str] = "serving.deployed"
    model: str
    version: int
    before: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class TrafficChanged(Fact):
    """An endpoint's traffic is another now: version -> share, shadows, routes. Subject: `deployments/NAME`."""

    kind: ClassVar[str] = "serving.traffic_changed"
    shares: dict[str, float]
    shadows: dict[str, float]
    routes: tuple[str, ...]
    rollout: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PackagesDiffered(Fact):
    """A version that is new to an endpoint is served with other packages than it was made with. Subject:
    `deployments/NAME`."""

    kind: ClassVar[str] = "serving.packages_differed"
    version: int
    why: str


@dataclass(frozen=True, kw_only=True)
class RolloutStarted(Fact):
    """A version gets its first share of the traffic. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_started"
    deployment: str
    version: int
    champion: int
    share: float


@dataclass(frozen=True, kw_only=True)
class RolloutAdvanced(Fact):
    """A step was proved harmless; the next share is on. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_advanced"
    deployment: str
    version: int
    share: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutPaused(Fact):
    """The canary keeps its share, and gets no more until it is resumed. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_paused"
    deployment: str
    version: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutResumed(Fact):
    """A rollout that was paused or held goes on. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_resumed"
    deployment: str
    version: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutPromoted(Fact):
    """The version is the champion of its endpoint. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_promoted"
    deployment: str
    version: int
    before: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutRolledBack(Fact):
    """The champion has all traffic again. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_rolled_back"
    deployment: str
    version: int
    champion: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutHeld(Fact):
    """Time is up without a proof either way: a person has to decide. Subject: `rollouts/ID`."""

    kind: ClassVar[str] = "serving.rollout_held"
    deployment: str
    version: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BanditStarted(Fact):
    """Shares of versions follow their rewards from now on. Subject: `bandits/ID`."""

    kind: ClassVar[str] = "serving.bandit_started"
    deployment: str
    versions: tuple[int, ...]
    feedback: str
    reward: str
    floor: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class BanditStopped(Fact):
    """Shares follow no rewards any more: one version has all traffic. Subject: `bandits/ID`."""

    kind: ClassVar[str] = "serving.bandit_stopped"
    deployment: str
    version: int
    rewards: dict[str, int]
    means: dict[str, float]
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReviewsFull(Fact):
    """The queue of people has no room: further rows keep their answer. Subject: `deployments/NAME`."""

    kind: ClassVar[str] = "serving.reviews_full"
    waiting: int


@dataclass(frozen=True, kw_only=True)
class ReviewDecided(Fact):
    """A person said what the answer to a prediction should be; the answer is in the feedback. Subject: `reviews/ID`."""

    kind: ClassVar[str] = "serving.review_decided"
    deployment: str
    prediction: str
    marks: tuple[str, ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class WorkersChanged(Fact):
    """The model server has more or fewer workers, as the load wants it. Subject: `workers`."""

    kind: ClassVar[str] = "serving.workers_changed"
    before: int
    after: int
    reason: str
    busy: float
    wait_ms: float
    changed_at: int


@dataclass(frozen=True, kw_only=True)
class ReplayEnded(Fact):
    """Logged traffic was put to a version: what came of it has this digest. Subject: `replays/ID`."""

    kind: ClassVar[str] = "serving.replay_ended"
    deployment: str
    version: int
    rows: int
    verdicts: dict[str, str]
    digest: str


@dataclass(frozen=True, kw_only=True)
class BatchStarted(Fact):
    """A dataset version is to be answered. Subject: `batches/ID`."""

    kind: ClassVar[str] = "serving.batch_started"
    deployment: str
    dataset: str


@dataclass(frozen=True, kw_only=True)
class BatchCancelled(Fact):
    """A batch was stopped by hand; what it answered stays. Subject: `batches/ID`."""

    kind: ClassVar[str] = "serving.batch_cancelled"
    deployment: str


@dataclass(frozen=True, kw_only=True)
class BatchResumed(Fact):
    """A batch that was cancelled or had failed goes on where it was. Subject: `batches/ID`."""

    kind: ClassVar[str] = "serving.batch_resumed"
    deployment: str


@dataclass(frozen=True, kw_only=True)
class BatchFinished(Fact):
    """A batch is answered, and its answers can be fetched. Subject: `batches/ID`."""

    kind: ClassVar[str] = "serving.batch_finished"
    deployment: str
    answered: int
