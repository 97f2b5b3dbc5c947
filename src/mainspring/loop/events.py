"""Facts of the loop."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


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


@dataclass(frozen=True, kw_only=True)
class TriggerFired(Fact):
    """A trigger started something, or would have in a dry run. Subject: `triggers/NAME`; `started` refers to it."""

    kind: ClassVar[str] = "loop.trigger_fired"
    cause: str
    outcome: str
    starts: str
    started: str


@dataclass(frozen=True, kw_only=True)
class TriggerPaused(Fact):
    """Somebody paused a trigger, or resumed it. Subject: `triggers/NAME`."""

    kind: ClassVar[str] = "loop.trigger_paused"
    paused: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class HookReceived(Fact):
    """A delivery came that was signed as it should be. Subject: `triggers/NAME`."""

    kind: ClassVar[str] = "loop.hook_received"
    delivery: str
    ref: str
    commit: str
    repository: str


@dataclass(frozen=True, kw_only=True)
class PlanApplied(Fact):
    """An object lives as declared from now on, or no more. `settings` are those that changed. Subject: the object."""

    kind: ClassVar[str] = "loop.plan_applied"
    object: str
    action: str
    settings: tuple[str, ...]
