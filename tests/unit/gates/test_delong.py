"""DeLong's test of two AUCs on the same rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

from mainspring.core.errors import Invalid
from mainspring.gates.rules.bootstrap import Grouping
from mainspring.gates.rules.delong import auc_above, compare_auc, midranks, placements, variance
from mainspring.gates.rules.finding import rows_needed

Floats = NDArray[np.float64]


def rows(seed: int, n: int = 120) -> tuple[Floats, Floats, Floats]:
    generator = np.random.default_rng(seed)
    truth = (np.arange(n) % 3 == 0).astype(np.float64)
    a = np.round(generator.normal(truth, 1.0), 1)
    b = np.round(a + generator.normal(0, 0.7, n), 1)
    return truth, a, b


def slow_delong(truth: Floats, a: Floats, b: Floats) -> tuple[float, float]:
    """The definition of 1988: all pairs."""
    placed = []
    for score in (a, b):
        x, y = score[truth == 1][:, None], score[truth == 0][None, :]
        kernel = (x > y) + 0.5 * (x == y)
        placed.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    v10 = placed[0][0] - placed[1][0]
    v01 = placed[0][1] - placed[1][1]
    return float(v10.mean()), float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))


def test_midranks_are_those_of_scipy() -> None:
    values = np.random.default_rng(1).integers(0, 9, 200).astype(np.float64)
    assert midranks(values).tolist() == rankdata(values).tolist()


def test_the_auc_is_that_of_scikit_learn() -> None:
    truth, a, _ = rows(2)
    assert placements(truth, a).auc == pytest.approx(roc_auc_score(truth, a), abs=1e-12)


def test_a_small_example_worked_by_hand() -> None:
    # 10 positives score 1..10, 10 negatives 0.5..9.5: positive k beats k negatives, so the AUC is 55 / 100
    truth = np.array([1.0] * 10 + [0.0] * 10)
    score = np.concatenate([np.arange(1.0, 11.0), np.arange(0.5, 10.0)])
    found = placements(truth, score)
    assert found.auc == pytest.approx(0.55)
    # both structural components run over 0.1 .. 1.0: their variance is (99 / 12) / 100 * 10 / 9 = 11 / 120
    assert variance(found.influence) == pytest.approx(2 * 11 / 120 / 10)


def test_the_fast_variance_is_that_of_all_pairs() -> None:
    for seed in range(5):
        truth, a, b = rows(seed)
        found = compare_auc(truth, a, b, threshold=-0.05)
        value, spread = slow_delong(truth, a, b)
        assert found.value == pytest.approx(value, abs=1e-12)
        assert found.se == pytest.approx(math.sqrt(spread), abs=1e-12)
        assert found.p_pass == pytest.approx(norm.sf((value + 0.05) / math.sqrt(spread)), rel=1e-9)
        assert found.low == pytest.approx(value + norm.ppf(0.05) * math.sqrt(spread), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5.0), st.floats(-3.0, 3.0))
def test_monotone_transforms_change_nothing(seed: int, scale: float, shift: float) -> None:
    truth, a, b = rows(seed)
    before = compare_auc(truth, a, b, threshold=-0.02)
    after = compare_auc(truth, np.exp(a / 3), midranks(b) * scale + shift, threshold=-0.02)
    assert (after.value, after.se) == pytest.approx((before.value, before.se), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_the_models_flips_the_sign(seed: int) -> None:
    truth, a, b = rows(seed)
    one, other = compare_auc(truth, a, b, threshold=0.0), compare_auc(truth, b, a, threshold=0.0)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-12)
    assert (one.p_pass, one.p_fail) == pytest.approx((other.p_fail, other.p_pass), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    truth, a, b = rows(seed)
    order = np.random.default_rng(seed + 1).permutation(len(truth))
    one, other = (
        compare_auc(truth, a, b, threshold=-0.01),
        compare_auc(truth[order], a[order], b[order], threshold=-0.01),
    )
    assert (one.value, one.se) == pytest.approx((other.value, other.se), abs=1e-12)


def test_a_relative_margin_shrinks_the_champion() -> None:
    truth, a, b = rows(3)
    found = compare_auc(truth, a, b, threshold=0.0, share=0.98)
    assert found.value == pytest.approx(placements(truth, a).auc - 0.98 * placements(truth, b).auc)


def test_rows_that_come_twice_count_once_when_clustered() -> None:
    truth, a, b = rows(4, n=600)
    plain = compare_auc(truth, a, b, threshold=0.0)
    twice = [np.repeat(values, 2) for values in (truth, a, b)]
    clusters = Grouping(cluster=np.repeat(np.arange(600), 2))
    grouped = compare_auc(*twice, threshold=0.0, grouping=clusters)
    naive = compare_auc(*twice, threshold=0.0)
    assert grouped.se == pytest.approx(plain.se, rel=0.01)
    assert naive.se == pytest.approx(plain.se / math.sqrt(2), rel=0.01)


def test_two_perfect_models_on_few_rows_prove_nothing() -> None:
    truth = np.array([0.0, 1.0] * 15)
    found = compare_auc(truth, truth, truth * 2, threshold=-0.005)
    assert found.p_pass == pytest.approx(0.995**15)  # 15 rows of a class without an exception
    assert found.enough == 2 * 598  # 598 rows of each class: 0.995 ** 598 < 0.05
    assert rows_needed(found, alpha=0.05) == 1196


def test_one_model_against_a_floor() -> None:
    truth, a, _ = rows(5, n=900)
    auc = float(roc_auc_score(truth, a))
    assert auc_above(truth, a, floor=auc - 0.1).p_pass < 0.001
    assert auc_above(truth, a, floor=auc + 0.1).p_fail < 0.001


def test_too_few_rows_of_a_class_are_refused() -> None:
    truth = np.array([1.0] * 9 + [0.0] * 50)
    with pytest.raises(Invalid, match="found 9 positive and 50 negative"):
        placements(truth, truth)
