"""The life of experiments and runs over HTTP: made, renamed, deleted, restored."""

from __future__ import annotations

from dataclasses import field

from litestar import delete, get, post, put

from mainspring.core.values import dataclass
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import Experiment, RunChange

_READ = {"permission": "runs:read"}
_WRITE = {"permission": "runs:write"}


@dataclass(frozen=True, slots=True)
class NewExperiment:
    """What makes an experiment; `location` is where its runs keep their files, by default here."""

    name: str
    location: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewName:
    """Another name."""

    name: str


@dataclass(frozen=True, slots=True)
class TagValue:
    """The text of a tag."""

    value: str


@get("/api/v1/experiments", opt=_READ, sync_to_thread=True)
def list_experiments(experiments: Experiments, deleted: bool = False) -> list[Experiment]:
    """Experiments by name, or those that are deleted."""
    return experiments.list(deleted=deleted)


@post("/api/v1/experiments", opt=_WRITE, sync_to_thread=True)
def create_experiment(experiments: Experiments, data: NewExperiment) -> Experiment:
    """Make an experiment."""
    return experiments.create(data.name, location=data.location, tags=data.tags)


@get("/api/v1/experiments/{experiment_id:str}", opt=_READ, sync_to_thread=True)
def show_experiment(experiments: Experiments, experiment_id: str) -> Experiment:
    """One experiment, also a deleted one."""
    return experiments.get(experiment_id)


@delete("/api/v1/experiments/{experiment_id:str}", opt=_WRITE, status_code=200, sync_to_thread=True)
def delete_experiment(experiments: Experiments, experiment_id: str) -> Experiment:
    """Delete an experiment and its runs; both can be restored."""
    experiments.delete(experiment_id)
    return experiments.get(experiment_id)


@post("/api/v1/experiments/{experiment_id:str}/restore", opt=_WRITE, status_code=200, sync_to_thread=True)
def restore_experiment(experiments: Experiments, experiment_id: str) -> Experiment:
    """Bring back an experiment and the runs that were deleted with it."""
    return experiments.restore(experiment_id)


@post("/api/v1/experiments/{experiment_id:str}/rename", opt=_WRITE, status_code=200, sync_to_thread=True)
def rename_experiment(experiments: Experiments, experiment_id: str, data: NewName) -> Experiment:
    """Give an experiment another name."""
    return experiments.rename(experiment_id, data.name)


@put("/api/v1/experiments/{experiment_id:str}/tags/{key:str}", opt=_WRITE, sync_to_thread=True)
def set_experiment_tag(experiments: Experiments, experiment_id: str, key: str, data: TagValue) -> Experiment:
    """Set a tag of an experiment."""
    experiments.set_tag(experiment_id, key, data.value)
    return experiments.get(experiment_id)


@delete("/api/v1/experiments/{experiment_id:str}/tags/{key:str}", opt=_WRITE, status_code=200, sync_to_thread=True)
def delete_experiment_tag(experiments: Experiments, experiment_id: str, key: str) -> Experiment:
    """Delete a tag of an experiment."""
    experiments.delete_tag(experiment_id, key)
    return experiments.get(experiment_id)


@delete("/api/v1/runs/{run_id:str}", opt=_WRITE, sync_to_thread=True)
def delete_run(runs: Runs, run_id: str) -> None:
    """Delete a run; it can be restored."""
    runs.delete(run_id)


@post("/api/v1/runs/{run_id:str}/restore", opt=_WRITE, status_code=204, sync_to_thread=True)
def restore_run(runs: Runs, run_id: str) -> None:
    """Bring back a deleted run."""
    runs.restore(run_id)


@post("/api/v1/runs/{run_id:str}/rename", opt=_WRITE, status_code=204, sync_to_thread=True)
def rename_run(runs: Runs, run_id: str, data: NewName) -> None:
    """Give a run another name."""
    runs.change(run_id, RunChange(name=data.name))


handlers = [
    list_experiments,
    create_experiment,
    show_experiment,
    delete_experiment,
    restore_experiment,
    rename_experiment,
    set_experiment_tag,
    delete_experiment_tag,
    delete_run,
    restore_run,
    rename_run,
]
