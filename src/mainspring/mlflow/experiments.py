"""Experiments over the protocol."""

from __future__ import annotations

from mainspring.mlflow.calls import call
from mainspring.mlflow.wire import (
    UNSET,
    VIEWS,
    Int64,
    KeyValue,
    MaybeText,
    Message,
    Text,
    Word,
    chosen,
    one_of,
    pairs_of,
    texts,
)
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.model import Experiment
from mainspring.tracking.searching import Search


class CreateExperiment(Message):
    """What makes an experiment."""

    name: Text
    artifact_location: MaybeText = UNSET
    tags: list[KeyValue] = []


class ById(Message):
    """An experiment by id."""

    experiment_id: Text


class ByName(Message):
    """An experiment by name."""

    experiment_name: Text


class UpdateExperiment(Message):
    """Another name for an experiment."""

    experiment_id: Text
    new_name: Text


class SetTag(Message):
    """A tag of an experiment."""

    experiment_id: Text
    key: Text
    value: str = ""


class DeleteTag(Message):
    """The tag of an experiment that goes."""

    experiment_id: Text
    key: Text


class SearchExperiments(Message):
    """Which experiments, in which order, from where on."""

    view_type: Word = "ACTIVE_ONLY"
    max_results: Int64 = 1000
    filter: str = ""
    order_by: list[str] = []
    page_token: str = ""


class ExperimentInfo(Message):
    """An experiment as it is sent."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    tags: list[KeyValue] = []


class OneExperiment(Message):
    """The answer that is one experiment."""

    experiment: ExperimentInfo


class FoundExperiments(Message):
    """A page of experiments."""

    experiments: list[ExperimentInfo] = []
    next_page_token: MaybeText = UNSET


class MadeExperiment(Message):
    """The id of a new experiment."""

    experiment_id: str


def info_of(found: Experiment) -> ExperimentInfo:
    """An experiment as it is sent."""
    return ExperimentInfo(
        experiment_id=found.id,
        name=found.name,
        artifact_location=found.location,
        lifecycle_stage="active" if found.deleted_at is None else "deleted",
        creation_time=found.created_at // 1000,
        last_update_time=found.updated_at // 1000,
        tags=pairs_of(found.tags),
    )


@call("POST", "experiments/create", "runs:write")
def create(ask: CreateExperiment, experiments: Experiments) -> MadeExperiment:
    """Make an experiment."""
    location = chosen(ask.artifact_location, "").rstrip("/")
    made = experiments.create(ask.name, location=location, tags=texts(ask.tags))
    return MadeExperiment(experiment_id=made.id)


@call("GET", "experiments/get", "runs:read")
def get(ask: ById, experiments: Experiments) -> OneExperiment:
    """An experiment by id, also a deleted one."""
    return OneExperiment(experiment=info_of(experiments.get(ask.experiment_id)))


@call("GET", "experiments/get-by-name", "runs:read")
def get_by_name(ask: ByName, experiments: Experiments) -> OneExperiment:
    """An experiment by name, also a deleted one."""
    return OneExperiment(experiment=info_of(experiments.named(ask.experiment_name)))


@call("GET POST", "experiments/search", "runs:read")
def search(ask: SearchExperiments, experiments: Experiments, search: Search) -> FoundExperiments:
    """Experiments by filter, order and page."""
    experiments.begin()
    page = search.experiments(
        ask.filter,
        view=one_of(ask.view_type, VIEWS, "view_type"),
        order_by=ask.order_by,
        limit=ask.max_results,
        page_token=ask.page_token,
        strict=True,
    )
    return FoundExperiments(
        experiments=[info_of(found) for found in page.items], next_page_token=page.next_token or UNSET
    )


@call("POST", "experiments/update", "runs:write")
def update(ask: UpdateExperiment, experiments: Experiments) -> None:
    """Give an experiment another name."""
    experiments.rename(ask.experiment_id, ask.new_name)


@call("POST", "experiments/delete", "runs:write", conflict="RESOURCE_DOES_NOT_EXIST")
def delete(ask: ById, experiments: Experiments) -> None:
    """Delete an experiment and its runs; both can be restored."""
    experiments.delete(ask.experiment_id)


@call("POST", "experiments/restore", "runs:write", conflict="RESOURCE_DOES_NOT_EXIST")
def restore(ask: ById, experiments: Experiments) -> None:
    """Bring back an experiment and the runs that were deleted with it."""
    experiments.restore(ask.experiment_id)


@call("POST", "experiments/set-experiment-tag", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def set_tag(ask: SetTag, experiments: Experiments) -> None:
    """Set a tag of an experiment."""
    experiments.set_tag(ask.experiment_id, ask.key, ask.value)


@call("POST", "experiments/delete-experiment-tag", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def delete_tag(ask: DeleteTag, experiments: Experiments) -> None:
    """Delete a tag of an experiment."""
    experiments.delete_tag(ask.experiment_id, ask.key)


calls = [create, get, get_by_name, search, update, delete, restore, set_tag, delete_tag]
