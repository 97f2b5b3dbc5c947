"""Serving over HTTP. Predictions themselves are asked of the model server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.clock import micros
from mainspring.core.settings import Settings
from mainspring.serving import review_routes
from mainspring.serving.client import Client, Prediction, Value
from mainspring.serving.model import (
    Deployment,
    Feedback,
    Label,
    LoggedPrediction,
    Rollout,
    StoredFeedback,
    Traffic,
    TrafficChange,
)
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.rules.decision import Decision, RolloutSpec
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import address_of

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
Limit = Annotated[int, Parameter(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """A version, by number or alias, for an endpoint, and how it answers from now on (absent: as before)."""

    model: str
    version: int | str
    reason: str = ""
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """A version for a share of an endpoint's traffic, and how it is judged."""

    version: int | str
    share: float = 0.25
    reason: str = ""
    spec: RolloutSpec = field(default_factory=RolloutSpec)


@dataclass(frozen=True, slots=True)
class ReasonRequest:
    """Why; kept in the history."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Rows as columns by feature name, and what `Client.predict` takes beside them."""

    columns: dict[str, list[Value]]
    version: int | None = None
    request_id: str = ""
    event_time: str | int | None = None
    routing_key: str = ""


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
        )


@get("/api/v1/deployments/{name:str}/history", opt=_READ, sync_to_thread=True)
def list_changes(serving: Serving, name: str, limit: Limit = 100) -> list[TrafficChange]:
    """The traffic of an endpoint, newest first."""
    return serving.history(name, limit=limit)


@get("/api/v1/deployments/{name:str}/live", opt=_READ, sync_to_thread=True)
def show_live(serving: Serving, name: str, at: str) -> Traffic | None:
    """The traffic of an endpoint at a time (ISO 8601); null when it was not there yet."""
    return serving.live_at(name, micros(at))


@get("/api/v1/deployments/{name:str}/rollouts", opt=_READ, sync_to_thread=True)
def list_rollouts(serving: Serving, name: str, limit: Limit = 100) -> list[Rollout]:
    """Rollouts of a deployment, newest first."""
    return serving.rollouts(name, limit=limit)


@post("/api/v1/deployments/{name:str}/rollouts", opt=_WRITE, sync_to_thread=True)
def start_rollout(serving: Serving, name: str, data: RolloutRequest) -> Rollout:
    """Give a version its first share of the traffic."""
    return serving.start_rollout(name, data.version, share=data.share, spec=data.spec, reason=data.reason)


@post("/api/v1/deployments/{name:str}/promote", opt=_WRITE, sync_to_thread=True, status_code=200)
def promote(serving: Serving, name: str, data: ReasonRequest) -> Rollout:
    """End the rollout under way: its version gets all traffic."""
    return serving.promote(name, data.reason)


@post("/api/v1/deployments/{name:str}/rollback", opt=_WRITE, sync_to_thread=True, status_code=200)
def rollback(serving: Serving, name: str, data: ReasonRequest) -> Deployment:
    """Give the traffic back to the champion or, without a rollout, to the one before it."""
    return serving.rollback(name, data.reason)


@get("/api/v1/rollouts/{rollout_id:str}", opt=_READ, sync_to_thread=True)
def show_rollout(serving: Serving, rollout_id: str) -> Rollout:
    """One rollout, with the last decision that was carried out."""
    return serving.rollout(rollout_id)


@get("/api/v1/rollouts/{rollout_id:str}/decision", opt=_READ, sync_to_thread=True)
def judge(serving: Serving, rollout_id: str) -> Decision:
    """What predictions and labels say about a rollout now. Changes nothing."""
    return serving.judge(rollout_id)


@post("/api/v1/rollouts/{rollout_id:str}/advance", opt=_WRITE, sync_to_thread=True, status_code=200)
def advance(serving: Serving, rollout_id: str) -> Rollout:
    """Judge a rollout and do what the judgement says."""
    return serving.advance(rollout_id)


@post("/api/v1/feedback", opt={"permission": "feedback:write"}, sync_to_thread=True, status_code=200)
def give_feedback(serving: Serving, data: FeedbackRequest) -> FeedbackAnswer:
    """Store what became known of predictions. Sent twice it is stored once."""
    items = [Feedback(item.prediction_id, item.value, item.kind, micros(item.at)) for item in data.items]
    return FeedbackAnswer(len(items), serving.feedback(data.deployment, items))


@get("/api/v1/deployments/{name:str}/feedback", opt=_READ, sync_to_thread=True)
def list_feedback(serving: Serving, name: str, after: int = 0, limit: Limit = 1000) -> list[StoredFeedback]:
    """Feedback in the order of arrival, above the number `after`."""
    return serving.feedback_after(name, after, limit)


@get("/api/v1/predictions/{prediction_id:str}", opt=_READ, sync_to_thread=True)
def show_prediction(serving: Serving, prediction_id: str, deployment: str = "") -> LoggedPrediction:
    """One logged prediction, and what became known of it."""
    return serving.prediction(prediction_id, deployment=deployment)


@get("/metrics", opt=_READ, sync_to_thread=True, media_type="text/plain; version=0.0.4; charset=utf-8")
def show_metrics(serving: Serving) -> str:
    """What all workers of the model server counted, in the text format of Prometheus."""
    return serving.metrics()


handlers = [
    list_deployments,
    show_deployment,
    deploy,
    predict,
    list_changes,
    show_live,
    list_rollouts,
    start_rollout,
    promote,
    rollback,
    show_rollout,
    judge,
    advance,
    give_feedback,
    list_feedback,
    show_prediction,
    show_metrics,
    *review_routes.handlers,
]
