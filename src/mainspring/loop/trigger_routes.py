"""HTTP of triggers."""

from __future__ import annotations

from litestar import Request, get, post
from litestar.datastructures import State

from mainspring.core.errors import TooLarge
from mainspring.core.values import dataclass
from mainspring.loop.triggers.hooks import MOST_BYTES
from mainspring.loop.triggers.model import Fire, TriggerState
from mainspring.loop.triggers.service import Taken, Tested, Triggers, TriggerView

_READ = {"permission": "triggers:read"}
_WRITE = {"permission": "triggers:write"}


@dataclass(frozen=True, slots=True)
class FireRequest:
    """Fire by hand. The same `key` fires once; `force` goes past a pause, a cool-down and a budget."""

    reason: str = ""
    key: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """Pause a trigger, or with `paused` false resume it."""

    paused: bool = True
    reason: str = ""


@get("/api/v1/triggers", opt=_READ, sync_to_thread=True)
def list_triggers(triggers: Triggers) -> list[TriggerView]:
    """Triggers by name, with their next times, what they did last, and why they would not fire now."""
    return triggers.triggers()


@get("/api/v1/triggers/{name:str}", opt=_READ, sync_to_thread=True)
def show_trigger(triggers: Triggers, name: str) -> TriggerView:
    """One trigger."""
    return triggers.view(name)


@get("/api/v1/triggers/{name:str}/fires", opt=_READ, sync_to_thread=True)
def list_fires(triggers: Triggers, name: str, before: str = "", limit: int = 100) -> list[Fire]:
    """What a trigger did, newest first; for the next page pass the last one's id as `before`."""
    return triggers.fires(name, before=before, limit=limit)


@post("/api/v1/triggers/{name:str}/fires", opt=_WRITE, sync_to_thread=True)
def fire_trigger(triggers: Triggers, name: str, data: FireRequest) -> Fire:
    """Start what a trigger starts."""
    return triggers.fire(name, key=data.key, reason=data.reason, force=data.force)


@post("/api/v1/triggers/{name:str}/pause", opt=_WRITE, sync_to_thread=True, status_code=200)
def pause_trigger(triggers: Triggers, name: str, data: PauseRequest) -> TriggerState:
    """Pause a trigger or resume it."""
    turn = triggers.pause if data.paused else triggers.resume
    return turn(name, reason=data.reason)


@get("/api/v1/triggers/{name:str}/test", opt=_READ, sync_to_thread=True)
def test_trigger(triggers: Triggers, name: str) -> Tested:
    """What a trigger would do if what it watches for occurred now."""
    return triggers.test(name)


@post(
    "/api/v1/triggers/{name:str}/hook",
    opt=_WRITE,
    status_code=202,
    request_max_body_size=MOST_BYTES,
)
async def take_delivery(request: Request[object, object, State], triggers: Triggers, name: str) -> Taken:
    """Take a delivery of a webhook, signed with the secret of the trigger. Sent again, it is taken once."""
    import asyncio

    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said[:12]) > MOST_BYTES:
        raise TooLarge(f"a delivery of {said[:12]} bytes", where="body", hint=f"send at most {MOST_BYTES}")
    body = await request.body()
    headers = {key.lower(): value for key, value in request.headers.items()}
    return await asyncio.to_thread(triggers.receive, name, headers, body)


handlers = [list_triggers, show_trigger, list_fires, fire_trigger, pause_trigger, test_trigger, take_delivery]
