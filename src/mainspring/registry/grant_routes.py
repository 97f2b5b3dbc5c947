"""Grants of pickles over HTTP."""

from __future__ import annotations

from litestar import get, post, put

from mainspring.core.errors import NotFound
from mainspring.core.values import dataclass
from mainspring.registry.grants import Grant, GrantChange, GrantRequest
from mainspring.registry.service import Registry

_READ = {"permission": "models:read"}
_WRITE = {"permission": "models:write"}
_PLACE = "/api/v1/models/{name:str}/versions/{version:str}"


@dataclass(frozen=True, slots=True)
class GrantAsk:
    """Why the pickle of a version may be loaded, how many days, and whether also when its scan says unsafe."""

    reason: str
    days: int = 90
    despite_scan: bool = False


@dataclass(frozen=True, slots=True)
class RevokeAsk:
    """Why a grant is taken back."""

    reason: str = ""


@get(_PLACE + "/grant", opt=_READ, sync_to_thread=True)
def show_grant(registry: Registry, name: str, version: str) -> Grant:
    """The grant of a version that counts now."""
    found = registry.get(name, version)
    grant = registry.grants.of(found)
    if grant is None:
        raise NotFound("there is no grant that counts", where=found.ref, hint="GET .../grants shows those of before")
    return grant


@put(_PLACE + "/grant", opt=_WRITE, sync_to_thread=True)
def give_grant(registry: Registry, name: str, version: str, data: GrantAsk) -> Grant:
    """Allow to load the pickle of a version, anew or for the first time."""
    return registry.grant(name, version, GrantRequest(data.reason, data.days, data.despite_scan))


@post(_PLACE + "/grant/revoke", opt=_WRITE, sync_to_thread=True, status_code=200)
def revoke_grant(registry: Registry, name: str, version: str, data: RevokeAsk) -> list[GrantChange]:
    """Take the grant of a version back: it is not loaded any more, and where it is served it goes."""
    found = registry.get(name, version)
    registry.grants.revoke(found, data.reason)
    return registry.grants.history(found)


@get(_PLACE + "/grants", opt=_READ, sync_to_thread=True)
def list_grants(registry: Registry, name: str, version: str, limit: int = 100) -> list[GrantChange]:
    """Who gave and took back grants of a version, and why, newest first."""
    return registry.grants.history(registry.get(name, version), limit=min(max(limit, 1), 1000))


handlers = [show_grant, give_grant, revoke_grant, list_grants]
