"""Two models, right or wrong on the same rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from mainspring.core.errors import Invalid
from mainspring.gates.rules.mcnemar import agresti_min, compare_accuracy, mcnemar_exact, score_z
from mainspring.gates.rules.proportion import share_above
from mainspring.gates.rules.quantile import quantile_below


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_p_value_is_the_binomial_tail(gained: int, lost: int) -> None:
    n = gained + lost
    exact = sum(math.comb(n, k) for k in range(gained, n + 1)) / 2**n
    assert mcnemar_exact(gained, lost) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("gained", "lost", "p"), [(12, 5, 0.143463134765625), (20, 8, 0.03569813817739487)])
def test_the_exact_p_value_is_half_of_the_two_sided_one_of_statsmodels(gained: int, lost: int, p: float) -> None:
    # statsmodels 0.15.0, mcnemar([[50, gained], [lost, 33]], exact=True)
    assert 2 * mcnemar_exact(gained, lost) == pytest.approx(p)


def test_the_interval_of_agresti_and_min_worked_by_hand() -> None:
    # 10.5 and 4.5 of 100 rows: (15 - 36 / 100) = 14.64, its root 3.8262
    assert agresti_min(10, 4, 98) == pytest.approx((0.06, 0.038262), abs=1e-6)


def score_by_search(gained: int, lost: int, n: int, threshold: float) -> float:
    """Tango's statistic with the restricted likelihood maximised by a search instead of by its formula."""

    def minus_log_likelihood(lost_rate: float) -> float:
        gained_rate = lost_rate + threshold
        agree = 1 - lost_rate - gained_rate
        terms = ((lost, lost_rate), (gained, gained_rate), (n - gained - lost, agree))
        return -sum(count * math.log(max(rate, 1e-300)) for count, rate in terms if count)

    low, high = max(0.0, -threshold), (1 - threshold) / 2
    rate = minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    return float((gained - lost - n * threshold) / math.sqrt(n * (2 * rate + threshold - threshold**2)))


@pytest.mark.parametrize("counts", [(30, 42, 1000), (3, 9, 200), (60, 61, 2000), (5, 1, 90)])
@pytest.mark.parametrize("threshold", [-0.05, -0.01, 0.02])
def test_the_score_statistic_is_that_of_the_restricted_likelihood(
    counts: tuple[int, int, int], threshold: float
) -> None:
    assert score_z(*counts, threshold) == pytest.approx(score_by_search(*counts, threshold), rel=1e-4, abs=1e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(81, 500))
def test_swapping_the_models_flips_everything(gained: int, lost: int, n: int) -> None:
    one, other = compare_accuracy(gained, lost, n, threshold=0.0), compare_accuracy(lost, gained, n, threshold=0.0)
    assert (one.value, one.low) == pytest.approx((-other.value, -other.high), abs=1e-12)
    assert (one.p_pass, one.p_fail) == pytest.approx((other.p_fail, other.p_pass), abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(81, 500), st.floats(0.005, 0.1))
def test_a_small_p_value_never_contradicts_the_interval(gained: int, lost: int, n: int, margin: float) -> None:
    found = compare_accuracy(gained, lost, n, threshold=-margin)
    assert found.low > -margin or found.p_pass > 0.05 - 1e-9
    assert found.high < -margin or found.p_fail > 0.05 - 1e-9


def test_without_a_discordant_row_few_rows_prove_nothing() -> None:
    assert compare_accuracy(0, 0, 100, threshold=-0.01).p_pass > 0.05
    assert compare_accuracy(0, 0, 1000, threshold=-0.01).p_pass < 0.01


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Invalid, match="do not fit"):
        compare_accuracy(5, 6, 10, threshold=0.0)


@given(st.integers(1, 300), st.data(), st.floats(0.05, 0.95))
def test_a_share_is_tested_as_scipy_tests_it(n: int, data: st.DataObject, floor: float) -> None:
    hits = data.draw(st.integers(0, n))
    found = share_above(hits, n, floor=floor)
    assert found.p_pass == pytest.approx(binomtest(hits, n, floor, alternative="greater").pvalue, rel=1e-7, abs=1e-12)
    assert found.p_fail == pytest.approx(binomtest(hits, n, floor, alternative="less").pvalue, rel=1e-7, abs=1e-12)
    interval = binomtest(hits, n).proportion_ci(0.90, "exact")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_a_p95_is_within_its_limit_when_enough_values_are() -> None:
    slow = quantile_below([10.0] * 180 + [30.0] * 20, 0.95, limit=20.0)
    assert slow.p_fail == pytest.approx(binomtest(180, 200, 0.95, alternative="less").pvalue)
    assert slow.value == 30.0
    fast = quantile_below([10.0] * 199 + [30.0], 0.95, limit=20.0)
    assert fast.p_pass == pytest.approx(binomtest(199, 200, 0.95, alternative="greater").pvalue)
    assert fast.high == 10.0


def test_sixty_fast_answers_are_needed_to_show_a_p95() -> None:
    assert (
        quantile_below([1.0] * 59, 0.95, limit=2.0).p_pass < 0.05 < quantile_below([1.0] * 58, 0.95, limit=2.0).p_pass
    )
    assert norm.ppf(0.95) == pytest.approx(1.6448536)
