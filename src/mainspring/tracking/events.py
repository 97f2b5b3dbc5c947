"""What happened in tracking. Metrics come at too high a rate to be events."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


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
class LoggedModelDeleted(Fact):
    """A logged model was deleted; it stays until it is removed. Subject: `logged-models/ID`."""

    kind: ClassVar[str] = "tracking.logged_model_deleted"
    name: str


@dataclass(frozen=True, kw_only=True)
class RunDeleted(Fact):
    """A run was deleted; it can be restored. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_deleted"
    experiment: str


@dataclass(frozen=True, kw_only=True)
class RunRestored(Fact):
    """A deleted run is back. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_restored"
    experiment: str


@dataclass(frozen=True, kw_only=True)
class ExperimentCreated(Fact):
    """An experiment was made. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.experiment_created"
    name: str


@dataclass(frozen=True, kw_only=True)
class FilesDeleted(Fact):
    """Files that a run or a model kept were deleted. Subject: `files/PATH` below the project's artifact root."""

    kind: ClassVar[str] = "tracking.files_deleted"
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ExperimentRenamed(Fact):
    """An experiment has another name. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.experiment_renamed"
    name: str
    before: str


@dataclass(frozen=True, kw_only=True)
class ExperimentDeleted(Fact):
    """An experiment was deleted, and its runs with it; it can be restored. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.experiment_deleted"
    name: str
    runs: int


@dataclass(frozen=True, kw_only=True)
class ExperimentRestored(Fact):
    """A deleted experiment is back, and the runs that were deleted with it. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.experiment_restored"
    name: str
    runs: int


@dataclass(frozen=True, kw_only=True)
class RunArrived(Fact):
    """A run came from another tracker, with its id and times there, or came again as it changed. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_arrived"
    source: str
    experiment: str


@dataclass(frozen=True, kw_only=True)
class ExperimentRemoved(Fact):
    """An experiment that was deleted long ago is gone for good, with its runs. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.experiment_removed"
    deleted_at: int | None


@dataclass(frozen=True, kw_only=True)
class RunRemoved(Fact):
    """A run that was deleted long ago is gone for good, with its metrics and files. Subject: `runs/ID`."""

    kind: ClassVar[str] = "tracking.run_removed"
    deleted_at: int | None


@dataclass(frozen=True, kw_only=True)
class LoggedModelRemoved(Fact):
    """A logged model that was deleted long ago is gone for good, with its files. Subject: as of the model."""

    kind: ClassVar[str] = "tracking.logged_model_removed"
    deleted_at: int | None


@dataclass(frozen=True, kw_only=True)
class TracesDeleted(Fact):
    """Traces of an experiment were deleted for good. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.traces_deleted"
    count: int


@dataclass(frozen=True, kw_only=True)
class ViewSaved(Fact):
    """A search of runs was kept under a name, or changed. Subject: `views/NAME`."""

    kind: ClassVar[str] = "tracking.view_saved"
    filter: str


@dataclass(frozen=True, kw_only=True)
class ViewRemoved(Fact):
    """A saved search of runs was removed. Subject: `views/NAME`."""

    kind: ClassVar[str] = "tracking.view_removed"
    filter: str


@dataclass(frozen=True, kw_only=True)
class ScorerRegistered(Fact):
    """A version of a scorer was kept. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.scorer_registered"
    name: str
    version: int


@dataclass(frozen=True, kw_only=True)
class ScorerDeleted(Fact):
    """A version of a scorer was deleted, or all of them. Subject: `experiments/ID`."""

    kind: ClassVar[str] = "tracking.scorer_deleted"
    name: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class EvaluationSetCreated(Fact):
    """An evaluation set was made. Subject: `evaluation-sets/ID`."""

    kind: ClassVar[str] = "tracking.evaluation_set_created"
    name: str


@dataclass(frozen=True, kw_only=True)
class EvaluationSetChanged(Fact):
    """Records of an evaluation set were added, changed or deleted. Subject: `evaluation-sets/ID`."""

    kind: ClassVar[str] = "tracking.evaluation_set_changed"
    added: int
    changed: int
    deleted: int


@dataclass(frozen=True, kw_only=True)
class EvaluationSetDeleted(Fact):
    """An evaluation set was deleted for good, with its records. Subject: `evaluation-sets/ID`."""

    kind: ClassVar[str] = "tracking.evaluation_set_deleted"
    name: str
