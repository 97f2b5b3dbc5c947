"""What monitors say to Prometheus: states, evidence and alarms, in its text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.monitoring.model import Judgement, MonitorStatus
    from mainspring.monitoring.service import Monitoring

STATES = ("waiting", "ok", "watch", "alarm")


def monitors_text(monitoring: Monitoring) -> str:
    """Every monitor of the project: its state, how far its evidence has come, its alarms and what it has counted."""
    found = [monitoring.status(monitor.deployment, windows=40) for monitor in monitoring.monitors()]
    lines = ["# TYPE mainspring_alarm_budget gauge", f"mainspring_alarm_budget {monitoring.spec.budget:g}"]
    lines += _block("mainspring_monitor_state", "gauge", (line for status in found for line in _states(status)))
    lines += _block("mainspring_monitor_evidence_share", "gauge", (one for status in found for one in _shares(status)))
    lines += _block("mainspring_alarms", "gauge", (line for status in found for line in _alarms(status)))
    for name in ("predictions", "labels"):
        series = (({"deployment": s.monitor.deployment}, getattr(s.monitor, name)) for s in found)
        lines += _block(f"mainspring_monitored_{name}_total", "counter", series)
    lines += _used(monitoring)
    return "\n".join(lines) + "\n"


def _used(monitoring: Monitoring) -> list[str]:
    """Cores and memory of each worker, as they were in the newest five minutes."""
    lines = []
    for name, field in (("cores", "cores"), ("memory_megabytes", "memory_mb")):
        series = (({"worker": str(one.pid)}, float(getattr(one, field))) for one in monitoring.usage())
        lines += _block(f"mainspring_worker_{name}", "gauge", series)
    return lines


_Series = Iterable[tuple[dict[str, str], float]]


def _block(name: str, kind: str, series: _Series) -> list[str]:
    lines = []
    for labels, value in series:
        said = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{said}}} {value:.15g}")
    return [f"# TYPE {name} {kind}", *lines] if lines else []


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _states(status: MonitorStatus) -> _Series:
    name = status.monitor.deployment
    return [({"deployment": name, "state": state}, float(status.state == state)) for state in STATES]


def _shares(status: MonitorStatus) -> _Series:
    """The newest evidence of each signal as a share of what it must reach."""
    latest: dict[str, Judgement] = {
        window.cause: window for window in status.windows if window.version == status.version
    }
    return [
        ({"deployment": status.monitor.deployment, "signal": cause}, min(window.evidence / window.level, 1.0))
        for cause, window in sorted(latest.items())
        if window.level > 0
    ]


def _alarms(status: MonitorStatus) -> _Series:
    counted = Counter((alarm.cause, alarm.state) for alarm in status.alarms)
    name = status.monitor.deployment
    return [({"deployment": name, "cause": c, "state": s}, float(n)) for (c, s), n in sorted(counted.items())]
