"""Rollouts over HTTP."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.values import dataclass
from mainspring.serving.model import Deployment, Rollout
from mainspring.serving.rules.decision import Decision, RolloutSpec
from mainspring.serving.service import Serving

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
Limit = Annotated[int, Parameter(ge=1, le=1000)]


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


@get("/api/v1/deployments/{name:str}/rollouts", opt=_READ, sync_to_thread=True)
def list_rollouts(serving: Serving, name: str, limit: Limit = 100) -> list[Rollout]:
    """Rollouts of a deployment, newest first."""
    return serving.rollouts(name, limit=limit)


@post("/api/v1/deployments/{name:str}/rollouts", opt=_WRITE, sync_to_thread=True)
def start_rollout(serving: Serving, name: str, data: RolloutRequest) -> Rollout:
    """Give a version its first share of the traffic."""
    return serving.start_rollout(name, data.version, share=data.share, spec=data.spec, reason=data.reason)


@post("/api/v1/deployments/{name:str}/pause", opt=_WRITE, sync_to_thread=True, status_code=200)
def pause(serving: Serving, name: str, data: ReasonRequest) -> Rollout:
    """Leave the canary at its share until it is resumed; harm still rolls it back."""
    return serving.pause(name, data.reason)


@post("/api/v1/deployments/{name:str}/resume", opt=_WRITE, sync_to_thread=True, status_code=200)
def resume(serving: Serving, name: str, data: ReasonRequest) -> Rollout:
    """Let a rollout go on that was paused, or held when its time was up."""
    return serving.resume(name, data.reason)


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


handlers = [list_rollouts, start_rollout, pause, resume, promote, rollback, show_rollout, judge, advance]
