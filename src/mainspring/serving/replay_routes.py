"""Replays over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.clock import micros
from mainspring.core.values import dataclass
from mainspring.serving.model import Replay
from mainspring.serving.service import Serving

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
Limit = Annotated[int, Parameter(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A version and a window of logged traffic: event times from `since` to before `until` (ISO 8601; absent: all),
    and of that the newest `limit` rows."""

    version: int | str
    since: str = ""
    until: str = ""
    limit: int = 100_000


@get("/api/v1/deployments/{name:str}/replays", opt=_READ, sync_to_thread=True)
def list_replays(serving: Serving, name: str, limit: Limit = 100) -> list[Replay]:
    """Replays of a deployment, newest first."""
    return serving.replays(serving.get(name).name, limit=limit)


@post("/api/v1/deployments/{name:str}/replays", opt=_WRITE, sync_to_thread=True)
def start_replay(serving: Serving, name: str, data: ReplayRequest) -> Replay:
    """Begin to ask a version what users asked. It goes on beside: see its state."""
    since, until = (micros(text) if text else None for text in (data.since, data.until))
    return serving.start_replay(name, data.version, since=since, until=until, limit=data.limit)


@get("/api/v1/replays/{replay_id:str}", opt=_READ, sync_to_thread=True)
def show_replay(serving: Serving, replay_id: str) -> Replay:
    """One replay: how far it is, and what came of it."""
    return serving.find_replay(replay_id)


@post("/api/v1/replays/{replay_id:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_replay(serving: Serving, replay_id: str) -> Replay:
    """End a replay before its time, whoever runs it."""
    return serving.cancel_replay(replay_id)


handlers = [list_replays, start_replay, show_replay, cancel_replay]
