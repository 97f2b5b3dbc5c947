"""Monitoring over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from mainspring.core.values import dataclass
from mainspring.monitoring import alarm_routes, performance_routes, vector_routes
from mainspring.monitoring.health import ServiceHealth
from mainspring.monitoring.model import Alarm, Coverage, Monitor, MonitorStatus
from mainspring.monitoring.service import Monitoring

_READ = {"permission": "monitors:read"}
_WRITE = {"permission": "monitors:write"}


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a person says about an alarm."""

    note: str = ""


@get("/api/v1/monitors", opt=_READ, sync_to_thread=True)
def list_monitors(monitoring: NamedDependency[Monitoring]) -> list[Monitor]:
    """Every monitor of the project."""
    return monitoring.monitors()


@get("/api/v1/monitors/{deployment:str}", opt=_READ, sync_to_thread=True)
def show_monitor(monitoring: NamedDependency[Monitoring], deployment: str) -> MonitorStatus:
    """A monitor with its judgements, alarms and realized measures."""
    return monitoring.status(deployment)


@get("/api/v1/monitors/{deployment:str}/coverage", opt=_READ, sync_to_thread=True)
def show_coverage(monitoring: NamedDependency[Monitoring], deployment: str) -> list[Coverage]:
    """How many labels lay in the intervals of predictions, by version."""
    return monitoring.coverage(deployment)


@get("/api/v1/monitors/{deployment:str}/health", opt=_READ, sync_to_thread=True)
def show_health(monitoring: NamedDependency[Monitoring], deployment: str) -> ServiceHealth:
    """Latency, errors and throughput of the last day, and cores and memory of the model server, by five minutes."""
    return monitoring.health(deployment)


@post("/api/v1/monitors/{deployment:str}/watch", opt=_WRITE, sync_to_thread=True, status_code=200)
def watch_deployment(monitoring: NamedDependency[Monitoring], deployment: str) -> Monitor:
    """Watch a deployment; done twice it is done once."""
    return monitoring.watch(deployment)


@post("/api/v1/monitors/{deployment:str}/evaluate", opt=_WRITE, sync_to_thread=True, status_code=200)
def evaluate_monitor(monitoring: NamedDependency[Monitoring], deployment: str) -> list[Alarm]:
    """Count what is new, judge every window the stream has passed, and give back the alarms that are new."""
    monitoring.observe(deployment)
    return monitoring.evaluate(deployment)


@get("/api/v1/alarms", opt=_READ, sync_to_thread=True)
def list_alarms(
    monitoring: NamedDependency[Monitoring],
    deployment: str = "",
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    before: str = "",
    limit: int = 100,
) -> list[Alarm]:
    """Alarms, newest first; `before` is the id of the last one of the page before."""
    states = [in_state] if in_state else []
    return monitoring.alarms(deployment, states=states, before=before, limit=min(max(limit, 1), 500))


@get("/api/v1/alarms/{alarm_id:str}", opt=_READ, sync_to_thread=True)
def show_alarm(monitoring: NamedDependency[Monitoring], alarm_id: str) -> Alarm:
    """One alarm with its evidence."""
    return monitoring.alarm(alarm_id)


@post("/api/v1/alarms/{alarm_id:str}/acknowledge", opt=_WRITE, sync_to_thread=True, status_code=200)
def acknowledge_alarm(monitoring: NamedDependency[Monitoring], alarm_id: str, data: Acknowledgement) -> Alarm:
    """Note that a person has seen the alarm."""
    return monitoring.acknowledge(alarm_id, data.note)


handlers = [
    list_monitors,
    show_monitor,
    show_coverage,
    show_health,
    watch_deployment,
    evaluate_monitor,
    list_alarms,
    show_alarm,
    acknowledge_alarm,
    *alarm_routes.handlers,
    *performance_routes.handlers,
    *vector_routes.handlers,
]
