"""What GET /metrics says, in the text format of Prometheus. MLServer's names are given as aliases."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the buckets of latencies, in seconds; one more bucket has what is above."""
_LEAST = frozenset(["mainspring_plan_generation"])
"""Of these the workers' least value is the truth, of all others their sum."""
Labels = tuple[str, str, str]


class Counts(msgspec.Struct, kw_only=True):
    """What one worker counted, or several together: requests by labels and status, latencies, single values, and when
    each endpoint was asked last (microseconds)."""

    requests: list[tuple[str, str, str, int, int]] = []
    latencies: list[tuple[str, str, str, list[int], float]] = []
    values: dict[str, float] = {}
    asked_at: dict[str, int] = {}

    def past(self) -> Counts:
        """What stays true of it when its worker is dead: what only grows."""
        grown = {name: value for name, value in self.values.items() if _is_total(name)}
        return Counts(requests=self.requests, latencies=self.latencies, values=grown, asked_at=self.asked_at)


class _Series:
    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(EDGES_S) + 1)
        self.seconds = 0.0


class Metrics:
    """Counts of one worker. Used on the loop only."""

    def __init__(self) -> None:
        self._series: dict[Labels, _Series] = defaultdict(_Series)

    def observe(self, labels: Labels, status: int, seconds: float) -> None:
        """Count one answered request of (deployment, version, arm)."""
        series = self._series[labels]
        series.statuses[status] = series.statuses.get(status, 0) + 1
        series.buckets[bisect_left(EDGES_S, seconds)] += 1
        series.seconds += seconds

    def totals(self) -> dict[str, int]:
        """How many requests were counted, by deployment."""
        found: dict[str, int] = defaultdict(int)
        for labels, one in self._series.items():
            found[labels[0]] += sum(one.statuses.values())
        return found

    def counts(self, values: Mapping[str, float], asked_at: Mapping[str, int] | None = None) -> Counts:
        """What was counted until now, with single values such as queue lengths given by the caller."""
        found = self._series.items()
        return Counts(
            requests=[(*labels, status, count) for labels, one in found for status, count in one.statuses.items()],
            latencies=[(*labels, list(one.buckets), one.seconds) for labels, one in found],
            values=dict(values),
            asked_at=dict(asked_at or {}),
        )


def summed(parts: Iterable[Counts]) -> Counts:
    """Several workers' counts as one."""
    requests: dict[tuple[str, str, str, int], int] = defaultdict(int)
    buckets: dict[Labels, list[int]] = {}
    seconds: dict[Labels, float] = defaultdict(float)
    values: dict[str, float] = {}
    asked_at: dict[str, int] = {}
    for part in parts:
        for name, version, arm, status, count in part.requests:
            requests[name, version, arm, status] += count
        for name, version, arm, found, total in part.latencies:
            labels = (name, version, arm)
            buckets[labels] = [a + b for a, b in zip(buckets.get(labels, [0] * len(found)), found, strict=True)]
            seconds[labels] += total
        for key, value in part.values.items():
            values[key] = min(values.get(key, value), value) if key in _LEAST else values.get(key, 0.0) + value
        for key, at in part.asked_at.items():
            asked_at[key] = max(asked_at.get(key, 0), at)
    return Counts(
        requests=[(*labels, count) for labels, count in sorted(requests.items())],
        latencies=[(*labels, found, seconds[labels]) for labels, found in sorted(buckets.items())],
        values=values,
        asked_at=asked_at,
    )


def text(counts: Counts) -> str:
    """Counts as Prometheus reads them."""
    lines = ["# TYPE mainspring_requests_total counter"]
    for name, version, arm, status, count in counts.requests:
        said = f'{{deployment="{name}",version="{version}",arm="{arm}",status="{status}"}}'
        lines.append(f"mainspring_requests_total{said} {count}")
    lines += _aliases(counts)
    lines.append("# TYPE mainspring_request_seconds histogram")
    for name, version, arm, found, seconds in counts.latencies:
        lines += _histogram((name, version, arm), found, seconds)
    typed = ""
    for key, value in sorted(counts.values.items(), key=lambda entry: entry[0].partition("{")[0]):
        name = key.partition("{")[0]
        if name != typed:
            typed = name
            lines.append(f"# TYPE {name} {'counter' if _is_total(key) else 'gauge'}")
        lines.append(f"{key} {value:.15g}")
    return "\n".join(lines) + "\n"


def _is_total(key: str) -> bool:
    """Whether a value only grows; its name may be followed by labels."""
    return key.partition("{")[0].endswith("_total")


def _aliases(counts: Counts) -> list[str]:
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for name, version, _, status, count in counts.requests:
        sums["success" if status < 400 else "failure", name, version] += count
    lines = [f"# TYPE model_infer_request_{kind}_total counter" for kind in ("failure", "success")]
    for (kind, name, version), count in sorted(sums.items()):
        lines.append(f'model_infer_request_{kind}_total{{model="{name}",version="{version}"}} {count}')
    return lines


def _histogram(labels: Labels, counts: list[int], seconds: float) -> list[str]:
    said = 'deployment="{}",version="{}",arm="{}"'.format(*labels)
    lines, total = [], 0
    for edge, count in zip((*EDGES_S, "+Inf"), counts, strict=True):
        total += count
        lines.append(f'mainspring_request_seconds_bucket{{{said},le="{edge}"}} {total}')
    lines.append(f"mainspring_request_seconds_count{{{said}}} {total}")
    lines.append(f"mainspring_request_seconds_sum{{{said}}} {seconds:.6f}")
    return lines
