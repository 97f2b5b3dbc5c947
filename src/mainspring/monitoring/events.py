"""What happens in monitoring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mainspring.core.events import Fact


@dataclass(frozen=True, kw_only=True)
class MonitorStarted(Fact):
    """A deployment is watched from now on."""

    kind: ClassVar[str] = "monitoring.monitor_started"
    deployment: str


@dataclass(frozen=True, kw_only=True)
class AlarmRaised(Fact):
    """Something is wrong. `window_end` is event time; `performance_evidence`: the realized loss is part of it."""

    kind: ClassVar[str] = "monitoring.alarm_raised"
    deployment: str
    model: str
    version: int
    cause: str
    text: str
    window_start: int
    window_end: int
    performance_evidence: bool
    evidence: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AlarmAcknowledged(Fact):
    """A person has seen the alarm."""

    kind: ClassVar[str] = "monitoring.alarm_acknowledged"
    deployment: str
    cause: str
    note: str = ""
