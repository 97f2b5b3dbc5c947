"""Runs over the protocol: made, changed, deleted, and read."""

from __future__ import annotations

from mainspring.mlflow.calls import call
from mainspring.mlflow.run_tags import change_of, name_of, shown
from mainspring.mlflow.wire import (
    UNSET,
    KeyValue,
    MaybeInt,
    MaybeText,
    Message,
    Number,
    Text,
    chosen,
    double,
    micros,
    one_of,
    pairs_of,
    texts,
)
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import Metric, Run, RunChange, RunStart
from mainspring.tracking.rules import MAX_TAG
from mainspring.tracking.service import Tracking

STATUSES = {name.upper(): name for name in ("running", "scheduled", "finished", "failed", "killed")}
"""What the protocol calls the states of a run, in the order of its numbers for them."""


class CreateRun(Message):
    """What starts a run."""

    experiment_id: Text = "0"
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
    status: MaybeText = UNSET
    end_time: MaybeInt = UNSET
    run_name: MaybeText = UNSET


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


class Point(Message):
    """A point of a metric as it is sent."""

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


class OneRun(Message):
    """The answer that is one run."""

    run: WholeRun


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


def run_of(found: Run) -> WholeRun:
    """A run as it is sent."""
    data = RunData(
        metrics=[point_of(point) for point in found.metrics.values()],
        params=pairs_of(found.params),
        tags=pairs_of(shown(found)),
    )
    return WholeRun(info=info_of(found), data=data)


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
def get(ask: ById, tracking: Tracking) -> OneRun:
    """A run by id, also a deleted one."""
    return OneRun(run=run_of(tracking.get(ask.run_id)))


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


calls = [create, get, update, delete, restore]
