"""What happened in tracking. Metrics come at too high a rate to be events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mainspring.core.events import Fact


@dataclass(frozen=True, kw_only=True)
class RunStarted(Fact):
    """A run started. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_started"
    experiment: str
    name: str
    parent: str


@dataclass(frozen=True, kw_only=True)
class RunEnded(Fact):
    """A run ended as finished, failed or killed. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_ended"
    experiment: str
    status: str


@dataclass(frozen=True, kw_only=True)
class RunResumed(Fact):
    """A run that had ended goes on. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_resumed"
    experiment: str
    before: str
