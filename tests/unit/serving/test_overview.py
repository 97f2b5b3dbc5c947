from __future__ import annotations

import os
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mainspring.serving.modelserver.metrics import EDGES_S, Counts
from mainspring.serving.modelserver.plan import Applied, Plan, write_applied, write_plan
from mainspring.serving.overview import healths, pulses_of, stretches

MINUTE = 60_000_000


def counted(buckets: list[int], **statuses: int) -> Counts:
    requests = [("late", "1", "champion", int(status[1:]), count) for status, count in statuses.items()]
    return Counts(requests=requests, latencies=[("late", "1", "champion", buckets, 1.0)])


def test_the_pulse_of_an_endpoint_is_over_all_its_arms_and_leaves_out_who_hung_up() -> None:
    buckets = [98, 0, 0, 0, 1, 1, *[0] * (len(EDGES_S) - 5)]
    pulse = pulses_of(counted(buckets, s200=90, s400=5, s500=5, s499=7))["late"]
    assert (pulse.requests, pulse.failed) == (100, 0.05)
    assert (pulse.p50_ms, pulse.p99_ms) == (1.0, 25.0)


@given(st.lists(st.integers(0, 50), min_size=len(EDGES_S) + 1, max_size=len(EDGES_S) + 1))
def test_a_higher_percentile_is_never_lower(buckets: list[int]) -> None:
    pulse = pulses_of(counted(buckets, s200=1))["late"]
    assert (pulse.p50_ms is None) == (sum(buckets) == 0)
    assert pulse.p50_ms is None or (pulse.p99_ms is not None and pulse.p50_ms <= pulse.p99_ms)


def test_health_says_what_the_workers_say(tmp_path: Path) -> None:
    assert healths(tmp_path, ["late"])["late"].state == "down"
    write_plan(tmp_path, Plan(generation=2))
    write_applied(tmp_path, Applied(generation=1, worker="w", pid=os.getpid(), port=1))
    assert healths(tmp_path, ["late"])["late"].state == "loading"
    write_applied(tmp_path, Applied(generation=2, worker="w", pid=os.getpid(), port=1, problems={"late": "torn"}))
    found = healths(tmp_path, ["late", "other"])
    assert (found["late"].state, found["late"].note, found["other"].state) == ("failing", "torn", "ready")


def test_requests_are_counted_once_per_stretch_and_arm() -> None:
    rows = pl.LazyFrame(
        {
            "request_id": ["a", "a", "b", "c", "d", "e"],
            "arm": ["champion"] * 4 + ["canary", "champion"],
            "at": [0, 0, MINUTE // 2, MINUTE, MINUTE, 10 * MINUTE],
            "status": [200, 200, 500, 200, 503, 200],
            "latency_us": [1000, 1000, 3000, 2000, 4000, 1],
        }
    )
    found = stretches(rows, since=0, until=2 * MINUTE, parts=2)
    assert [(s.at, s.arm, s.rate, s.failed, s.p50_ms) for s in found] == [
        (0, "champion", 2.0, 0.5, 3.0),
        (MINUTE, "canary", 1.0, 1.0, 4.0),
        (MINUTE, "champion", 1.0, 0.0, 2.0),
    ]
