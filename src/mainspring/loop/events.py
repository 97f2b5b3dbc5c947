"""Facts of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mainspring.core.events import Fact


@dataclass(frozen=True, kw_only=True)
class CycleStarted(Fact):
    """A policy asked for a new version; `as_of` is event time in microseconds."""

    kind: ClassVar[str] = "loop.cycle_started"
    policy: str
    deployment: str
    reason: str
    as_of: int


@dataclass(frozen=True, kw_only=True)
class CycleMoved(Fact):
    """A cycle entered a state: gating or canary."""

    kind: ClassVar[str] = "loop.cycle_moved"
    policy: str
    state: str
    note: str


@dataclass(frozen=True, kw_only=True)
class CycleEnded(Fact):
    """A cycle is over: deployed, promoted, rolled_back, refused, failed or dry_run."""

    kind: ClassVar[str] = "loop.cycle_ended"
    policy: str
    outcome: str
    note: str


@dataclass(frozen=True, kw_only=True)
class AlarmSkipped(Fact):
    """An alarm started nothing, and why."""

    kind: ClassVar[str] = "loop.alarm_skipped"
    policy: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PolicySwitched(Fact):
    """Somebody switched a policy, or all of them (`*`), on or off."""

    kind: ClassVar[str] = "loop.policy_switched"
    enabled: bool
    reason: str
