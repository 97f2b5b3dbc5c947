"""Shares and routes over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, post, put
from litestar.params import Parameter

from mainspring.core.values import dataclass
from mainspring.serving.model import Deployment, Route
from mainspring.serving.service import Serving

_WRITE = {"permission": "deployments:write"}
Reason = Annotated[str, Parameter(max_length=500)]


@dataclass(frozen=True, slots=True)
class SharesRequest:
    """The share of each version, which sum to 1, and which of them is live (absent: it stays, else the largest)."""

    shares: dict[int, float]
    champion: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """Requests with a header of that value go to a version; without both, the header has the version's number."""

    header: str
    value: str = ""
    version: int | None = None
    reason: str = ""


@put("/api/v1/deployments/{name:str}/traffic", opt=_WRITE, sync_to_thread=True)
def set_shares(serving: Serving, name: str, data: SharesRequest) -> Deployment:
    """Share the traffic between versions, without a rollout."""
    return serving.weigh(name, data.shares, champion=data.champion, reason=data.reason)


@post("/api/v1/deployments/{name:str}/routes", opt=_WRITE, sync_to_thread=True)
def add_route(serving: Serving, name: str, data: RouteRequest) -> Deployment:
    """Bring requests with a header to a version, whatever the shares say."""
    return serving.route(name, Route(data.header.lower(), data.value, data.version), reason=data.reason)


@delete("/api/v1/deployments/{name:str}/routes", opt=_WRITE, sync_to_thread=True, status_code=200)
def end_route(serving: Serving, name: str, header: str, value: str = "", reason: Reason = "") -> Deployment:
    """End a route."""
    return serving.unroute(name, header.lower(), value, reason=reason)


handlers = [set_shares, add_route, end_route]
