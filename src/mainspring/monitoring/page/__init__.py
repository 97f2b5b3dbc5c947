"""The screens of monitoring: the fleet, one monitor over time, and one alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Template

from mainspring.monitoring.model import Judgement
from mainspring.monitoring.service import Monitoring

_READ = {"permission": "monitors:read"}
_ROWS = 100
_WINDOWS = 400
TONES = {
    "ok": "ok",
    "waiting": "muted",
    "watch": "warn",
    "alarm": "bad",
    "open": "bad",
    "acknowledged": "warn",
    "repeated": "muted",
    "closed": "muted",
}


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
        "fleet": [monitoring.status(monitor.deployment, windows=6) for monitor in monitoring.monitors()],
        "alarms": alarms[:_ROWS],
        "older": alarms[_ROWS - 1].id if len(alarms) > _ROWS else "",
        "before": before,
        "state": in_state,
        "tones": TONES,
    }
    return Template("monitoring/page/list.html", context=context)


@get("/monitors/{name:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def monitor_page(monitoring: NamedDependency[Monitoring], name: str) -> Template:
    """One monitor: evidence and realized loss over time, columns of the latest window, alarms."""
    status = monitoring.status(name, windows=_WINDOWS)
    drift = [window for window in status.windows if window.cause == "drift" and window.version == status.version]
    loss = [window for window in status.windows if window.cause == "performance"]
    mine = [window for window in loss if window.version == status.version]
    context = {
        "status": status,
        "tones": TONES,
        "version": next((entry for entry in status.versions if entry.version == status.version), None),
        "realized": [(window.window_end, _number(window.details.get("realized"))) for window in loss],
        "loss_evidence": _heights(loss),
        "drift_evidence": _heights(drift),
        "loss": mine[-1] if mine else None,
        "drift": drift[-1] if drift else None,
        "columns": _columns(drift[-1].details) if drift else [],
        "marks": {
            "performance": [alarm.window_end for alarm in status.alarms if alarm.cause == "performance"],
            "drift": [alarm.window_end for alarm in status.alarms if alarm.cause != "performance"],
        },
        "calibration": [(score, share) for score, share, _ in status.calibration],
        "smallest": monitoring.smallest_change(name),
        "budget": monitoring.spec.budget,
        "coverage": monitoring.coverage(name),
    }
    return Template("monitoring/page/monitor.html", context=context)


@get("/alarms/{alarm_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def alarm_page(monitoring: NamedDependency[Monitoring], alarm_id: str) -> Template:
    """One alarm with the figures behind it."""
    alarm = monitoring.alarm(alarm_id)
    columns = alarm.evidence.get("columns")
    interval = alarm.evidence.get("interval")
    context = {
        "alarm": alarm,
        "columns": columns if isinstance(columns, list) else [],
        "moved": alarm.evidence.get("moved", []),
        "interval": interval if isinstance(interval, list) else [],
        "tones": TONES,
    }
    return Template("monitoring/page/alarm.html", context=context)


def _heights(windows: Sequence[Judgement]) -> list[tuple[float, float]]:
    """Evidence as a share of the way to the alarm level, in powers: 0 = none, 1 = alarm."""
    return [
        (window.window_end, max(0.0, math.log(max(window.evidence, 1.0)) / math.log(max(window.level, 2.0))))
        for window in windows
    ]


def _columns(details: Mapping[str, object]) -> list[dict[str, object]]:
    rows = [{"name": name, **detail} for name, detail in details.items() if isinstance(detail, dict)]
    return sorted(rows, key=lambda row: (row["state"] != "alarm", -_number(row["effect"]), str(row["name"])))


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


handlers = [monitors_page, monitor_page, alarm_page]
