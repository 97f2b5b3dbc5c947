"""What happens in monitoring."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class MonitorStarted(Fact):
    """A deployment is watched from now on."""

    kind: ClassVar[str] = "monitoring.monitor_started"
    deployment: str


@dataclass(frozen=True, kw_only=True)
class AlarmRaised(Fact):
    """Something is wrong. `window_end` is event time; `performance_evidence`: the realized loss is part of it;
    `silenced`: nobody is told."""

    kind: ClassVar[str] = "monitoring.alarm_raised"
    deployment: str
    model: str
    version: int
    cause: str
    text: str
    window_start: int
    window_end: int
    performance_evidence: bool
    silenced: bool = False
    evidence: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AlarmAcknowledged(Fact):
    """A person has seen the alarm."""

    kind: ClassVar[str] = "monitoring.alarm_acknowledged"
    deployment: str
    cause: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AlarmSilenced(Fact):
    """An open alarm fell under a silence: nobody is told of it any more until then."""

    kind: ClassVar[str] = "monitoring.alarm_silenced"
    deployment: str
    cause: str
    silence: str
    until: int
    why: str


@dataclass(frozen=True, kw_only=True)
class AlarmReopened(Fact):
    """The silence of an alarm is over, and the alarm is not."""

    kind: ClassVar[str] = "monitoring.alarm_reopened"
    deployment: str
    cause: str
    text: str


@dataclass(frozen=True, kw_only=True)
class AlarmEscalated(Fact):
    """Nobody has acknowledged an alarm for too long."""

    kind: ClassVar[str] = "monitoring.alarm_escalated"
    deployment: str
    cause: str
    text: str


@dataclass(frozen=True, kw_only=True)
class AlarmClosed(Fact):
    """An alarm is over: a person said so, or another version is live."""

    kind: ClassVar[str] = "monitoring.alarm_closed"
    deployment: str
    cause: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SilenceAdded(Fact):
    """Nobody is told of some alarms until a time."""

    kind: ClassVar[str] = "monitoring.silence_added"
    deployment: str
    cause: str
    column: str
    until: int
    why: str


@dataclass(frozen=True, kw_only=True)
class SilenceEnded(Fact):
    """A silence was ended before its time."""

    kind: ClassVar[str] = "monitoring.silence_ended"
    deployment: str


@dataclass(frozen=True, kw_only=True)
class VectorsCompared(Fact):
    """The vectors of a stretch of traffic were compared with those of the training data; `alarm`: for this one."""

    kind: ClassVar[str] = "monitoring.vectors_compared"
    deployment: str
    version: int
    window_start: int
    window_end: int
    alarm: str = ""
