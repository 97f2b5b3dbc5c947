from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.monitoring.rules.evidence import FRACTIONS, alarm_level, bet, e_value, gather, of_one_window, state_of


def test_the_level_is_the_windows_of_all_monitors_over_the_budget() -> None:
    assert alarm_level(50, 365, 1) == 50 * 365
    assert alarm_level(1, 365, 2) == 182.5


def test_the_e_value_of_a_uniform_p_is_one_on_average() -> None:
    points = [(i + 0.5) / 200_000 for i in range(200_000)]
    assert sum(map(e_value, points)) / len(points) == pytest.approx(1.0, abs=0.002)


def test_evidence_starts_afresh_when_it_fell_below_one() -> None:
    assert gather(0.01, 5.0) == 5.0
    assert gather(7.0, 5.0) == 35.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_evidence_stays_finite_and_not_negative(losses: list[float]) -> None:
    wealth: list[float] = []
    for loss in losses:
        wealth = bet(wealth, loss, 0.15)
    assert all(math.isfinite(entry) and entry >= 0 for entry in wealth)


@given(st.floats(0.01, 0.9), st.floats(0, 1))
def test_a_bet_gains_nothing_on_average_when_the_mean_is_at_the_bar(bar: float, low: float) -> None:
    low *= bar
    high = bar + (1 - bar) / 2
    share = (bar - low) / (high - low)
    up, down = bet([1.0] * len(FRACTIONS), high, bar), bet([1.0] * len(FRACTIONS), low, bar)
    for gain, loss in zip(up, down, strict=True):
        assert share * gain + (1 - share) * loss == pytest.approx(2.0, rel=1e-9)


def test_a_loss_beyond_its_cap_counts_as_the_cap() -> None:
    assert bet([], 5.0, 0.15) == bet([], 1.0, 0.15)


def test_the_state_is_watch_from_a_tenth_of_the_level() -> None:
    assert [state_of(m, 100.0) for m in (9.0, 10.0, 100.0)] == ["ok", "watch", "alarm"]


@given(st.floats(1, 1e12), st.floats(100, 1e7))
def test_one_odd_window_does_not_reach_the_level_and_two_in_a_row_do(e: float, level: float) -> None:
    one = of_one_window(e, 0.1, level)
    assert one < level
    if e > 2 * math.sqrt(level):
        assert gather(one, one) >= level
    assert of_one_window(e, 0.3, level) == e
