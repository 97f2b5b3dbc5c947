"""Pipelines over HTTP."""

from __future__ import annotations

from dataclasses import field

from litestar import get, post

from mainspring.core.values import dataclass
from mainspring.pipelines import search_routes
from mainspring.pipelines.model import PipelineRun, Size, Why
from mainspring.pipelines.queues import Queues, QueueView
from mainspring.pipelines.service import Pipelines
from mainspring.storage.jobs import WorkerStatus

_READ = {"permission": "pipelines:read"}
_WRITE = {"permission": "pipelines:write"}
_APPROVE = {"permission": "approvals:write"}


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A pipeline to run: "path/to/file.py:function" or "package.module:function", and its parameters.

    `key` makes the request idempotent: the same key is the same run.
    """

    target: str
    params: dict[str, object] = field(default_factory=dict)
    key: str = ""
    engine: str = ""
    cache: bool = True
    priority: int = 0


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Why a run is cancelled."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """The answer to what a run asks. `step` may be left out where it asks one thing."""

    approve: bool
    step: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class StepLog:
    """What a step wrote."""

    step: str
    text: str


@get("/api/v1/pipeline-runs", opt=_READ, sync_to_thread=True)
def list_runs(pipelines: Pipelines, pipeline: str = "", before: int = 0, limit: int = 100) -> list[PipelineRun]:
    """Runs without their steps, newest first; for the next page pass the last one's `created_at` as `before`."""
    return pipelines.runs(pipeline, before=before, limit=limit)


@post("/api/v1/pipeline-runs", opt=_WRITE, sync_to_thread=True)
def submit_run(pipelines: Pipelines, data: SubmitRequest) -> PipelineRun:
    """Put a run of a pipeline on the queue."""
    run = pipelines.submit(
        data.target,
        data.params,
        key=data.key,
        engine=data.engine,
        confined=True,
        cache=data.cache,
        priority=data.priority,
    )
    return pipelines.get(run)


@get("/api/v1/pipeline-runs/{run_id:str}", opt=_READ, sync_to_thread=True)
def show_run(pipelines: Pipelines, run_id: str) -> PipelineRun:
    """One run with its steps."""
    return pipelines.get(run_id)


@post("/api/v1/pipeline-runs/{run_id:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_run(pipelines: Pipelines, run_id: str, data: CancelRequest) -> PipelineRun:
    """Stop a run; one that has ended stays as it is."""
    pipelines.cancel(run_id, reason=data.reason)
    return pipelines.get(run_id)


@get("/api/v1/pipeline-runs/{run_id:str}/steps/{step:str}/log", opt=_READ, sync_to_thread=True)
def show_log(pipelines: Pipelines, run_id: str, step: str) -> StepLog:
    """What a step wrote, the last part of it."""
    return StepLog(step, pipelines.log(run_id, step))


@get("/api/v1/pipeline-runs/{run_id:str}/steps/{step:str}/why", opt=_READ, sync_to_thread=True)
def show_why(pipelines: Pipelines, run_id: str, step: str) -> Why:
    """Why a step ran or did not: what changed since the run before."""
    return pipelines.why(run_id, step)


@post("/api/v1/pipeline-runs/{run_id:str}/pause", opt=_WRITE, sync_to_thread=True, status_code=200)
def pause_run(pipelines: Pipelines, run_id: str) -> PipelineRun:
    """Let a run rest after the steps that are under way."""
    pipelines.steering.pause(pipelines.get(run_id))
    return pipelines.get(run_id)


@post("/api/v1/pipeline-runs/{run_id:str}/resume", opt=_WRITE, sync_to_thread=True, status_code=200)
def resume_run(pipelines: Pipelines, run_id: str) -> PipelineRun:
    """Go on with a run that was paused, failed or was cancelled; what is finished stays."""
    pipelines.steering.resume(pipelines.get(run_id))
    return pipelines.get(run_id)


@post("/api/v1/pipeline-runs/{run_id:str}/answer", opt=_APPROVE, sync_to_thread=True, status_code=200)
def answer_run(pipelines: Pipelines, run_id: str, data: AnswerRequest) -> PipelineRun:
    """Answer what a run asks; a no fails it."""
    pipelines.steering.answer(pipelines.get(run_id), data.step, approve=data.approve, comment=data.comment)
    return pipelines.get(run_id)


@get("/api/v1/pipelines/{pipeline:str}/sizes", opt=_READ, sync_to_thread=True)
def list_sizes(pipelines: Pipelines, pipeline: str) -> list[Size]:
    """What each step asks for, what it took in the latest runs, and what would do."""
    return pipelines.sizes(pipeline)


@dataclass(frozen=True, slots=True)
class QueueChange:
    """What shall be different about a queue; what is left out stays. `limit` with `project` is that project's quota."""

    mode: str = ""
    limit: int | None = None
    project: str = ""


@dataclass(frozen=True, slots=True)
class Revived:
    """Whether a dead letter is queued again."""

    job: str
    revived: bool


@get("/api/v1/queues", opt=_READ, sync_to_thread=True)
def list_queues(queues: Queues) -> list[QueueView]:
    """Every queue with its mode, limits, quotas and dead letters."""
    return queues.all()


@post("/api/v1/queues/{name:str}", opt=_WRITE, sync_to_thread=True, status_code=200)
def change_queue(queues: Queues, name: str, data: QueueChange) -> QueueView:
    """Open, pause or drain a queue, or limit how many of its jobs run at once."""
    if data.mode:
        queues.set_mode(name, data.mode)
    if data.limit is not None:
        queues.set_limit(name, data.limit, project=data.project)
    return queues.get(name)


@get("/api/v1/jobs/workers", opt=_READ, sync_to_thread=True)
def list_workers(queues: Queues) -> list[WorkerStatus]:
    """Every process that takes jobs, and the jobs it holds."""
    return queues.workers()


@post("/api/v1/jobs/{job_id:str}/revive", opt=_WRITE, sync_to_thread=True, status_code=200)
def revive_job(queues: Queues, job_id: str) -> Revived:
    """Give a dead letter another chance."""
    return Revived(job_id, queues.revive(job_id))


handlers = [
    list_queues,
    change_queue,
    list_workers,
    revive_job,
    list_runs,
    submit_run,
    show_run,
    cancel_run,
    pause_run,
    resume_run,
    answer_run,
    show_log,
    show_why,
    list_sizes,
    *search_routes.handlers,
]
