"""What monitors say to Prometheus: states, evidence and alarms, in its text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.monitoring.model import Judgement, MonitorStatus
    from mainspring.monitoring.service import Monitoring

STATES = ("waiting", "ok", "watch", "alarm")


_Series = list[tuple[dict[str, str], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """Values of one name: "gauge" or "counter", and for each set of labels the value."""

    name: str
    kind: str
    series: _Series


def families(monitoring: Monitoring) -> list[Family]:
    """Every monitor of the project: its state, how far its evidence has come, its alarms, what it has counted, how its
    deployment answered and what the model server used in the newest five minutes."""
    found = [monitoring.status(monitor.deployment, windows=40) for monitor in monitoring.monitors()]
    made = [
        Family("mainspring_alarm_budget", "gauge", [({}, monitoring.spec.budget)]),
        Family("mainspring_monitor_state", "gauge", [one for status in found for one in _states(status)]),
        Family("mainspring_monitor_evidence_share", "gauge", [one for status in found for one in _shares(status)]),
        Family("mainspring_alarms", "gauge", [one for status in found for one in _alarms(status)]),
    ]
    for name in ("predictions", "labels"):
        series = [({"deployment": s.monitor.deployment}, float(getattr(s.monitor, name))) for s in found]
        made.append(Family(f"mainspring_monitored_{name}_total", "counter", series))
    made += _service(monitoring, [status.monitor.deployment for status in found])
    for name, field in (("cores", "cores"), ("memory_megabytes", "memory_mb")):
        used = [({"worker": str(one.pid)}, float(getattr(one, field))) for one in monitoring.usage()]
        made.append(Family(f"mainspring_worker_{name}", "gauge", used))
    return [family for family in made if family.series]


def monitors_text(monitoring: Monitoring) -> str:
    """The same in the text format of Prometheus."""
    return "\n".join(line for family in families(monitoring) for line in _block(family)) + "\n"


def _service(monitoring: Monitoring, deployments: Sequence[str]) -> list[Family]:
    """Throughput, failures and latency of each deployment in its newest five minutes with requests."""
    last = {name: points[-1] for name in deployments if (points := monitoring.health(name).points)}
    rates = [({"deployment": name}, point.per_second) for name, point in last.items()]
    failed = [({"deployment": name}, point.failed) for name, point in last.items()]
    slow = [({"deployment": name}, point.p99_ms / 1000) for name, point in last.items() if point.p99_ms is not None]
    return [
        Family("mainspring_service_requests_per_second", "gauge", rates),
        Family("mainspring_service_failed_share", "gauge", failed),
        Family("mainspring_service_p99_seconds", "gauge", slow),
    ]


def _block(family: Family) -> list[str]:
    lines = [f"# TYPE {family.name} {family.kind}"]
    for labels, value in family.series:
        said = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{family.name}{{{said}}} {value:.15g}" if said else f"{family.name} {value:.15g}")
    return lines


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
