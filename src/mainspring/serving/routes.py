"""Serving over HTTP. Predictions themselves are asked of the model server."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.clock import micros
from mainspring.core.settings import Settings
from mainspring.core.values import dataclass
from mainspring.serving import (
    bandit_routes,
    batch_routes,
    replay_routes,
    review_routes,
    rollout_routes,
    shadow_routes,
    traffic_routes,
)
from mainspring.serving.bulk import BulkAnswer
from mainspring.serving.client import Client, Prediction, Value
from mainspring.serving.model import (
    Deployment,
    Feedback,
    Label,
    LoggedPrediction,
    StoredFeedback,
    TrafficChange,
)
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.processes import IdleDeployment, Workers
from mainspring.serving.service import Serving
from mainspring.serving.skew import SkewReport
from mainspring.serving.supervisor import address_of

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
_FEEDBACK = {"permission": "feedback:write"}
Limit = Annotated[int, Parameter(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """A version, by number or alias, for an endpoint, and how it answers from now on (absent: as before)."""

    model: str
    version: int | str
    reason: str = ""
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Rows as columns by feature name, and what `Client.predict` takes beside them."""

    columns: dict[str, list[Value]]
    version: int | None = None
    request_id: str = ""
    event_time: str | int | None = None
    routing_key: str = ""
    explain: bool | Literal["keep"] = False


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What became known of one prediction. `at` is event time in microseconds or ISO 8601, 0 = now."""

    prediction_id: str
    value: Label
    kind: str = "label"
    at: int | str = 0


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """Any number of items about one deployment; all are stored or none."""

    deployment: str
    items: list[FeedbackItem]


@dataclass(frozen=True, slots=True)
class FeedbackAnswer:
    """How many items came, and how many of them were new."""

    received: int
    new: int


@get("/api/v1/deployments", opt=_READ, sync_to_thread=True)
def list_deployments(serving: Serving) -> list[Deployment]:
    """All deployments by name."""
    return serving.deployments()


@get("/api/v1/deployments/{name:str}", opt=_READ, sync_to_thread=True)
def show_deployment(serving: Serving, name: str) -> Deployment:
    """One deployment."""
    return serving.get(name)


@post("/api/v1/deployments/{name:str}", opt=_WRITE, sync_to_thread=True, status_code=200)
def deploy(serving: Serving, name: str, data: DeployRequest) -> Deployment:
    """Put a version behind an endpoint, at once and with all traffic."""
    return serving.deploy(name, data.model, data.version, reason=data.reason, options=data.options)


@post(
    "/api/v1/deployments/{name:str}/predict",
    opt={"permission": "predictions:write"},
    sync_to_thread=True,
    status_code=200,
)
def predict(serving: Serving, settings: Settings, name: str, data: PredictRequest) -> Prediction:
    """Ask an endpoint for one answer a row, and log it. For trying: traffic is asked of the model server itself."""
    with Client(address_of(serving.folder, settings.server.host)) as client:
        return client.predict(
            serving.get(name).endpoint,
            data.columns,
            version=data.version,
            request_id=data.request_id,
            event_time=data.event_time,
            routing_key=data.routing_key,
            explain=data.explain,
        )


@get("/api/v1/deployments/{name:str}/packages", opt=_READ, sync_to_thread=True)
def show_packages(serving: Serving, name: str) -> dict[int, str]:
    """Versions that are served with other packages than they were made with, and how these differ."""
    return serving.differing(name)


@get("/api/v1/deployments/{name:str}/history", opt=_READ, sync_to_thread=True)
def list_changes(serving: Serving, name: str, limit: Limit = 100) -> list[TrafficChange]:
    """The traffic of an endpoint, newest first."""
    return serving.history(name, limit=limit)


@get("/api/v1/deployments/{name:str}/skew", opt=_READ, sync_to_thread=True)
def show_skew(
    serving: Serving,
    name: str,
    since: int | None = None,
    until: int | None = None,
    tolerance: Annotated[float, Parameter(ge=0)] = 1e-9,
    most: Annotated[int, Parameter(ge=1, le=1_000_000)] = 100_000,
) -> SkewReport:
    """Whether what was looked up for predictions is what the past says of those moments (event times, microseconds)."""
    return serving.skew(name, since, until, tolerance=tolerance, most=most)


@get("/api/v1/deployments/{name:str}/live", opt=_READ, sync_to_thread=True)
def show_live(serving: Serving, name: str, at: str) -> TrafficChange | None:
    """The traffic of an endpoint at a time (ISO 8601); null when it was not there yet."""
    return serving.live_at(name, micros(at))


@post("/api/v1/feedback", opt=_FEEDBACK, sync_to_thread=True, status_code=200)
def give_feedback(serving: Serving, data: FeedbackRequest) -> FeedbackAnswer:
    """Store what became known of predictions. Sent twice it is stored once."""
    items = [Feedback(item.prediction_id, item.value, item.kind, micros(item.at)) for item in data.items]
    return FeedbackAnswer(len(items), serving.feedback(data.deployment, items))


@post("/api/v1/deployments/{name:str}/feedback", opt=_FEEDBACK, sync_to_thread=True, status_code=200)
def give_feedback_file(serving: Serving, name: str, body: bytes) -> BulkAnswer:
    """Store a file of feedback: CSV with the columns prediction_id and value (kind, at), or JSON lines with them.

    Sent twice it is stored once. Bad lines are put aside: the first thousand come back with their reasons.
    """
    return serving.feedback_file(name, body)


@get("/api/v1/deployments/{name:str}/feedback", opt=_READ, sync_to_thread=True)
def list_feedback(serving: Serving, name: str, after: int = 0, limit: Limit = 1000) -> list[StoredFeedback]:
    """Feedback in the order of arrival, above the number `after`."""
    return serving.feedback_after(name, after, limit)


@get("/api/v1/deployments/{name:str}/predictions", opt=_READ, sync_to_thread=True)
def list_predictions(
    serving: Serving, name: str, limit: Limit = 100, version: int | None = None, failed: bool = False
) -> list[LoggedPrediction]:
    """Logged predictions of a deployment, newest first; of one version, or only those that failed."""
    serving.compact()
    return serving.recent(name, limit, version=version, failed=failed)


@get("/api/v1/predictions/{prediction_id:str}", opt=_READ, sync_to_thread=True)
def show_prediction(serving: Serving, prediction_id: str, deployment: str = "") -> LoggedPrediction:
    """One logged prediction, and what became known of it."""
    return serving.prediction(prediction_id, deployment=deployment)


@get("/api/v1/workers", opt=_READ, sync_to_thread=True)
def list_workers(serving: Serving) -> Workers:
    """The workers of the model server, and how their number changed."""
    return serving.workers()


@get("/api/v1/idle", opt=_READ, sync_to_thread=True)
def list_idle(serving: Serving, least_s: Annotated[int, Parameter(ge=0)] = 0) -> list[IdleDeployment]:
    """Deployments that nobody has asked for at least so many seconds, the longest first."""
    return serving.idle(least_s=least_s)


@get("/metrics", opt=_READ, sync_to_thread=True, media_type="text/plain; version=0.0.4; charset=utf-8")
def show_metrics(serving: Serving) -> str:
    """What all workers of the model server counted, in the text format of Prometheus."""
    return serving.metrics()


handlers = [
    list_deployments,
    show_deployment,
    deploy,
    predict,
    show_packages,
    list_changes,
    show_live,
    show_skew,
    give_feedback,
    give_feedback_file,
    list_feedback,
    list_predictions,
    show_prediction,
    list_workers,
    list_idle,
    show_metrics,
    *batch_routes.handlers,
    *review_routes.handlers,
    *replay_routes.handlers,
    *rollout_routes.handlers,
    *shadow_routes.handlers,
    *traffic_routes.handlers,
    *bandit_routes.handlers,
]
