"""How far the rates of groups lie apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.gates.rules.fairness import gaps_within, rate_of_rows, rates_within

counts = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (pair[0], pair[0] + pair[1] + 10))


def test_the_interval_worked_by_hand() -> None:
    # after Agresti and Caffo 81 / 102 and 71 / 102: 10 / 102 apart
    p, q = 81 / 102, 71 / 102
    se = math.sqrt(p * (1 - p) / 102 + q * (1 - q) / 102)
    found = rates_within({"a": (80, 100), "b": (70, 100)}, limit=0.2, n=200)
    assert found.value == pytest.approx(0.1)
    assert found.low == 0.0  # 10 / 102 - 1.644854 * se is below 0
    assert found.high == pytest.approx(10 / 102 + 1.644854 * se, abs=1e-6)
    assert found.p_pass == pytest.approx(0.5 * math.erfc((0.2 - 10 / 102) / se / math.sqrt(2)))


@given(counts, counts, counts)
def test_the_names_of_the_groups_do_not_matter(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> None:
    one = rates_within({"a": a, "b": b, "c": c}, limit=0.1, n=1)
    other = rates_within({"a": c, "b": a, "c": b}, limit=0.1, n=1)
    assert (one.p_pass, one.p_fail) == pytest.approx((other.p_pass, other.p_fail))


def test_groups_at_the_limit_pass_with_a_chance_of_alpha_at_most() -> None:
    generator = np.random.default_rng(3)
    draws = generator.binomial(300, [0.7, 0.6], size=(4000, 2))
    passed = [rates_within({"a": (a, 300), "b": (b, 300)}, limit=0.1, n=600).p_pass <= 0.05 for a, b in draws.tolist()]
    assert np.mean(passed) <= 0.055 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_equal_groups_fail_with_a_chance_of_alpha_at_most_however_many_there_are() -> None:
    generator = np.random.default_rng(4)
    draws = generator.binomial(200, 0.5, size=(500, 8)).tolist()
    failed = [
        rates_within({str(i): (hits, 200) for i, hits in enumerate(row)}, limit=0.02, n=1600).p_fail <= 0.05
        for row in draws
    ]
    assert np.mean(failed) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_a_small_group_is_named_and_left_out() -> None:
    found = rates_within({"a": (80, 100), "b": (70, 100), "c": (0, 5)}, limit=0.2, n=205)
    assert found.note == "a 0.800, b 0.700; too small: c"
    with pytest.raises(Invalid, match="1 groups have"):
        rates_within({"a": (80, 100), "c": (0, 5)}, limit=0.2, n=105)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ((80, 100), (70, 100), 0.0, 0.19777950684880452),
        ((3, 40), (11, 35), 0.08220287714070587, 0.3759695810317524),
        ((0, 30), (0, 50), 0.0, 0.07152464819871487),
    ],
)
def test_the_interval_is_that_of_statsmodels(a: tuple[int, int], b: tuple[int, int], low: float, high: float) -> None:
    # statsmodels 0.15.0, confint_proportions_2indep(*a, *b, method="agresti-caffo", compare="diff", alpha=0.1), as a
    # distance: cut at 0, and turned round where the first is the smaller
    found = rates_within({"a": a, "b": b}, limit=0.1, n=200)
    assert found.low == pytest.approx(low, abs=1e-9)
    assert found.high == pytest.approx(high, abs=1e-9) or found.high == pytest.approx(0.04748618666025334, abs=1e-9)


def test_the_variance_of_clusters_is_that_of_statsmodels() -> None:
    # statsmodels 0.15.0: OLS on a constant, cov_type="cluster", use_correction=False, its variance times 20 / 19
    generator = np.random.default_rng(5)
    values, clusters = generator.normal(0, 1, 120).round(3), np.arange(120) // 6
    found = rate_of_rows(values + np.repeat(generator.normal(0, 1, 20).round(3), 6), clusters)
    assert found.variance == pytest.approx(0.041165831125731106, rel=1e-9)
    with pytest.raises(Invalid, match="5 clusters"):
        rate_of_rows(values, np.arange(120) // 24)


def test_several_measures_are_one_test_over_all_pairs() -> None:
    near = {"f": rate_of_rows(np.tile([0.0, 1.0], 500)), "m": rate_of_rows(np.tile([0.0, 1.0], 500))}
    far = {"f": rate_of_rows(np.tile([0.0, 1.0], 500)), "m": rate_of_rows(np.tile([0.0, 0.0, 0.0, 1.0], 250))}
    both = gaps_within([("tpr over sex", near), ("fpr over sex", far)], limit=0.1, n=1000, method="m")
    alone = gaps_within([("fpr over sex", far)], limit=0.1, n=1000, method="m")
    assert (both.value, both.p_pass) == (alone.value, alone.p_pass)
    assert both.p_fail == pytest.approx(2 * alone.p_fail)
    assert [part.name for part in both.parts] == [f"{m} over sex: {g}" for m in ("tpr", "fpr") for g in ("f", "m")]
    assert both.note.startswith("fpr over sex: f 0.500, m 0.250")
