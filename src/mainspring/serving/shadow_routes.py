"""Shadows over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post
from litestar.params import Parameter

from mainspring.core.clock import micros
from mainspring.core.values import dataclass
from mainspring.serving.model import Deployment
from mainspring.serving.service import Serving
from mainspring.serving.steering import ShadowReport

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A version that is asked the same afterwards, and the part of the answered requests it is asked."""

    version: int | str
    share: float = 1.0
    reason: str = ""


@get("/api/v1/deployments/{name:str}/shadows", opt=_READ, sync_to_thread=True)
def list_shadows(serving: Serving, name: str, since: str = "") -> list[ShadowReport]:
    """How the shadows of a deployment do beside the versions that answered, from an event time (ISO 8601) on."""
    return serving.shadows(name, since=micros(since) if since else None)


@post("/api/v1/deployments/{name:str}/shadows", opt=_WRITE, sync_to_thread=True)
def start_shadow(serving: Serving, name: str, data: ShadowRequest) -> Deployment:
    """Ask a version the same as those that answer, after they did. Nobody gets its answers."""
    return serving.shadow(name, data.version, share=data.share, reason=data.reason)


@delete("/api/v1/deployments/{name:str}/shadows/{version:int}", opt=_WRITE, sync_to_thread=True, status_code=200)
def stop_shadow(
    serving: Serving, name: str, version: int, reason: Annotated[str, Parameter(max_length=500)] = ""
) -> Deployment:
    """Ask a shadow no more."""
    return serving.unshadow(name, version, reason=reason)


handlers = [list_shadows, start_shadow, stop_shadow]
