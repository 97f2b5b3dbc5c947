"""Tracking over HTTP. Metrics come in as raw bytes, decoded once, and wait for the shared commit without a thread."""

from __future__ import annotations

import asyncio

from litestar import Request, Response, get, post
from litestar.datastructures import State

from mainspring.core.errors import TooLarge
from mainspring.core.values import dataclass
from mainspring.tracking import experiment_routes, file_routes, search_routes
from mainspring.tracking.arrow import ARROW, arrow_of
from mainspring.tracking.model import CodeState, Environment, Metric, Run, RunInput
from mainspring.tracking.service import Tracking
from mainspring.tracking.wire import NewRun, decode, number_or_word, numbers_or_words

_READ = {"permission": "runs:read"}
_WRITE = {"permission": "runs:write"}
MAX_BATCH = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class EndOfRun:
    """How a run ended: finished, failed or killed; `ended_at` when it could not be said then."""

    status: str = "finished"
    ended_at: int = 0


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """One point; a value that is no finite number comes as "NaN", "Infinity" or "-Infinity"."""

    key: str
    value: float | str
    step: int
    at: int


@dataclass(frozen=True, slots=True)
class CurveAnswer:
    """Points of a metric, a list for each column; values as in a point, times in microseconds."""

    key: str
    steps: list[int]
    times: list[int]
    values: list[float | str]


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A run as it is sent."""

    id: str
    experiment: str
    name: str
    parent: str
    status: str
    started_at: int
    ended_at: int | None
    seed: int | None
    created_by: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, PointAnswer]
    inputs: list[RunInput]
    code: CodeState | None
    environment: Environment | None


@post("/api/v1/runs", opt=_WRITE, sync_to_thread=True)
def create_run(tracking: Tracking, data: NewRun) -> RunAnswer:
    """Start a run."""
    made = tracking.create_run(
        data.experiment,
        name=data.name,
        parent=data.parent,
        tags=data.tags,
        code=data.code,
        environment=data.environment,
        seed=data.seed,
        run_id=data.run_id,
        started_at=data.started_at,
    )
    return _run(made)


@get("/api/v1/runs/{run_id:str}", opt=_READ, sync_to_thread=True)
def show_run(tracking: Tracking, run_id: str) -> RunAnswer:
    """One run."""
    return _run(tracking.get(run_id))


@post("/api/v1/runs/{run_id:str}/log", opt=_WRITE, status_code=200, media_type="application/json")
async def log_batch(tracking: Tracking, request: Request[object, object, State], run_id: str) -> bytes:
    """Store metrics, params and tags: all of them or none, once however often they are sent."""
    body = await request.body()
    if len(body) > MAX_BATCH:
        raise TooLarge(f"{len(body)} bytes", where="body", hint=f"send at most {MAX_BATCH}")
    batch = decode(body)
    stored = tracking.submit_batch(run_id, metrics=batch.points(), params=batch.params, tags=batch.tags)
    await asyncio.wrap_future(stored)
    return b"{}"


@post("/api/v1/runs/{run_id:str}/finish", opt=_WRITE, status_code=200, sync_to_thread=True)
def finish_run(tracking: Tracking, run_id: str, data: EndOfRun) -> RunAnswer:
    """End a run."""
    return _run(tracking.finish(run_id, data.status, ended_at=data.ended_at))


@post("/api/v1/runs/{run_id:str}/resume", opt=_WRITE, status_code=200, sync_to_thread=True)
def resume_run(tracking: Tracking, run_id: str) -> RunAnswer:
    """Open a run that ended, so that it is running again."""
    return _run(tracking.resume(run_id))


@get("/api/v1/runs/{run_id:str}/metrics/{key:path}", opt=_READ, sync_to_thread=True)
def show_history(
    tracking: Tracking, request: Request[object, object, State], run_id: str, key: str
) -> CurveAnswer | Response[bytes]:
    """Every point of a metric in the order of step, time and value, by columns: as JSON, or as an Arrow stream of
    `step`, `at` and `value` for who accepts `application/vnd.apache.arrow.stream`."""
    found = tracking.packed(run_id, key.removeprefix("/"))
    if ARROW in request.headers.get("accept", ""):
        return Response(arrow_of(found), media_type=ARROW, headers={"Vary": "Accept"})
    curve = found.curve()
    return CurveAnswer(curve.key, curve.steps, curve.times, numbers_or_words(curve.values))


@post("/api/v1/runs/{run_id:str}/inputs", opt=_WRITE, status_code=200, sync_to_thread=True)
def add_input(tracking: Tracking, run_id: str, data: RunInput) -> RunInput:
    """Note that a run read a dataset version."""
    tracking.log_input(run_id, data.dataset, data.context)
    return data


def _point(point: Metric) -> PointAnswer:
    return PointAnswer(point.key, number_or_word(point.value), point.step, point.at)


def _run(found: Run) -> RunAnswer:
    names = ("id", "experiment", "name", "parent", "status", "started_at", "ended_at", "seed", "created_by")
    return RunAnswer(
        **{name: getattr(found, name) for name in names},
        params=found.params,
        tags=found.tags,
        metrics={key: _point(point) for key, point in found.metrics.items()},
        inputs=list(found.inputs),
        code=found.code,
        environment=found.environment,
    )


handlers = [
    create_run,
    show_run,
    log_batch,
    finish_run,
    resume_run,
    show_history,
    add_input,
    *experiment_routes.handlers,
    *file_routes.handlers,
    *search_routes.handlers,
]
