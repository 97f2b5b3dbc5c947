"""Shares of rows: missing values, slow and failed answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.rules.budget import SHARES, level_of
from mainspring.monitoring.rules.rates import divergence, rate_dispersion, rate_p_value, upper_share


def test_the_shares_of_the_budget_are_one_budget() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    spec = MonitorSpec(budget=2.0)
    assert level_of("drift", 50, spec) == 50 * 365 / 0.5


@given(st.integers(0, 1000), st.floats(0.001, 0.999), st.floats(1, 100))
def test_a_share_at_the_bar_is_no_surprise_and_more_bad_rows_are_more_of_one(bad: int, bar: float, phi: float) -> None:
    here, more = rate_p_value(bad, 1000, bar, phi), rate_p_value(min(bad + 10, 1000), 1000, bar, phi)
    assert 0 < more <= here <= 1
    assert bad > 1000 * bar or here == 1.0


def test_the_bound_is_above_the_exact_tail_of_the_binomial() -> None:
    tail = sum(math.comb(100, k) * 0.02**k * 0.98 ** (100 - k) for k in range(8, 101))
    assert tail < rate_p_value(8, 100, 0.02) < 30 * tail


def test_the_upper_end_of_a_share_is_where_it_is_just_likely() -> None:
    top = upper_share(20, 1000, dispersion=1.0, risk=0.01)
    assert 1000 * divergence(0.02, top) == pytest.approx(math.log(100), rel=1e-6)
    assert upper_share(0, 0, dispersion=1.0, risk=0.01) == 1.0


def test_shares_that_are_a_fact_of_the_day_are_dispersed_and_those_of_rows_are_not() -> None:
    rng = np.random.default_rng(1)
    rows = np.full(60, 1000.0)
    calm, moody = rng.binomial(1000, 0.02, 60), rng.binomial(1000, rng.choice([0.0, 0.04], 60))
    assert rate_dispersion(calm.astype(float), rows) < 2.5
    assert rate_dispersion(moody.astype(float), rows) > 10
    assert rate_dispersion(np.zeros(60), rows) == 1.0
