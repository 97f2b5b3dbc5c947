"""How endpoints do at a glance: health, counts since the model server started, and the last hours from the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mainspring.core.values import dataclass
from mainspring.serving.guards import living
from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.metrics import EDGES_S, Counts
from mainspring.serving.modelserver.plan import read_plan

if TYPE_CHECKING:
    import polars as pl

TONES = {"ready": "ok", "asleep": "", "loading": "warn", "failing": "bad", "down": "bad"}
"""How the state of an endpoint looks on pages."""
HUNG_UP = 499  # a client that went away says nothing about the endpoint


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an endpoint answers as planned, and what is wrong if it does not."""

    state: Literal["ready", "asleep", "loading", "failing", "down"]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Requests since the model server started, the share of them that failed, and how long they took at most.

    Percentiles are upper edges of the histogram's buckets, in milliseconds; infinite above the last, None without
    requests.
    """

    requests: int
    failed: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Requests of one arm in a stretch of time from `at` on: how many a minute, the share that failed, latency."""

    at: int
    arm: str
    rate: float
    failed: float
    p50_ms: float
    p99_ms: float


def healths(folder: Path, endpoints: Iterable[str]) -> dict[str, Health]:
    """The health of endpoints, by their names at the model server over a plan folder."""
    workers, generation = living(folder), read_plan(folder).generation
    found = {}
    for endpoint in endpoints:
        problems = [worker.problems[endpoint] for worker in workers if endpoint in worker.problems]
        if not workers:
            found[endpoint] = Health("down", "no model server runs")
        elif problems:
            found[endpoint] = Health("failing", problems[0])
        elif any(worker.generation < generation for worker in workers):
            found[endpoint] = Health("loading", "the newest plan is being loaded")
        elif all(endpoint in worker.asleep for worker in workers):
            found[endpoint] = Health("asleep", "unloaded until somebody asks")
        else:
            found[endpoint] = Health("ready")
    return found


def pulses(folder: Path) -> dict[str, Pulse]:
    """What all workers counted since the model server started, by endpoint."""
    return pulses_of(tally.counts_of(folder))


def pulses_of(counts: Counts) -> dict[str, Pulse]:
    """Counts of all arms of each endpoint together."""
    asked: dict[str, int] = {}
    failed: dict[str, int] = {}
    buckets: dict[str, list[int]] = {}
    for name, _, _, status, count in counts.requests:
        if status != HUNG_UP:
            asked[name] = asked.get(name, 0) + count
            failed[name] = failed.get(name, 0) + (count if status >= 500 else 0)
    for name, _, _, found, _ in counts.latencies:
        buckets[name] = [a + b for a, b in zip(buckets.get(name, [0] * len(found)), found, strict=True)]
    return {
        name: Pulse(count, failed[name] / count, _quantile_ms(buckets[name], 0.5), _quantile_ms(buckets[name], 0.99))
        for name, count in asked.items()
    }


def _quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """The upper edge of the bucket in which that share of the requests is reached."""
    total, seen = sum(buckets), 0
    for edge, count in zip((*EDGES_S, float("inf")), buckets, strict=True):
        seen += count
        if total and seen >= share * total:
            return edge * 1000
    return None


def stretches(rows: pl.LazyFrame, *, since: int, until: int, parts: int = 48) -> list[Stretch]:
    """Logged requests between two times (wall clock, microseconds) per arm and stretch, in the order of time.

    A request of several rows counts once. Stretches without a request are left out.
    """
    import polars as pl

    width = max(1, (until - since) // parts)
    requests = (
        rows.filter(pl.col("at").is_between(since, until, closed="left"))
        .group_by("request_id", "arm")
        .agg(pl.col("at").min(), pl.col("status").max(), pl.col("latency_us").max())
    )
    part = (since + (pl.col("at") - since) // width * width).alias("at")
    counted = (
        requests.group_by(part, "arm")
        .agg(
            (pl.len() * (60_000_000 / width)).alias("rate"),
            (pl.col("status") >= 500).mean().alias("failed"),
            (pl.col("latency_us").quantile(0.5, "higher") / 1000).alias("p50_ms"),
            (pl.col("latency_us").quantile(0.99, "higher") / 1000).alias("p99_ms"),
        )
        .sort("at", "arm")
        .collect()
    )
    return [Stretch(*row) for row in counted.iter_rows()]
