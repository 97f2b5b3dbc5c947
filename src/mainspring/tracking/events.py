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


@dataclass(frozen=True, kw_only=True)
class ModelLogged(Fact):
    """The files of a model that a run made have arrived. Subject: `logged-models/ID`."""

    kind: ClassVar[str] = "tracking.model_logged"
    name: str
    run_id: str
    model_kind: str


@dataclass(frozen=True, kw_only=True)
class ModelDeleted(Fact):
    """A logged model was put away. Subject: `logged-models/ID`."""

    kind: ClassVar[str] = "tracking.model_deleted"
    name: str


@dataclass(frozen=True, kw_only=True)
class FilesDeleted(Fact):
    """Files that a run or a model kept were deleted. Subject: `files/PATH` below the project's artifact root."""

    kind: ClassVar[str] = "tracking.files_deleted"
    files: int
    size_bytes: int
