"""How long the candidate takes for one row."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding

_WARM_UP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{latency_p95_ms = 20}`.

    Args:
        latency_p95_ms: The time in milliseconds that 95 of 100 requests have to keep.
        requests: How many rows are asked for, one at a time, in this process.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("latency_p95_ms",)
    latency_p95_ms: float
    requests: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.latency_p95_ms < math.inf:
            raise Invalid(f"the limit is {self.latency_p95_ms} ms", hint="use a time above 0")
        if not 60 <= self.requests <= 10_000:
            raise Invalid(f"{self.requests} requests asked for", hint="use 60 to 10000: fewer say nothing about a p95")

    def title(self) -> str:
        """The check in a few words."""
        return f"p95 latency at most {self.latency_p95_ms:g} ms"

    def measure(self, case: Case) -> Finding:
        """The 95th percentile of single-row calls, without the way over the network."""
        from mainspring.gates.rules.quantile import quantile_below

        rows = [case.frame.slice(index % case.n, 1) for index in range(self.requests)]
        for row in rows[:_WARM_UP]:
            case.predict(row)
        times = [_timed_ms(case, row) for row in rows]
        return quantile_below(times, 0.95, limit=self.latency_p95_ms, alpha=case.alpha)


def _timed_ms(case: Case, row: pl.DataFrame) -> float:
    start = time.perf_counter()
    case.predict(row)
    return 1000 * (time.perf_counter() - start)
