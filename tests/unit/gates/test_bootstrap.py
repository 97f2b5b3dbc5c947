"""The paired bootstrap, the metrics made of sums, and the calibration error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from mainspring.core.errors import Invalid
from mainspring.gates.rules.bootstrap import Grouping, bootstrap, resample
from mainspring.gates.rules.calibration import bins_of, calibrated_below, ece
from mainspring.gates.rules.metrics import METRICS, metric_named
from mainspring.gates.rules.names import CLASSIFICATION, METRIC_NAMES, REGRESSION

Floats = NDArray[np.float64]


def mean(totals: Floats) -> Floats:
    found: Floats = totals[..., 0] / totals[..., 1]
    return found


def with_ones(values: Floats) -> Floats:
    return np.column_stack([values, np.ones(len(values))])


def normal(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0.0, 1.0, n)


ORACLES = {
    "balanced_accuracy": lambda y, s, d: oracle.balanced_accuracy_score(y, d),
    "mcc": lambda y, s, d: oracle.matthews_corrcoef(y, d),
    "accuracy": lambda y, s, d: oracle.accuracy_score(y, d),
    "recall": lambda y, s, d: oracle.recall_score(y, d),
    "precision": lambda y, s, d: oracle.precision_score(y, d),
    "specificity": lambda y, s, d: oracle.recall_score(y, d, pos_label=0),
    "f1": lambda y, s, d: oracle.f1_score(y, d),
    "brier": lambda y, s, d: oracle.brier_score_loss(y, s),
    "log_loss": lambda y, s, d: oracle.log_loss(y, s),
    "mae": lambda y, s, d: oracle.mean_absolute_error(y, s),
    "rmse": lambda y, s, d: oracle.root_mean_squared_error(y, s),
    "r2": lambda y, s, d: oracle.r2_score(y, s),
}


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_made_of_sums_is_that_of_scikit_learn(name: str) -> None:
    score = np.random.default_rng(7).uniform(0.0, 1.0, 300)
    truth = (np.random.default_rng(8).uniform(0.0, 1.0, 300) < score).astype(np.float64)
    decision = (score > 0.5).astype(np.float64)
    metric = metric_named(name)
    found = float(metric.value(metric.rows(truth, score, decision).sum(axis=0)))
    assert found == pytest.approx(ORACLES[name](truth, score, decision), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "score_of"),
    [
        ("balanced_accuracy", oracle.balanced_accuracy_score),
        ("f1", lambda y, d: oracle.f1_score(y, d, average="macro")),
    ],
)
def test_a_metric_of_many_classes_is_that_of_scikit_learn(
    name: str, score_of: Callable[[Floats, Floats], float]
) -> None:
    truth = np.random.default_rng(1).integers(0, 4, 300).astype(np.float64)
    decision = np.where(np.random.default_rng(2).uniform(size=300) < 0.6, truth, 1.0)
    metric = metric_named(name, "multiclass")
    found = float(metric.value(metric.rows(truth, truth, decision).sum(axis=0)))
    assert found == pytest.approx(score_of(truth, decision), abs=1e-12)


def test_the_names_and_the_metrics_are_the_same_list() -> None:
    assert {*METRICS, "roc_auc"} == set(METRIC_NAMES)
    for name, metric in METRICS.items():
        assert name in (CLASSIFICATION if metric.task == "classification" else REGRESSION)


def test_the_spread_of_a_mean_is_its_standard_error() -> None:
    values = normal(400)
    draws = bootstrap(with_ones(values), mean, seed=1, repeats=4000)
    assert draws.value == pytest.approx(values.mean())
    assert draws.se == pytest.approx(values.std(ddof=1) / math.sqrt(400), rel=0.05)
    low, high = draws.interval(0.05)
    assert low == pytest.approx(values.mean() - 1.645 * draws.se, abs=0.01)
    assert high == pytest.approx(values.mean() + 1.645 * draws.se, abs=0.01)


def test_very_many_rows_in_bags_have_the_same_spread() -> None:
    values = normal(150_001) ** 2  # skewed
    draws = bootstrap(with_ones(values), mean, seed=1)
    assert draws.units == 20_000
    assert draws.value == pytest.approx(values.mean())
    assert draws.se == pytest.approx(values.std(ddof=1) / math.sqrt(150_001), rel=0.06)


def test_the_same_seed_gives_the_same_draws_whatever_the_chunks() -> None:
    units = with_ones(normal(50))
    assert resample(units, 50, repeats=20, seed=3).tolist() == resample(units, 50, repeats=20, seed=3).tolist()
    assert resample(units, 50, repeats=20, seed=3).tolist() != resample(units, 50, repeats=20, seed=4).tolist()


def test_repeated_rows_in_one_cluster_add_nothing() -> None:
    values = normal(200)
    plain = bootstrap(with_ones(values), mean, seed=2)
    clusters = Grouping(cluster=np.repeat(np.arange(200), 5))
    grouped = bootstrap(with_ones(np.repeat(values, 5)), mean, seed=2, grouping=clusters)
    naive = bootstrap(with_ones(np.repeat(values, 5)), mean, seed=2)
    assert grouped.values.tolist() == pytest.approx(plain.values.tolist())
    assert naive.se == pytest.approx(plain.se / math.sqrt(5), rel=0.1)


def test_blocks_see_what_neighbours_share() -> None:
    generator = np.random.default_rng(5)
    noise = generator.normal(0, 1, 4000)
    values = np.empty(4000)
    values[0] = noise[0]
    for i in range(1, 4000):
        values[i] = 0.8 * values[i - 1] + noise[i]
    truth = 1 / (1 - 0.8) / math.sqrt(4000)  # the standard error of the mean of an autoregression of order one
    rows = bootstrap(with_ones(values), mean, seed=6).se
    blocks = bootstrap(with_ones(values), mean, seed=6, grouping=Grouping(block=60)).se
    assert rows < 0.5 * truth
    assert blocks == pytest.approx(truth, rel=0.25)


def test_a_circular_block_goes_on_at_the_start() -> None:
    units, draws = Grouping(block=3).units(np.arange(30.0)[:, None])
    assert draws == 10
    assert units[0, 0] == 0 + 1 + 2
    assert units[-1, 0] == 29 + 0 + 1
    assert len(units) == 30


def test_few_clusters_are_refused() -> None:
    with pytest.raises(Invalid, match="2 independent groups"):
        Grouping(cluster=np.repeat(np.arange(2), 50)).units(np.ones((100, 1)))


def test_a_metric_that_does_not_exist_is_refused() -> None:
    parts = np.zeros((50, 2))
    parts[0] = 1.0  # one positive row: most resamples have none
    with pytest.raises(Invalid, match="too rare"):
        bootstrap(parts, METRICS["recall"].value, seed=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.3, 0.3))
def test_p_values_of_both_sides_add_up(seed: int, threshold: float) -> None:
    draws = bootstrap(with_ones(normal(60, seed)), mean, seed=seed, repeats=199)
    assert draws.p_above(threshold) + draws.p_below(threshold) >= 1.0
    assert 1 / 200 <= draws.p_above(threshold) <= 1.0


def test_the_calibration_error_worked_by_hand() -> None:
    # two bins: says 0.2 and happens 1 of 4 (gap 0.05), says 0.9 and happens 3 of 4 (gap 0.15)
    probability = np.array([0.2] * 4 + [0.9] * 4)
    truth = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    assert ece(truth, probability, bins=2) == pytest.approx(0.1)


def test_equal_probabilities_share_a_bin() -> None:
    probability = np.repeat([0.1, 0.5, 0.9], [70, 20, 10])
    assert len(set(bins_of(probability, 10).tolist())) <= 3


def test_a_calibrated_model_passes_and_an_overconfident_one_fails() -> None:
    generator = np.random.default_rng(11)
    probability = generator.uniform(0, 1, 6000)
    truth = (generator.uniform(0, 1, 6000) < probability).astype(np.float64)
    good = calibrated_below(truth, probability, limit=0.05, seed=1)
    bold = calibrated_below(truth, np.where(probability > 0.5, 0.99, 0.01), limit=0.05, seed=1)
    assert good.p_pass < 0.05
    assert bold.p_fail < 0.05
    assert good.low <= good.value


def test_metrics_of_another_name_are_refused() -> None:
    with pytest.raises(Invalid, match="unknown"):
        metric_named("acuracy")
