"""Runs over the protocol: made, changed, deleted, and read."""

from __future__ import annotations

from msgspec import UnsetType

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.inputs import RunInputs, RunOutputs, sent
from mainspring.mlflow.run_tags import KEPT_APART, MODELS, change_of, model_entry, name_of, shown
from mainspring.mlflow.wire import (
    UNSET,
    VIEWS,
    Int64,
    KeyValue,
    MaybeInt,
    MaybeText,
    Message,
    Number,
    Text,
    Word,
    chosen,
    double,
    micros,
    one_of,
    pairs_of,
    texts,
)
from mainspring.tracking.inputs import Inputs
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import Metric, Run, RunChange, RunLinks, RunStart
from mainspring.tracking.rules import MAX_TAG
from mainspring.tracking.searching import Search
from mainspring.tracking.service import Tracking

STATUSES = {name.upper(): name for name in ("running", "scheduled", "finished", "failed", "killed")}
"""What the protocol calls the states of a run, in the order of its numbers for them."""


class CreateRun(Message):
    """What starts a run."""

    experiment_id: Text
    user_id: MaybeText = UNSET
    run_name: MaybeText = UNSET
    start_time: MaybeInt = UNSET
    tags: list[KeyValue] = []


class ById(Message):
    """A run by id."""

    run_id: Text


class UpdateRun(Message):
    """What becomes of a run."""

    run_id: Text
    status: Word | UnsetType = UNSET
    end_time: MaybeInt = UNSET
    run_name: MaybeText = UNSET


class DeleteTag(Message):
    """The tag of a run that goes."""

    run_id: Text
    key: Text


class LogModel(Message):
    """A model as clients of MLflow 2 describe it."""

    run_id: Text
    model_json: Text


class SearchRuns(Message):
    """Which runs, in which order, from where on."""

    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: Word = "ACTIVE_ONLY"
    max_results: Int64 = 1000
    order_by: list[str] = []
    page_token: str = ""


class RunInfo(Message):
    """What a run is."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: MaybeInt = UNSET


class Point(Message, kw_only=False, gc=False):
    """A point of a metric as it is sent. Histories have many: it takes its fields by place, and is no work for the
    garbage collector."""

    key: str
    value: Number
    timestamp: int
    step: int
    run_id: MaybeText = UNSET


class RunData(Message):
    """What a run logged: of each metric the latest point."""

    metrics: list[Point] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class WholeRun(Message):
    """A run as it is sent."""

    info: RunInfo
    data: RunData
    inputs: RunInputs | UnsetType = UNSET
    outputs: RunOutputs | UnsetType = UNSET


class OneRun(Message):
    """The answer that is one run."""

    run: WholeRun


class FoundRuns(Message):
    """A page of runs."""

    runs: list[WholeRun] = []
    next_page_token: MaybeText = UNSET


class OneInfo(Message):
    """The answer that is what a run is."""

    run_info: RunInfo


def info_of(found: Run) -> RunInfo:
    """What a run is, as it is sent."""
    return RunInfo(
        run_id=found.id,
        run_uuid=found.id,
        run_name=found.name,
        experiment_id=found.experiment_id,
        user_id=found.user_id or found.created_by,
        status=found.status.upper(),
        start_time=found.started_at // 1000,
        end_time=UNSET if found.ended_at is None else found.ended_at // 1000,
        artifact_uri=f"{found.location.rstrip('/')}/{found.id}/artifacts",
        lifecycle_stage="active" if found.deleted_at is None else "deleted",
    )


def point_of(found: Metric, run_id: str = "") -> Point:
    """A point as it is sent."""
    return Point(
        key=found.key,
        value=double(found.value),
        timestamp=found.at // 1000,
        step=found.step,
        run_id=run_id or UNSET,
    )


def run_of(found: Run, links: RunLinks | None = None) -> WholeRun:
    """A run as it is sent, with what it read and made."""
    read, made = sent(links or RunLinks())
    data = RunData(
        metrics=[point_of(point) for point in found.metrics.values()],
        params=pairs_of(found.params),
        tags=pairs_of(shown(found)),
    )
    return WholeRun(info=info_of(found), data=data, inputs=read, outputs=made)


@call("POST", "runs/create", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def create(ask: CreateRun, runs: Runs) -> OneRun:
    """Start a run."""
    tags = {key: value[:MAX_TAG] for key, value in texts(ask.tags).items()}
    kept, said = change_of(tags)
    change = said or RunChange()
    start_time = chosen(ask.start_time, None)
    made = runs.start(
        RunStart(
            experiment_id=ask.experiment_id,
            name=name_of(chosen(ask.run_name, ""), tags),
            parent=change.parent or "",
            tags=kept,
            code=change.code,
            started_at=None if start_time is None else micros(start_time, "start_time"),
            user_id=chosen(ask.user_id, "") or change.user_id or "unknown",
        )
    )
    return OneRun(run=run_of(made))


@call("GET", "runs/get", "runs:read")
def get(ask: ById, tracking: Tracking, inputs: Inputs) -> OneRun:
    """A run by id, also a deleted one."""
    found = tracking.get(ask.run_id)
    return OneRun(run=run_of(found, inputs.links([found.id]).get(found.id)))


@call("POST", "runs/update", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def update(ask: UpdateRun, runs: Runs) -> OneInfo:
    """Change status, end or name of a run."""
    status, end = chosen(ask.status, None), chosen(ask.end_time, None)
    change = RunChange(
        status=None if status is None else one_of(status, STATUSES, "status"),
        ended_at=None if end is None else micros(end, "end_time"),
        name=chosen(ask.run_name, None),
    )
    return OneInfo(run_info=info_of(runs.change(ask.run_id, change)))


@call("POST", "runs/delete", "runs:write")
def delete(ask: ById, runs: Runs) -> None:
    """Delete a run; it can be restored."""
    runs.delete(ask.run_id)


@call("POST", "runs/restore", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def restore(ask: ById, runs: Runs) -> None:
    """Bring back a deleted run."""
    runs.restore(ask.run_id)


@call("POST", "runs/delete-tag", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def delete_tag(ask: DeleteTag, runs: Runs) -> None:
    """Delete a tag of a run."""
    if ask.key in KEPT_APART:
        raise Invalid(f"the tag {ask.key} is a field of the run", where="key", hint="give it another value")
    runs.delete_tag(ask.run_id, ask.key)


@call("POST", "runs/log-model", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def log_model(ask: LogModel, runs: Runs) -> None:
    """Note a model in the way of MLflow 2: as an entry of a tag."""
    runs.add_to_tag(ask.run_id, MODELS, model_entry(ask.model_json))


@call("POST", "runs/search", "runs:read")
def search(ask: SearchRuns, search: Search, inputs: Inputs) -> FoundRuns:
    """Runs by filter, order and page."""
    page = search.runs(
        ask.experiment_ids,
        ask.filter,
        view=one_of(ask.run_view_type, VIEWS, "run_view_type"),
        order_by=ask.order_by,
        limit=ask.max_results,
        page_token=ask.page_token,
        fields="metrics, params, tags",
        strict=True,
    )
    links = inputs.links([found.id for found in page.items])
    return FoundRuns(
        runs=[run_of(found, links.get(found.id)) for found in page.items], next_page_token=page.next_token or UNSET
    )


calls = [create, get, update, delete, restore, delete_tag, log_model, search]
