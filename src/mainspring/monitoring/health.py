"""How a deployment answers, and what the model server uses for it, over the last hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.clock import HOUR_US, SECOND_US
from mainspring.core.values import dataclass
from mainspring.monitoring import records
from mainspring.monitoring.rules.budget import SERVICE_US
from mainspring.monitoring.rules.requests import ServiceCounts
from mainspring.monitoring.rules.usage import UsageWindow

if TYPE_CHECKING:
    from sqlalchemy import Connection

SPAN_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class ServicePoint:
    """Requests of five minutes of wall time.

    Attributes:
        start: First microsecond.
        requests: How many.
        per_second: The same, a second.
        failed: Share that the server could not answer.
        p50_ms: Median of how long they took, to a quarter of an octave; None without one.
        p99_ms: Their 99th percentile.
    """

    start: int
    requests: int
    per_second: float
    failed: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Service of a deployment over the last hours in which there was any.

    Attributes:
        deployment: Which.
        points: Its requests, all versions together, in order of time.
        usage: What each worker of the model server used at that time, which answers for every deployment.
    """

    deployment: str
    points: tuple[ServicePoint, ...]
    usage: tuple[UsageWindow, ...]

    @property
    def busiest(self) -> list[tuple[float, float]]:
        """Cores of the worker that used the most, by window."""
        return self._most("cores")

    @property
    def largest(self) -> list[tuple[float, float]]:
        """Memory in MB of the worker that held the most, by window."""
        return self._most("memory_mb")

    def _most(self, name: str) -> list[tuple[float, float]]:
        found: dict[int, float] = {}
        for window in self.usage:
            found[window.start] = max(found.get(window.start, 0.0), float(getattr(window, name)))
        return [(float(start), most) for start, most in sorted(found.items())]


def health_of(conn: Connection, deployment: str) -> ServiceHealth:
    """Service of a deployment over the last day in which there was any."""
    last = max(records.requests.last_service(conn, deployment), records.usage.last_usage(conn))
    since = last - SPAN_US
    parts: dict[int, list[ServiceCounts]] = {}
    for start, counts in records.requests.list_service(conn, deployment, since=since):
        parts.setdefault(start, []).append(counts)
    points = tuple(_point(start, ServiceCounts.total(counts)) for start, counts in sorted(parts.items()))
    return ServiceHealth(deployment, points, tuple(records.usage.list_usage(conn, since=since)))


def newest_usage(windows: list[UsageWindow]) -> list[UsageWindow]:
    """The windows of the newest five minutes: of the workers that live, as far as it was counted."""
    last = max((window.start for window in windows), default=0)
    return [window for window in windows if window.start == last]


def _point(start: int, counts: ServiceCounts) -> ServicePoint:
    p50, p99 = (_ms(counts.quantile_us(share)) for share in (0.5, 0.99))
    rate = counts.requests / (SERVICE_US / SECOND_US)
    return ServicePoint(start, counts.requests, rate, counts.failed / max(counts.requests, 1), p50, p99)


def _ms(micros: float | None) -> float | None:
    return None if micros is None else micros / 1000
