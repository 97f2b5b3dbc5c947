"""The screens of monitoring: the fleet, one monitor over time, and one alarm."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template

from mainspring.core.clock import DAY_US, span_us
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.monitoring.model import UNSEEN_STATES, Alarm, MonitorStatus
from mainspring.monitoring.page.monitor import monitor_page
from mainspring.monitoring.page.tones import TONES
from mainspring.monitoring.rules.advice import advice
from mainspring.monitoring.rules.figures import figures_of
from mainspring.monitoring.service import Monitoring

_READ = {"permission": "monitors:read"}
_WRITE = {"permission": "monitors:write"}
_ROWS = 100


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One deployment on the list: its status, its alarm that nobody looked at, and its alarms within a year."""

    status: MonitorStatus
    alarm: Alarm | None
    advice: str
    used: int


def _row(status: MonitorStatus) -> FleetRow:
    unseen = [alarm for alarm in status.alarms if alarm.state in UNSEEN_STATES]
    alarm = min(unseen, key=lambda one: one.window_start) if unseen else None
    recent = [one for one in status.alarms if one.window_end > status.monitor.watermark - 365 * DAY_US]
    return FleetRow(status, alarm, advice(alarm.cause, alarm.evidence) if alarm else "", len(recent))


@get("/monitors", opt=_READ, sync_to_thread=True, include_in_schema=False)
def monitors_page(
    monitoring: NamedDependency[Monitoring],
    before: str = "",
    in_state: Annotated[str, QueryParameter(name="state")] = "",
) -> Template:
    """Everything that is watched, and the newest alarms."""
    states = [in_state] if in_state else []
    alarms = monitoring.alarms(states=states, before=before, limit=_ROWS + 1)
    context = {
        "fleet": [_row(monitoring.status(monitor.deployment, windows=6)) for monitor in monitoring.monitors()],
        "budget": monitoring.spec.budget,
        "silences": monitoring.desk.silences(),
        "usage": monitoring.usage(),
        "alarms": alarms[:_ROWS],
        "older": alarms[_ROWS - 1].id if len(alarms) > _ROWS else "",
        "before": before,
        "state": in_state,
        "tones": TONES,
    }
    return Template("monitoring/page/list.html", context=context)


@get("/alarms/{alarm_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def alarm_page(monitoring: NamedDependency[Monitoring], alarm_id: str) -> Template:
    """One alarm with the figures behind it."""
    alarm = monitoring.alarm(alarm_id)
    columns = alarm.evidence.get("columns")
    interval = alarm.evidence.get("interval")
    context = {
        "alarm": alarm,
        "advice": advice(alarm.cause, alarm.evidence),
        "history": monitoring.desk.history(alarm.id),
        "silence": next((one for one in monitoring.desk.silences() if one.id == alarm.silence), None),
        "is_over": alarm.state in ("closed", "repeated"),
        "columns": columns if isinstance(columns, list) else [],
        "weighed": any("impact" in entry for entry in columns) if isinstance(columns, list) else False,
        "figures": figures_of(alarm.cause, alarm.evidence),
        "moved": alarm.evidence.get("moved", []),
        "interval": interval if isinstance(interval, list) else [],
        "tones": TONES,
    }
    return Template("monitoring/page/alarm.html", context=context)


@dataclass(frozen=True, slots=True)
class Handling:
    """What a person does to an alarm: acknowledge, silence or close it, and what they say."""

    verb: str
    note: str = ""
    span: str = "1d"


@post("/alarms/{alarm_id:str}", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def handle_alarm(
    monitoring: NamedDependency[Monitoring],
    alarm_id: str,
    data: Annotated[Handling, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Acknowledge, silence or close an alarm, and show where that led."""
    alarm = monitoring.alarm(alarm_id)
    match data.verb:
        case "acknowledge":
            monitoring.acknowledge(alarm.id, data.note)
        case "close":
            monitoring.desk.close(alarm.id, data.note)
        case "silence":
            until = monitoring.desk.after(span_us(data.span, "span"))
            monitoring.desk.silence(until=until, why=data.note, deployment=alarm.deployment, cause=alarm.cause)
        case "unsilence":
            monitoring.desk.unsilence(alarm.silence)
        case _:
            hint = "use acknowledge, silence, unsilence or close"
            raise Invalid(f"nothing is called {data.verb[:60]!r}", where="verb", hint=hint)
    return Redirect(f"/alarms/{alarm.id}", status_code=303)


@dataclass(frozen=True, slots=True)
class Trying:
    """Settings to try over the past; an empty one is the one in force."""

    budget: str = ""
    drift_tolerance: str = ""
    tolerance: str = ""


@post("/monitors/{name:str}/replay", opt=_WRITE, sync_to_thread=True, status_code=200, include_in_schema=False)
def replay_page(
    monitoring: NamedDependency[Monitoring],
    name: str,
    data: Annotated[Trying, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Template:
    """Which alarms other settings would have raised."""
    given = {key: str(getattr(data, key)).strip() for key in ("budget", "drift_tolerance", "tolerance")}
    found = monitoring.replay(name, {key: text for key, text in given.items() if text})
    return Template("monitoring/page/replay.html", context={"name": name, "found": found, "spec": found.spec})


@post("/monitors/{name:str}/vectors", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def compare_vectors_page(monitoring: NamedDependency[Monitoring], name: str) -> Redirect:
    """Have the vectors of the latest window compared, and show where what is found will be."""
    monitoring.vectors.ask(name)
    return Redirect(f"/monitors/{name}#vectors", status_code=303)


@get("/monitors/{name:str}/replay", opt=_READ, sync_to_thread=True, include_in_schema=False)
def ask_replay_page(monitoring: NamedDependency[Monitoring], name: str) -> Template:
    """The form for it."""
    monitoring.get(name)
    return Template("monitoring/page/replay.html", context={"name": name, "found": None, "spec": monitoring.spec})


handlers = [monitors_page, monitor_page, alarm_page, handle_alarm, ask_replay_page, replay_page, compare_vectors_page]
