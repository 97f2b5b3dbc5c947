"""Estimated performance against the truth it could not see."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from mainspring.core.scores import CELLS, cell_middle, count_scores, score_cell, score_cells
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.estimating.calibrating import Calibration, Counted, calibrate, isotonic
from mainspring.monitoring.rules.estimating.classes import estimate, estimate_right, gap
from mainspring.monitoring.rules.estimating.numbers import LossModel, estimate_loss, learn_loss
from mainspring.monitoring.rules.estimating.shift import density_ratio, effective_rows, weighted
from mainspring.monitoring.rules.measuring import MEASURES, realized

Floats = NDArray[np.float64]


def drawn(rows: int, seed: int, *, shift: float = 0.0, sharp: float = 1.0) -> tuple[Floats, Floats]:
    """Scores and labels; with `sharp` other than 1 the scores are no probabilities."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1 + shift, 1.2, rows)
    truth = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    return 1 / (1 + np.exp(-logit * sharp)), truth


def window(scores: Floats) -> tuple[Floats, Floats]:
    cells = score_cells(scores)
    ones = np.ones(len(scores))
    rows, sums = (np.bincount(cells, weights=w, minlength=CELLS).astype(np.float64) for w in (ones, scores))
    return rows, sums


def calibrated(scores: Floats, truth: Floats) -> Calibration:
    found = calibrate(Counted.of(count_scores(scores, truth)))
    assert isinstance(found, Calibration)
    return found


def truth_of(scores: Floats, truth: Floats) -> dict[str, Reading]:
    counted = Counted.of(count_scores(scores, truth))
    return realized(counted.no, counted.yes, counted.sums)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_one_score_and_many_scores_have_the_same_cell(scores: list[float]) -> None:
    assert score_cells(np.array(scores)).tolist() == [score_cell(score) for score in scores]


def test_the_middle_of_a_cell_lies_in_it() -> None:
    assert [score_cell(cell_middle(cell)) for cell in range(30, 226)] == list(range(30, 226))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_the_isotonic_curve_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    no, yes = (rng.poisson(2, CELLS).astype(np.float64) for _ in range(2))
    filled = np.flatnonzero(no + yes)
    other = IsotonicRegression().fit(filled, (yes / np.maximum(no + yes, 1))[filled], (no + yes)[filled])
    assert isotonic(no, yes)[filled] == pytest.approx(other.predict(filled), abs=1e-12)


@pytest.mark.parametrize("sharp", [1.0, 2.5])
def test_intervals_of_estimates_hold_what_labels_show_later(sharp: float) -> None:
    calibration = calibrated(*drawn(6_000, 0, sharp=sharp))
    assert calibration.is_raw == (sharp == 1.0)
    held = dict.fromkeys(MEASURES, 0)
    for seed in range(1, 26):
        scores, truth = drawn(1_500, seed, sharp=sharp)
        estimated, later = estimate(*window(scores), calibration), truth_of(scores, truth)
        for name in MEASURES:
            value = later[name].value
            assert value is not None
            held[name] += estimated[name].holds(value)
    assert min(held.values()) >= 21


def test_estimates_follow_inputs_that_move_and_not_concepts() -> None:
    calibration = calibrated(*drawn(6_000, 0))
    scores, truth = drawn(4_000, 1, shift=1.0)
    estimated = estimate(*window(scores), calibration)
    assert estimated["accuracy"].holds(truth_of(scores, truth)["accuracy"].value or 0.0)
    flipped = truth_of(scores, 1 - truth)
    assert not estimated["roc_auc"].holds(flipped["roc_auc"].value or 0.0)
    apart = gap(estimated["roc_auc"], flipped["roc_auc"])
    assert apart is not None and apart[0] > 10 * apart[1]
    assert gap(unknown("x"), flipped["roc_auc"]) is None


def test_what_cannot_be_estimated_says_why() -> None:
    scores, truth = drawn(99, 0)
    assert "99 independent rows" in str(calibrate(Counted.of(count_scores(scores, truth))))
    assert "rarer class" in str(calibrate(Counted.of(count_scores(np.full(500, 0.1), np.zeros(500)))))
    assert "independent rows" in str(calibrate(Counted.of({})))
    calibration = calibrated(*drawn(2_000, 0))
    empty = estimate(np.zeros(CELLS), np.zeros(CELLS), calibration, worth={"true_positive": 1.0})
    assert {reading.why for reading in empty.values()} == {"not estimable: 0 rows, 30 are needed"}
    assert estimate_right(np.zeros(CELLS), np.zeros(CELLS), calibration).value is None


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5])
def test_windows_of_one_score_give_numbers_or_reasons(score: float) -> None:
    calibration = calibrated(*drawn(2_000, 0))
    for reading in estimate(*window(np.full(200, score)), calibration).values():
        assert (reading.value is None) == bool(reading.why)
        assert reading.value is None or math.isfinite(reading.value)


def test_scores_that_are_none_are_not_counted() -> None:
    odd = np.array([np.nan, np.inf, -0.1, 1.1, 0.5])
    assert sum(no + yes for no, yes, _ in count_scores(odd, np.ones(5)).values()) == 1


def test_right_answers_among_many_classes_are_estimated_from_their_probability() -> None:
    rng = np.random.default_rng(0)
    top = rng.uniform(0.3, 1.0, 8_000)
    right = (rng.random(8_000) < top**2).astype(np.float64)
    calibration = calibrated(top[:5_000], right[:5_000])
    assert estimate_right(*window(top[5_000:]), calibration).holds(float(right[5_000:].mean()))


def test_money_is_estimated_like_any_measure() -> None:
    worth = {"true_positive": 40.0, "false_positive": -5.0}
    calibration = calibrated(*drawn(6_000, 0))
    scores, truth = drawn(2_000, 1)
    counted = Counted.of(count_scores(scores, truth))
    money = realized(counted.no, counted.yes, counted.sums, worth=worth)["value"].value
    said = (scores >= 0.5).astype(np.float64)
    assert money == pytest.approx(40 * (said * truth).sum() - 5 * (said * (1 - truth)).sum())
    assert estimate(*window(scores), calibration, worth=worth)["value"].holds(money or 0.0)


def moved(rows: int, seed: int, mean: float) -> tuple[pl.DataFrame, Floats, Floats]:
    """A model that does not know that its scores mean less where x is large."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(mean, 1, rows), rng.normal(0, 1.5, rows)
    truth = (rng.random(rows) < 1 / (1 + np.exp(-z * np.where(x > 1, 0.1, 1.6)))).astype(np.float64)
    frame = pl.DataFrame({"x": x, "z": z, "kind": np.where(x > 0, "a", "b"), "made": [[1]] * rows})
    return frame, 1 / (1 + np.exp(-z)), truth


def test_where_inputs_moved_weighted_rows_estimate_better() -> None:
    known, scores, truth = moved(3_000, 0, 0.0)
    now, now_scores, now_truth = moved(3_000, 1, 1.2)
    weights = density_ratio(known, now)
    assert 100 < weights.effective < 3_000
    counted = weighted(scores, truth, weights)
    assert isinstance(counted, Counted)
    aware = calibrate(counted, effective=weights.effective)
    assert isinstance(aware, Calibration)
    later = truth_of(now_scores, now_truth)["roc_auc"].value or 0.0
    plain = estimate(*window(now_scores), calibrated(scores, truth))["roc_auc"].value or 0.0
    better = estimate(*window(now_scores), aware)["roc_auc"].value or 0.0
    assert abs(better - later) < 0.5 * abs(plain - later)


def test_a_window_that_is_like_no_labelled_row_is_not_estimated() -> None:
    known, scores, truth = moved(400, 0, 0.0)
    now, _, _ = moved(400, 1, 9.0)
    weights = density_ratio(known, now)
    assert "effective rows" in str(weighted(scores, truth, weights)) or weights.effective >= 100
    assert effective_rows(np.array([1.0, 0.0])) == 1.0
    assert effective_rows(np.zeros(3)) == 0.0


def prices(rows: int, seed: int, mean: float = 0.0) -> tuple[pl.DataFrame, Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 1, rows)
    said = 3 * x
    return pl.DataFrame({"x": x, "kind": np.where(x > 0, "a", "b")}), said, said + rng.normal(0, 1 + np.abs(x), rows)


def test_the_error_of_numbers_is_estimated_where_inputs_moved() -> None:
    model = learn_loss(*prices(1_000, 0))
    assert isinstance(model, LossModel)
    for mean in (0.0, 1.0):
        inputs, said, truth = prices(1_500, 1, mean)
        found = estimate_loss(model, inputs, said)
        assert found["mae"].value == pytest.approx(float(np.abs(said - truth).mean()), rel=0.12)
        assert found["rmse"].value == pytest.approx(float(np.sqrt(((said - truth) ** 2).mean())), rel=0.15)
    inputs, said, _ = prices(10, 2)
    assert estimate_loss(model, inputs, said)["mae"].why == "not estimable: 10 rows, 30 are needed"
    assert estimate_loss(model, inputs, np.full(10, np.nan))["rmse"].value is None
    assert "10 labelled rows" in str(learn_loss(inputs, said, said))
