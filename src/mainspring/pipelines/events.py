"""What happens in this room, in the past tense."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass
from mainspring.pipelines.model import Json


@dataclass(frozen=True, kw_only=True)
class RunRequested(Fact):
    """Somebody asked for a run of a pipeline. The subject of this and all below is `pipeline-runs/ID`."""

    kind: ClassVar[str] = "pipelines.run_requested"
    pipeline: str
    target: str


@dataclass(frozen=True, kw_only=True)
class RunStarted(Fact):
    """A worker took the run for the first time."""

    kind: ClassVar[str] = "pipelines.run_started"
    pipeline: str


@dataclass(frozen=True, kw_only=True)
class StepFinished(Fact):
    """A step has its result; `state` is "finished" or "cached"."""

    kind: ClassVar[str] = "pipelines.step_finished"
    pipeline: str
    step: str
    state: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFinished(Fact):
    """All steps have their results; `result` is what the pipeline returned."""

    kind: ClassVar[str] = "pipelines.run_finished"
    pipeline: str
    result: Json


@dataclass(frozen=True, kw_only=True)
class RunFailed(Fact):
    """The run ended without a result; `step` is empty when no step was to blame."""

    kind: ClassVar[str] = "pipelines.run_failed"
    pipeline: str
    step: str
    error: str


@dataclass(frozen=True, kw_only=True)
class RunCancelled(Fact):
    """Somebody cancelled the run before its end."""

    kind: ClassVar[str] = "pipelines.run_cancelled"
    pipeline: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunPaused(Fact):
    """Somebody asked the run to rest after the steps that are under way."""

    kind: ClassVar[str] = "pipelines.run_paused"
    pipeline: str


@dataclass(frozen=True, kw_only=True)
class RunResumed(Fact):
    """A run that rested, or had failed, goes on; finished steps are kept."""

    kind: ClassVar[str] = "pipelines.run_resumed"
    pipeline: str


@dataclass(frozen=True, kw_only=True)
class ApprovalAsked(Fact):
    """A run waits for a person's answer."""

    kind: ClassVar[str] = "pipelines.approval_asked"
    pipeline: str
    step: str
    question: str


@dataclass(frozen=True, kw_only=True)
class ApprovalGiven(Fact):
    """A person answered a run; `approved` says how."""

    kind: ClassVar[str] = "pipelines.approval_given"
    pipeline: str
    step: str
    approved: bool
    comment: str
