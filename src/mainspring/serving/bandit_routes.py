"""Bandits over HTTP."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.clock import micros
from mainspring.core.values import dataclass
from mainspring.serving.bandits import PolicyReport
from mainspring.serving.model import Bandit
from mainspring.serving.rules.assignment import shares_of
from mainspring.serving.rules.bandit import BanditSpec
from mainspring.serving.service import Serving

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
Limit = Annotated[int, Parameter(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class BanditRequest:
    """Versions beside the champion, and what counts as a reward."""

    versions: list[int | str]
    reason: str = ""
    spec: BanditSpec = field(default_factory=BanditSpec)


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Who has all of the traffic afterwards: a version, "best", or null for the champion."""

    to: int | Literal["best"] | None = None
    reason: str = ""


@get("/api/v1/deployments/{name:str}/bandits", opt=_READ, sync_to_thread=True)
def list_bandits(serving: Serving, name: str, limit: Limit = 100) -> list[Bandit]:
    """Bandits of a deployment, newest first."""
    return serving.bandits(name, limit=limit)


@post("/api/v1/deployments/{name:str}/bandits", opt=_WRITE, sync_to_thread=True)
def start_bandit(serving: Serving, name: str, data: BanditRequest) -> Bandit:
    """Have the shares of the champion and other versions follow their rewards."""
    return serving.start_bandit(name, data.versions, spec=data.spec, reason=data.reason)


@post("/api/v1/deployments/{name:str}/bandits/stop", opt=_WRITE, sync_to_thread=True, status_code=200)
def stop_bandit(serving: Serving, name: str, data: StopRequest) -> Bandit:
    """Have the shares follow nothing any more: one version has all of the traffic."""
    return serving.stop_bandit(name, to=data.to, reason=data.reason)


@get("/api/v1/deployments/{name:str}/bandits/evaluation", opt=_READ, sync_to_thread=True)
def evaluate_shares(serving: Serving, name: str, shares: list[str], bandit: str = "", since: str = "") -> PolicyReport:
    """What other shares, each as VERSION=SHARE, would have brought, by the probabilities in the log.

    Of the newest bandit unless one is named, from an event time (ISO 8601) on.
    """
    earliest = micros(since) if since else None
    return serving.evaluate_shares(name, shares_of(shares), bandit_id=bandit, since=earliest)


@get("/api/v1/bandits/{bandit_id:str}", opt=_READ, sync_to_thread=True)
def show_bandit(serving: Serving, bandit_id: str) -> Bandit:
    """One bandit, with what is known of each version now."""
    return serving.known(bandit_id)


handlers = [list_bandits, start_bandit, stop_bandit, evaluate_shares, show_bandit]
