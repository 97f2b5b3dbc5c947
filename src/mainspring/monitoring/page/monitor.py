"""One monitor over time: performance, segments, people's words, inputs and alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template

from mainspring.core.clock import DAY_US
from mainspring.monitoring.comparisons import VectorComparison
from mainspring.monitoring.model import PACKS, Alarm, Judgement, MonitorStatus
from mainspring.monitoring.page.tones import TONES
from mainspring.monitoring.performances import PERIODS, Performance, WindowPerformance
from mainspring.monitoring.performing import Performing
from mainspring.monitoring.readings import Reading
from mainspring.monitoring.rules.impact import UNKNOWN, weighed_columns
from mainspring.monitoring.service import BY_MINUTES, Monitoring
from mainspring.registry.model import Importance
from mainspring.serving import Serving

_WINDOWS = 60
_COLUMNS = 12
_SEGMENTS = 60
_SHADOW_DAYS = 30


@get("/monitors/{name:str}", opt={"permission": "monitors:read"}, sync_to_thread=True, include_in_schema=False)
def monitor_page(
    monitoring: NamedDependency[Monitoring],
    performing: NamedDependency[Performing],
    serving: NamedDependency[Serving],
    name: str,
    slices: bool = False,
    by: str = "day",
    segment: str = "",
) -> Template:
    """One monitor: what answers were worth, where they are worst, evidence and histograms per column, alarms."""
    status = monitoring.status(name, windows=40)
    drift = monitoring.windows(name, "drift", version=status.version, limit=_WINDOWS)
    loss = monitoring.windows(name, "performance", limit=_WINDOWS)
    mine = [window for window in loss if window.version == status.version]
    found = performing.performance(name, by=by, segment=segment, windows=_WINDOWS)
    health = monitoring.health(name)
    points = health.points
    importance = monitoring.importance(name) if drift else None
    columns = _columns(drift[-1].details, importance)[:_COLUMNS] if drift else []
    marks = _marks(status.alarms)
    context = {
        "status": status,
        "tones": TONES,
        "version": next((entry for entry in status.versions if entry.version == status.version), None),
        "performance": found,
        "periods": PERIODS[:-1],
        "curves": _curves(found),
        "money": _money(found),
        "realized": [(window.window_end, _number(window.details.get("realized"))) for window in loss],
        "loss_evidence": _heights(loss),
        "health": health,
        "packed": _packed(monitoring, name, status.version),
        "judged": {cause: monitoring.windows(name, cause, version=status.version, limit=1) for cause in BY_MINUTES},
        "answered": {
            "p99": [(point.start, math.nan if point.p99_ms is None else point.p99_ms) for point in points],
            "failed": [(point.start, point.failed) for point in points],
            "rate": [(point.start, point.per_second) for point in points],
        },
        "loss": mine[-1] if mine else None,
        "drift": drift[-1] if drift else None,
        "drift_evidence": _heights(drift),
        "columns": columns,
        "importance": UNKNOWN if importance is None else importance.words,
        "left_out": len(drift[-1].details) - len(columns) if drift else 0,
        "timelines": {column["name"]: _timeline(drift, str(column["name"])) for column in columns},
        "histograms": {pair.column: pair for pair in monitoring.histograms(name, drift[-1])} if drift else {},
        "marks": marks,
        "column_marks": {column["name"]: _column_marks(status.alarms, str(column["name"])) for column in columns},
        "calibration": [(score, share) for score, share, _ in status.calibration],
        "smallest": monitoring.smallest_change(name),
        "budget": monitoring.spec.budget,
        "coverage": monitoring.coverage(name),
        "segments": performing.segments(name, since=found.total.start)[:_SEGMENTS],
        "slices": performing.worst(name) if slices else None,
        "vectors": monitoring.vectors.columns(name),
        "compared": _compared(monitoring, name, status.version),
        "comparing": monitoring.vectors.last_job(name),
        "said": performing.feedback(name, by="week")[-_COLUMNS:],
        **_shadows(serving, status),
    }
    return Template("monitoring/page/monitor.html", context=context)


def _packed(monitoring: Monitoring, name: str, version: int) -> dict[str, object]:
    """What a ranking, forecasts or risks over time were worth: kind, windows, and the newest by its parts."""
    for kind in PACKS:
        windows = monitoring.windows(name, kind, version=version, limit=_WINDOWS)
        if windows:
            losses = [(window.window_end, _number(window.details.get("realized"))) for window in windows]
            return {"kind": kind, "windows": windows[-_COLUMNS:][::-1], "last": windows[-1], "losses": losses,
                    "evidence": _heights(windows) if windows[-1].level else []}  # fmt: skip
    return {}


def _compared(monitoring: Monitoring, name: str, version: int) -> VectorComparison | None:
    """What was found last of the vectors of the live version."""
    return next((one for one in monitoring.vectors.kept(name) if one.version == version), None)


def _shadows(serving: Serving, status: MonitorStatus) -> dict[str, object]:
    """The live version beside older and newer ones that were asked the same."""
    live = serving.get(status.monitor.deployment)
    if not live.traffic.shadows:
        return {"lines": [], "model": live.model, "parts": None}
    since = status.monitor.watermark - _SHADOW_DAYS * DAY_US
    reports = serving.shadows(status.monitor.deployment, since=since)
    lines = [(None, entry) for report in reports for entry in report.comparisons]
    return {"lines": lines, "model": live.model, "parts": None}


def _curves(found: Performance) -> list[tuple[str, list[tuple[float, float]], list[tuple[float, float, float]]]]:
    """The headline measure, realized and estimated: what it is, its points and its band."""
    return [
        (side, _points(found.windows, side, found.headline), _band(found.windows, side, found.headline))
        for side in ("realized", "estimated")
    ]


def _reading(window: WindowPerformance, side: str, name: str) -> Reading:
    readings = window.realized if side == "realized" else window.estimated
    return readings.get(name, Reading())


def _points(windows: Sequence[WindowPerformance], side: str, name: str) -> list[tuple[float, float]]:
    values = [(window.start, _reading(window, side, name).value) for window in windows]
    return [(at, math.nan if value is None else value) for at, value in values]


def _band(windows: Sequence[WindowPerformance], side: str, name: str) -> list[tuple[float, float, float]]:
    found = []
    for window in windows:
        one = _reading(window, side, name)
        low, high = (math.nan if end is None else end for end in (one.low, one.high))
        found.append((float(window.start), low, high))
    return found


def _money(found: Performance) -> list[tuple[float, float]]:
    if "value" not in found.total.realized:
        return []
    return _points(found.windows, "realized", "value")


def _marks(alarms: Sequence[Alarm]) -> dict[str, list[int]]:
    return {
        "performance": [alarm.window_end for alarm in alarms if alarm.cause in ("performance", "gap", "coverage")],
        "drift": [alarm.window_end for alarm in alarms if alarm.cause in ("drift", "missing")],
        **{
            cause: [alarm.window_end for alarm in alarms if alarm.cause == cause]
            for cause in ("latency", "errors", "stale", "resources")
        },
    }


def _column_marks(alarms: Sequence[Alarm], name: str) -> list[int]:
    return [alarm.window_end for alarm in alarms if name in _named(alarm)]


def _named(alarm: Alarm) -> set[object]:
    entries = alarm.evidence.get("columns")
    return {entry.get("column") for entry in entries if isinstance(entry, dict)} if isinstance(entries, list) else set()


def _heights(windows: Sequence[Judgement]) -> list[tuple[float, float]]:
    """Evidence as a share of the way to the alarm level, in powers: 0 = none, 1 = alarm."""
    return [(window.window_end, _height(window.evidence, window.level)) for window in windows]


def _height(evidence: float, level: float) -> float:
    return max(0.0, math.log(max(evidence, 1.0)) / math.log(max(level, 2.0)))


def _timeline(windows: Sequence[Judgement], name: str) -> list[tuple[float, float]]:
    details = [(window, window.details.get(name)) for window in windows]
    return [
        (window.window_end, _height(_number(detail.get("m")), window.level))
        for window, detail in details
        if isinstance(detail, dict)
    ]


def _columns(details: Mapping[str, object], importance: Importance | None) -> list[dict[str, object]]:
    """The columns of a window: those in alarm first, then by impact, by effect where that is not known."""
    rows = [{"column": name, "name": name, **detail} for name, detail in details.items() if isinstance(detail, dict)]
    return sorted(weighed_columns(rows, importance), key=lambda row: row["state"] != "alarm")


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
