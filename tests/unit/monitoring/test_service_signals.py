"""How a deployment answers, and whether that got worse: errors, latency, silence, and the gap to the estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.budget import SERVICE_US
from mainspring.monitoring.rules.gap import GapWindow, judge_gap
from mainspring.monitoring.rules.requests import ServiceCounts, latency_cell
from mainspring.monitoring.rules.service import ServiceFinding, closed_service, judge_service, service_drafts
from mainspring.monitoring.rules.stale import judge_stale

SPEC = MonitorSpec()
START = 20_000 * DAY_US
COUNTS = st.builds(
    ServiceCounts,
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.dictionaries(st.integers(0, 60), st.integers(1, 9), max_size=4),
)


def answers(requests: int, *, failed: int = 0, slow: int = 0) -> ServiceCounts:
    latency = {latency_cell(900): requests - slow, latency_cell(90_000): slow}
    return ServiceCounts(requests, failed, 0, {cell: count for cell, count in latency.items() if count})


def judged(counts: list[ServiceCounts], spec: MonitorSpec = SPEC) -> tuple[dict[str, object], list[ServiceFinding]]:
    stored = [(START + i * SERVICE_US, one) for i, one in enumerate(counts)]
    return judge_service({}, closed_service(stored, START + len(counts) * SERVICE_US), spec)


def causes(found: list[ServiceFinding]) -> list[str]:
    return [draft.cause for one in found for draft in service_drafts(one)]


@given(COUNTS, COUNTS, COUNTS)
def test_counts_of_requests_add_up_in_any_order(a: ServiceCounts, b: ServiceCounts, c: ServiceCounts) -> None:
    assert a.merge(b).merge(c) == ServiceCounts.total([c, a, b])


def test_an_outage_raises_its_alarm_within_one_window() -> None:
    _, found = judged([*[answers(200)] * 60, answers(200, failed=200)])
    assert causes(found) == ["errors"]
    draft = service_drafts(found[-1])[0]
    assert draft.text == "100.0% of 200 requests failed, 1.0% are accepted"
    assert draft.window_start == START + 60 * SERVICE_US


def test_answers_slower_than_the_first_hours_of_a_version_raise_an_alarm_and_as_fast_ones_none() -> None:
    rng = np.random.default_rng(0)
    calm = [answers(200, slow=int(rng.binomial(200, 0.005))) for _ in range(300)]
    assert causes(judged(calm)[1]) == []
    _, found = judged([*calm[:60], *[answers(200, slow=190)] * 3])
    assert causes(found) == ["latency"]


def test_an_objective_of_the_settings_is_used_from_the_first_window() -> None:
    _, found = judged([answers(200, slow=150)] * 4, replace(SPEC, latency_ms=50))
    assert causes(found)[:1] == ["latency"]
    assert causes(judged([answers(200, slow=150)] * 4)[1]) == []


def test_weeks_of_one_error_in_two_hundred_are_silent() -> None:
    rng = np.random.default_rng(3)
    counts = [answers(100, failed=int(bad)) for bad in rng.binomial(100, 0.005, 6_000)]
    assert causes(judged(counts)[1]) == []


def test_windows_of_few_requests_wait_for_more() -> None:
    stored = [(START + i * SERVICE_US, answers(7)) for i in range(5)]
    assert [w.counts.requests for w in closed_service(stored, START + 5 * SERVICE_US)] == [21]
    assert closed_service(stored, START + 3 * SERVICE_US - 1) == []


def test_judging_in_two_parts_is_judging_at_once() -> None:
    stored = [(START + i * SERVICE_US, answers(100, failed=i % 3)) for i in range(80)]
    windows = closed_service(stored, START + 80 * SERVICE_US)
    whole = judge_service({}, windows, SPEC)
    half, first = judge_service({}, windows[:30], SPEC)
    rest, second = judge_service(half, windows[30:], SPEC)
    assert (rest, [*first, *second]) == (whole[0], whole[1])


def steady(days: int) -> dict[int, int]:
    rng = np.random.default_rng(5)
    return {START + hour * HOUR_US: int(rng.poisson(500)) for hour in range(24 * days)}


def test_a_stream_that_stops_is_told_within_hours_and_once() -> None:
    hours, end = steady(5), START + 5 * DAY_US
    state, found = judge_stale({}, hours, end, SPEC)
    assert found is None
    state, found = judge_stale(state, hours, end + 4 * HOUR_US, SPEC)
    assert found is not None
    assert found.since == end
    assert judge_stale(state, hours, end + 9 * HOUR_US, SPEC)[1] is None


def test_nights_without_requests_are_no_news_once_they_were_seen() -> None:
    hours = {at: count for at, count in steady(30).items() if at // HOUR_US % 24 not in (0, 1, 2, 3)}
    assert judge_stale({}, hours, START + 30 * DAY_US, SPEC)[1] is None


def test_a_deployment_that_is_seldom_asked_is_not_stale() -> None:
    rng = np.random.default_rng(6)
    hours = {START + hour * HOUR_US: 1 for hour in range(24 * 60) if rng.random() < 0.3}
    assert judge_stale({}, hours, START + 60 * DAY_US, SPEC)[1] is None


def test_realized_and_estimated_loss_that_part_are_a_change_of_what_inputs_mean() -> None:
    version = WatchedVersion("live", 1, "late", "binary", loss="brier", reference_loss=0.15)

    def windows(realized: float) -> list[GapWindow]:
        rng = np.random.default_rng(7)
        return [
            GapWindow(START + i * DAY_US, START + (i + 1) * DAY_US, float(rng.normal(realized, 0.02)), 0.15, 0.02, 500)
            for i in range(60)
        ]

    assert judge_gap(version, windows(0.15), SPEC).drafts == []
    found = judge_gap(version, windows(0.30), SPEC)
    assert found.drafts[0].cause == "gap"
    assert "what the inputs say of the truth has changed" in found.drafts[0].text
