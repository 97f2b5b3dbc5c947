"""What GET /metrics says, in the text format of Prometheus. MLServer's names are given as aliases."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

_EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Labels = tuple[str, str, str]


class Metrics:
    """Counts of one worker. Used on the loop only."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, int], int] = defaultdict(int)
        self._buckets: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(_EDGES_S) + 1))
        self._seconds: dict[Labels, float] = defaultdict(float)

    def observe(self, labels: Labels, status: int, seconds: float) -> None:
        """Count one answered request of (deployment, version, arm)."""
        self._requests[(*labels, status)] += 1
        self._buckets[labels][bisect_left(_EDGES_S, seconds)] += 1
        self._seconds[labels] += seconds

    def text(self, gauges: dict[str, float]) -> str:
        """Everything, with single values such as queue lengths given by the caller."""
        lines = ["# TYPE mainspring_requests_total counter"]
        for (name, version, arm, status), count in sorted(self._requests.items()):
            said = f'{{deployment="{name}",version="{version}",arm="{arm}",status="{status}"}}'
            lines.append(f"mainspring_requests_total{said} {count}")
        lines += self._aliases()
        lines.append("# TYPE mainspring_request_seconds histogram")
        for labels, counts in sorted(self._buckets.items()):
            lines += self._histogram(labels, counts)
        for gauge, value in gauges.items():
            kind = "counter" if gauge.endswith("_total") else "gauge"
            lines += [f"# TYPE {gauge} {kind}", f"{gauge} {value:g}"]
        return "\n".join(lines) + "\n"

    def _aliases(self) -> list[str]:
        sums: dict[tuple[str, str, str], int] = defaultdict(int)
        for (name, version, _, status), count in self._requests.items():
            sums["success" if status < 400 else "failure", name, version] += count
        lines = [f"# TYPE model_infer_request_{kind}_total counter" for kind in ("failure", "success")]
        for (kind, name, version), count in sorted(sums.items()):
            lines.append(f'model_infer_request_{kind}_total{{model="{name}",version="{version}"}} {count}')
        return lines

    def _histogram(self, labels: Labels, counts: list[int]) -> list[str]:
        said = 'deployment="{}",version="{}",arm="{}"'.format(*labels)
        lines, total = [], 0
        for edge, count in zip((*_EDGES_S, "+Inf"), counts, strict=True):
            total += count
            lines.append(f'mainspring_request_seconds_bucket{{{said},le="{edge}"}} {total}')
        lines.append(f"mainspring_request_seconds_count{{{said}}} {total}")
        lines.append(f"mainspring_request_seconds_sum{{{said}}} {self._seconds[labels]:.6f}")
        return lines
