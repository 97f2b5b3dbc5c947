from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.core.scores import score_cell
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.judging import Finding, judge_loss
from mainspring.monitoring.rules.performance import (
    Outcomes,
    Tally,
    auc,
    calibration,
    classed_outcome,
    interval,
    measures,
    outcome,
    reference_loss,
)
from mainspring.monitoring.rules.windows import LabelWindow, closed_labels

VERSION = WatchedVersion("late", 1, "flights", "binary", loss="brier", reference_loss=0.15)
SPEC = MonitorSpec()
rows = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), max_size=30)


def counted(pairs: list[tuple[float, int]]) -> Outcomes:
    total = Outcomes(predictions=len(pairs))
    for score, label in pairs:
        total = total.merge(outcome("binary", score, "", label, 0.1))
    return total


@given(rows, rows)
@settings(max_examples=60, deadline=None)
def test_merging_is_adding_in_any_order(one: list[tuple[float, int]], two: list[tuple[float, int]]) -> None:
    left, right, whole = counted(one).merge(counted(two)), counted(two).merge(counted(one)), counted(one + two)
    for other in (right, whole):
        assert (other.counts, other.rows, other.correct) == (left.counts, left.rows, left.correct)
        assert other.loss == pytest.approx(left.loss)


@given(
    st.sampled_from(["binary", "multiclass", "regression"]),
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(0, 1), st.floats()),
            st.sampled_from(["", "0", "1", "yes"]),
            st.one_of(st.sampled_from([0, 1, True, "1", "yes", "true", " 0.0"]), st.floats(-1e9, 1e9)),
            st.sampled_from(["", "80", "8040", "ff00"]),
        ),
        max_size=40,
    ),
)
def test_rows_tallied_together_are_the_total_of_each(
    task: str, labelled: list[tuple[float | None, str, object, str]]
) -> None:
    tally, each = Tally(), []
    for score, answer, label, cells in labelled:
        tally.add(task, score, answer, label, 0.1)
        tally.add_classes(cells, ("yes", "0"), label)
        each.append(outcome(task, score, answer, label, 0.1).merge(classed_outcome(cells, ("yes", "0"), label)))
    assert tally.outcomes == Outcomes.total(each)


def test_the_measures_are_worked_by_hand() -> None:
    found = measures(counted([(0.9, 1), (0.2, 0), (0.6, 0), (0.4, 1)]), "binary")
    assert found["accuracy"] == 0.5
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.36) / 4)
    assert found["roc_auc"] == pytest.approx(3 / 4)
    assert found["log_loss"] == pytest.approx(-(2 * math.log(0.4) + math.log(0.9) + math.log(0.8)) / 4)


def test_the_area_from_cells_is_near_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.2
    score = 1 / (1 + np.exp(-(rng.normal(size=4000) + truth - 3)))
    above = (score[truth][:, None] > score[~truth][None, :]).mean()
    exact = float(above)
    found = auc(counted([(float(s), int(t)) for s, t in zip(score, truth, strict=True)]))
    assert found == pytest.approx(exact, abs=0.002)


def test_without_both_classes_there_is_no_area() -> None:
    assert auc(counted([(0.4, 1)])) is None
    assert "roc_auc" not in measures(counted([(0.4, 1)]), "binary")
    assert measures(Outcomes(), "binary") == {}


def test_calibration_groups_have_about_equal_rows() -> None:
    groups = calibration(counted([(i / 1000, int(i % 3 == 0)) for i in range(1000)]), parts=5)
    assert sum(rows for _, _, rows in groups) == 1000
    assert len(groups) == 5
    assert [round(share, 1) for _, share, _ in groups] == [0.3] * 5


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_score_has_a_cell(score: float) -> None:
    assert 0 <= score_cell(score) < 256


@pytest.mark.parametrize("label", ["", "late", "nan", 2, 0.5, float("inf"), None, []])
def test_a_label_that_is_no_value_of_the_task_is_counted_as_unread(label: object) -> None:
    found = outcome("binary", 0.5, "", label, 0.1)
    assert (found.rows, found.unread) == (0, 1)


@pytest.mark.parametrize("label", [1, 1.0, "1", "true", "True", True])
def test_a_label_may_be_written_in_many_ways(label: object) -> None:
    assert outcome("binary", 0.8, "", label, 0.1).loss == pytest.approx(0.04)


def test_classes_are_compared_as_text() -> None:
    assert outcome("multiclass", None, "2", 2.0, 0.1).correct == 1
    assert outcome("multiclass", None, "cat", "dog", 0.1).loss == 1.0


def test_an_error_beyond_ten_times_the_reference_counts_as_that() -> None:
    assert outcome("regression", 1e9, "", 0.0, 2.0).loss == 20.0


@pytest.mark.parametrize(
    ("task", "metrics", "expected"),
    [
        ("binary", {"brier": 0.1}, ("brier", 0.1)),
        ("binary", {"roc_auc": 0.7}, None),
        ("binary", {"brier": float("nan")}, None),
        ("multiclass", {"accuracy": 0.75}, ("error", 0.25)),
        ("regression", {"mae": 3.0}, ("mae", 3.0)),
        ("regression", {}, None),
    ],
)
def test_the_reference_loss_comes_from_the_validation(
    task: str, metrics: dict[str, float], expected: tuple[str, float] | None
) -> None:
    assert reference_loss(task, metrics) == expected


def test_the_interval_is_students() -> None:
    low, high = interval([1.0, 2.0, 3.0, 4.0]) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(3.1824 * 0.6455, abs=0.01)
    assert interval([1.0, 2.0]) is None


def day(loss: float, at: int, labelled: int = 900) -> LabelWindow:
    return LabelWindow(
        at * DAY_US, (at + 1) * DAY_US, Outcomes(predictions=labelled, rows=labelled, loss=loss * labelled)
    )


def judged(losses: list[float], version: WatchedVersion = VERSION) -> Finding:
    return judge_loss(version, [day(loss, at) for at, loss in enumerate(losses)], SPEC)


def stormy(mean: float, days: int, *, seed: int, deviation: float = 0.05, follow: float = 0.3) -> list[float]:
    """Daily losses of a year of weather: skewed, and bad days follow bad days."""
    rng = np.random.default_rng(seed)
    mood = rng.normal(size=days)
    for at in range(1, days):
        mood[at] = follow * mood[at - 1] + math.sqrt(1 - follow**2) * mood[at]
    width = math.sqrt(math.log(1 + (deviation / mean) ** 2))
    return [float(loss) for loss in np.clip(mean * np.exp(width * mood - width**2 / 2), 0, 1)]


def test_a_loss_as_at_validation_raises_less_than_one_alarm_a_year() -> None:
    years = [judged(stormy(0.15, 365, seed=seed)) for seed in range(30)]
    assert sum(len(year.drafts) for year in years) <= 0.2 * len(years)


def test_a_loss_at_the_edge_of_the_tolerance_raises_at_most_one_alarm_a_year() -> None:
    years = [judged(stormy(0.15 * 1.05, 365, seed=seed)) for seed in range(30)]
    assert sum(len(year.drafts) for year in years) <= len(years)


@pytest.mark.parametrize(("loss", "most_days"), [(0.20, 50), (0.25, 25), (0.40, 12)])
def test_a_loss_that_is_truly_worse_is_found(loss: float, most_days: int) -> None:
    found = []
    for seed in range(15):
        drafts = judged(stormy(0.15, 60, seed=seed) + stormy(loss, 120, seed=100 + seed)).drafts
        found.append(drafts[0].window_end // DAY_US - 60 if drafts else 999)
    assert sorted(found)[len(found) // 2] <= most_days


def test_the_alarm_says_what_was_seen_against_what_and_since_when() -> None:
    draft = judged([0.15] * 10 + [0.30] * 30).drafts[0]
    assert draft.cause == "performance"
    assert draft.window_start == 10 * DAY_US
    assert draft.text.startswith("brier 0.300 since 1970-01-11")
    assert draft.evidence["reference"] == 0.15
    assert draft.evidence["since"] == 10 * DAY_US


def test_evidence_starts_again_after_an_alarm() -> None:
    found = judged([0.3] * 60)
    assert len(found.drafts) >= 2
    gaps = {
        later.window_end - earlier.window_end for earlier, later in zip(found.drafts, found.drafts[1:], strict=False)
    }
    assert min(gaps) > 3 * DAY_US


def test_evidence_goes_on_where_it_was() -> None:
    losses = stormy(0.17, 40, seed=3)
    windows = [day(loss, at) for at, loss in enumerate(losses)]
    whole = judge_loss(VERSION, windows, SPEC)
    first = judge_loss(VERSION, windows[:17], SPEC)
    second = judge_loss(replace(VERSION, state=first.state), windows[17:], SPEC)
    assert second.state == whole.state
    assert first.judgements + second.judgements == whole.judgements


def test_a_day_closes_when_its_labels_are_in_or_two_days_later() -> None:
    full = Outcomes(predictions=100, rows=95)
    half = Outcomes(predictions=100, rows=50)
    assert len(closed_labels([(0, full)], DAY_US, SPEC)[0]) == 1
    assert closed_labels([(0, half)], DAY_US, SPEC)[0] == []
    assert len(closed_labels([(0, half)], 3 * DAY_US, SPEC)[0]) == 1


def test_days_close_in_order_and_days_without_labels_are_passed_over() -> None:
    none, half, full = Outcomes(predictions=10), Outcomes(predictions=100, rows=50), Outcomes(predictions=40, rows=40)
    found, until = closed_labels([(0, none), (DAY_US, half), (2 * DAY_US, full)], 3 * DAY_US, SPEC)
    assert (found, until) == ([], DAY_US)
    found, until = closed_labels([(0, none), (DAY_US, half), (2 * DAY_US, full)], 4 * DAY_US, SPEC)
    assert [window.start for window in found] == [DAY_US, 2 * DAY_US]
    assert until == 3 * DAY_US


def test_days_with_few_labels_are_joined() -> None:
    few = Outcomes(predictions=20, rows=20)
    found, until = closed_labels([(0, few), (DAY_US, few), (2 * DAY_US, few)], 9 * DAY_US, SPEC)
    assert [(window.start, window.end, window.outcomes.rows) for window in found] == [(0, 2 * DAY_US, 40)]
    assert until == 2 * DAY_US
