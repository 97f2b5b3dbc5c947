"""HTTP of the loop."""

from __future__ import annotations

import time
from typing import Annotated

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.values import dataclass
from mainspring.loop.model import Cycle, Policy, Switch, Turn, Why
from mainspring.loop.plan_routes import handlers as plan_handlers
from mainspring.loop.service import Loop
from mainspring.loop.trigger_routes import handlers as trigger_handlers
from mainspring.storage.ports import Journal


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Begin a cycle by hand. `as_of` is event time in microseconds, 0 = now."""

    policy: str
    reason: str = "asked for"
    key: str = ""
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class SwitchRequest:
    """Switch a policy, or all with `*`."""

    enabled: bool
    reason: str = ""


@get("/api/v1/policies", opt={"permission": "loop:read"}, sync_to_thread=False)
def list_policies(loop: Loop) -> list[Policy]:
    """Every policy of the project."""
    return list(loop.policies.values())


@post("/api/v1/policies/{policy:str}/switch", opt={"permission": "loop:write"}, sync_to_thread=True, status_code=200)
def switch_policy(loop: Loop, policy: str, data: SwitchRequest) -> Switch:
    """Switch a policy, or all with `*`, on or off."""
    return loop.switch(policy, enabled=data.enabled, reason=data.reason)


@get("/api/v1/cycles", opt={"permission": "loop:read"}, sync_to_thread=True)
def list_cycles(loop: Loop, deployment: str = "") -> list[Cycle]:
    """Cycles, newest first, at most 100."""
    return loop.cycles(deployment)


@get("/api/v1/cycles/{cycle_id:str}", opt={"permission": "loop:read"}, sync_to_thread=True)
def get_cycle(
    loop: Loop,
    journal: Journal,
    cycle_id: str,
    wait_s: Annotated[float, Parameter(ge=0, le=60)] = 0.0,
    unlike: str = "",
) -> Cycle:
    """One cycle. With `wait_s`, wait that long for its state to be none of `unlike` (comma-separated)."""
    until, states = time.monotonic() + wait_s, unlike.split(",")
    seen = journal.last()
    while (cycle := loop.cycle(cycle_id)).state in states and (left := until - time.monotonic()) > 0:
        journal.wait(seen, left)
        seen = journal.last()
    return cycle


@post("/api/v1/cycles", opt={"permission": "loop:write"}, sync_to_thread=True)
def start_cycle(loop: Loop, data: StartRequest) -> Cycle:
    """Begin a cycle: train, gate, then deploy or canary."""
    return loop.start(data.policy, reason=data.reason, key=data.key, as_of=data.as_of)


@post("/api/v1/loop/turn", opt={"permission": "loop:write"}, sync_to_thread=True, status_code=200)
def turn_loop(loop: Loop) -> Turn:
    """Make one turn now: gather predictions and labels, look at monitors, decide."""
    return loop.turn()


@get("/api/v1/predictions/{prediction_id:str}/why", opt={"permission": "loop:read"}, sync_to_thread=True)
def get_why(loop: Loop, prediction_id: str) -> Why:
    """Why a prediction was what it was: version, data, run, verdicts, and the cycle that brought it."""
    return loop.why(prediction_id)


handlers = [
    list_policies,
    switch_policy,
    list_cycles,
    get_cycle,
    start_cycle,
    turn_loop,
    get_why,
    *trigger_handlers,
    *plan_handlers,
]
