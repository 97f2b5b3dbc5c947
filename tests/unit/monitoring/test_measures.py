"""Measures from counts, ranks, forecasts and risks against scikit-learn and numbers worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.core.scores import count_scores
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.readings import Reading
from mainspring.monitoring.rules import ranking
from mainspring.monitoring.rules.estimating.calibrating import Counted
from mainspring.monitoring.rules.feedback import Said, said_of
from mainspring.monitoring.rules.forecasting import interval_coverage, mase
from mainspring.monitoring.rules.manyclasses import per_class, realized_many
from mainspring.monitoring.rules.measuring import MEASURES, confusion, realized
from mainspring.monitoring.rules.numbers import realized_numbers
from mainspring.monitoring.rules.performance import Outcomes, outcome
from mainspring.monitoring.rules.slices import worst_slices
from mainspring.monitoring.rules.survival import concordance
from mainspring.serving.model import StoredFeedback


def counted(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Counted:
    return Counted.of(count_scores(scores, truth))


def test_measures_of_two_classes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.beta(2, 3, 4_000), 2)  # so that rows of one cell have one score
    truth = (rng.random(4_000) < scores).astype(np.float64)
    parts = counted(scores, truth)
    found = realized(parts.no, parts.yes, parts.sums)
    said = scores >= 0.5
    exact = {
        "f1": metrics.f1_score(truth, said),
        "precision": metrics.precision_score(truth, said),
        "recall": metrics.recall_score(truth, said),
        "specificity": metrics.recall_score(1 - truth, ~said),
        "accuracy": metrics.accuracy_score(truth, said),
    }
    near = {
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
        "brier": metrics.brier_score_loss(truth, scores),
        "log_loss": metrics.log_loss(truth, np.clip(scores, 1e-6, 1 - 1e-6)),
    }
    assert {name: found[name].value for name in exact} == pytest.approx(exact)
    assert {name: found[name].value for name in near} == pytest.approx(near, abs=2e-3)
    assert all(found[name].holds(value) for name, value in (exact | near).items())
    tn, fp, fn, tp = metrics.confusion_matrix(truth, said).ravel()
    assert [float(part) for part in confusion(parts.no, parts.yes).values()] == [tp, fp, fn, tn]


def test_one_class_or_no_row_is_said_in_words() -> None:
    only = counted(np.array([0.2, 0.7]), np.array([1.0, 1.0]))
    found = realized(only.no, only.yes, only.sums)
    assert found["roc_auc"].why == "not estimable: no row is of class 0"
    assert found["recall"].value == 0.5
    none = realized(np.zeros(256), np.zeros(256), np.zeros(256), worth={"true_positive": 1.0})
    assert set(none) == {*MEASURES, "value"}
    assert {one.why for one in none.values()} == {"not estimable: no row has a label"}


def many(pairs: list[tuple[str, str]]) -> Outcomes:
    return Outcomes.total(outcome("multiclass", 0.5, answer, truth, 0.1) for answer, truth in pairs)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=60))
@settings(max_examples=25, deadline=None)
def test_measures_of_many_classes_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    said, truth = [answer for answer, _ in pairs], [true for _, true in pairs]
    found = realized_many(many(pairs))
    both = {"average": "macro", "zero_division": 0.0}
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, said))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(truth, said, **both))
    assert found["macro_recall"].value == pytest.approx(metrics.recall_score(truth, said, **both))
    assert found["macro_precision"].value == pytest.approx(metrics.precision_score(truth, said, **both))
    for name, one in per_class(many(pairs)).items():
        exact = metrics.f1_score(truth, said, labels=[name], average="macro", zero_division=0.0)
        assert one["f1"].value == pytest.approx(exact)


def test_labels_that_are_random_texts_do_not_grow_a_row_without_end() -> None:
    found = many([("a", f"text {number}") for number in range(4_000)])
    assert len(found.confusion) <= 2_501
    assert sum(found.confusion.values()) == found.rows == 4_000
    assert realized_many(found)["accuracy"].value == 0.0


def test_measures_of_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 3, 2_000)
    said = truth + rng.normal(0.5, 1, 2_000)
    whole = Outcomes.total(
        outcome("regression", s, "", t, 0.0) for s, t in zip(said.tolist(), truth.tolist(), strict=True)
    )
    found = realized_numbers(whole, worth={"per_unit": -2.0})
    exact = {
        "mae": metrics.mean_absolute_error(truth, said),
        "rmse": metrics.mean_squared_error(truth, said) ** 0.5,
        "bias": float((said - truth).mean()),
        "r2": metrics.r2_score(truth, said),
        "value": -2.0 * float(np.abs(said - truth).sum()),
    }
    assert {name: one.value for name, one in found.items()} == pytest.approx(exact)
    assert all(found[name].holds(value) for name, value in exact.items())
    assert realized_numbers(Outcomes())["mae"].why == "not estimable: no row has a label"
    same = Outcomes.total(outcome("regression", 1.0, "", 2.0, 0.0) for _ in range(3))
    assert realized_numbers(same)["r2"].why == "not estimable: every label is the same number"


def test_ranked_lists_are_measured_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    groups = [(rng.random(12), rng.integers(0, 3, 12).astype(float)) for _ in range(30)]
    ranked = [ranking.in_order(scores.tolist(), gains.tolist()) for scores, gains in groups]
    exact = np.mean([metrics.ndcg_score([gains], [scores], k=5) for scores, gains in groups])
    found = ranking.measures(ranked, k=5)
    assert found["ndcg@5"].value == pytest.approx(exact)
    assert found["ndcg@5"].holds(float(exact))
    whole = np.mean([metrics.average_precision_score(gains > 0, scores) for scores, gains in groups])
    assert ranking.measures(ranked, k=12)["map@12"].value == pytest.approx(whole)
    assert ranking.recall([1.0, 0.0, 2.0, 1.0], k=2) == pytest.approx(1 / 3)
    assert ranking.measures([[0.0, 0.0], []])["map@10"].why == "not estimable: no group has a relevant item"


def test_forecasts_are_held_against_repeating_the_last_season() -> None:
    assert mase([1, 3, 2, 4], [5.0, 1.0], [4.0, 3.0], season=2).value == pytest.approx(1.5 / 1.0)
    assert mase([2.0, 2.0], [1.0], [1.0]).why.endswith("repeating it has no error")
    assert mase([1.0, 2.0], [math.nan], [1.0]).why == "not estimable: no forecast has its value yet"
    assert interval_coverage([1, 2, 3, 4], [0, 0, 0, 0], [3, 3, 3, 3]).value == 0.75
    assert interval_coverage([], [], []).value is None


def test_the_order_of_risks_is_worked_by_hand() -> None:
    times, seen = np.array([2.0, 4.0, 5.0, 1.0]), np.array([True, False, True, True])
    found = concordance(times, seen, np.array([0.9, 0.1, 0.5, 0.2]))
    assert found.value == pytest.approx(
        3 / 5
    )  # pairs (1,2) (1,3) (4,1) (4,2) (4,3): right are the first two and 4 before 2
    assert concordance(times, np.zeros(4, dtype=bool), times).why.startswith("not estimable: no two rows")


def test_the_worst_slices_are_those_that_were_planted_and_no_others() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "carrier": rng.choice(["AA", "DL", "UA", "B6"], 8_000),
            "hour": rng.uniform(0, 24, 8_000),
            "noise": rng.normal(size=8_000),
            "flag": rng.random(8_000) < 0.5,
            "list": [[1]] * 8_000,
            "one": [1.0] * 8_000,
        }
    )
    late = (frame["carrier"] == "AA").to_numpy()
    losses = rng.exponential(0.1, 8_000) + np.where(late, 0.1, 0.0)
    found = worst_slices(frame, losses)
    assert [one.name for one in found] == ["carrier is AA"]
    assert found[0].low < 0.1 < found[0].high
    both = late & frame["flag"].to_numpy()
    pairs = worst_slices(frame, rng.exponential(0.1, 8_000) + np.where(both, 0.2, 0.0))
    assert "carrier is AA and flag is true" in [one.name for one in pairs]


def test_slices_of_noise_are_rarely_found() -> None:
    false = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = pl.DataFrame({"a": rng.choice(list("abcdefgh"), 1_500), "b": rng.normal(size=1_500)})
        false += bool(worst_slices(frame, rng.exponential(1.0, 1_500)))
    assert false <= 1


@pytest.mark.parametrize("rows", [0, 5, 99])
def test_few_rows_have_no_worst_slice(rows: int) -> None:
    frame = pl.DataFrame({"a": ["x"] * rows, "b": [None] * rows})
    assert worst_slices(frame, np.full(rows, np.nan)) == []


def test_feedback_is_counted_by_kind_and_day() -> None:
    def item(kind: str, value: float | str, at: int) -> StoredFeedback:
        return StoredFeedback(1, "p", kind, value, at, at)

    items = [item("rating", 4.0, 5), item("rating", 2.0, 7), item("rating", 5.0, DAY_US), item("label", 1.0, 5)]
    found = said_of([*items, item("correction", "AA", 5), item("click", 1e300, 5)])
    assert [(one.kind, one.start, one.rows, one.numbers) for one in found] == [
        ("click", 0, 1, 0),
        ("correction", 0, 1, 0),
        ("rating", 0, 2, 2),
        ("rating", DAY_US, 1, 1),
    ]
    assert found[2].mean == Reading(3.0, 3.0 - 1.959963984540054, 3.0 + 1.959963984540054)
    assert found[1].mean.why == "not estimable: no value is a number"
    assert replace(found[3], numbers=1).mean.value == 5.0
    assert Said("rating", 0, 1, 1, 5.0, 25.0).mean.low is None


@pytest.mark.parametrize(
    ("settings_", "found"),
    [
        ({"segments": "carrier"}, "no list of names"),
        ({"segments": 3}, "no list of names"),
        ({"worth": 3}, "no table of amounts"),
        ({"currency": 3}, "no currency"),
        ({"segments": [str(i) for i in range(9)]}, "more than 8"),
        ({"worth": {"true_positve": 1.0}}, "no outcome is called"),
        ({"worth": {"right": "much"}}, "no amount"),
    ],
)
def test_settings_of_segments_and_worth_that_are_none_are_refused(settings_: dict[str, object], found: str) -> None:
    with pytest.raises(Invalid, match=found):
        MonitorSpec(**settings_)  # type: ignore[arg-type]  # that is the point
