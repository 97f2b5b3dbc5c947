"""Who goes on, what fits, and how far one is behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.training.measuring import Answers, Judge, gap
from mainspring.training.model import HIGHER, Candidate, CandidateState, Estimate, TrainRequest
from mainspring.training.rules import behind, check_metric, ranked, survivors

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1)


@given(SCORES, st.sampled_from(["roc_auc", "rmse"]))
def test_the_best_of_each_family_and_half_of_all_go_on(early: dict[str, float], metric: str) -> None:
    families = {name: "xy"[ord(name) % 2] for name in early}
    going = survivors(early, families, metric)
    best = max if HIGHER[metric] else min
    assert {families[name] for name in going} == set(families.values())
    assert len(going) >= (len(early) + 1) // 2
    assert early[going[0]] == best(early.values())


def test_measured_candidates_come_first_the_best_of_them_on_top() -> None:
    def made(position: int, score: float | None, state: CandidateState) -> Candidate:
        estimate = None if score is None else Estimate(score)
        return Candidate(position=position, name=str(position), family="x", params={}, score=estimate, state=state)

    candidates = [
        made(0, None, CandidateState.FAILED),
        made(1, 3.0, CandidateState.MEASURED),
        made(2, None, CandidateState.WAITING),
        made(3, 1.0, CandidateState.MEASURED),
    ]
    assert [each.name for each in ranked(candidates, "rmse")] == ["3", "1", "2", "0"]
    assert [each.name for each in ranked(candidates, "r2")] == ["1", "3", "2", "0"]


def test_how_far_one_is_behind_is_positive_for_what_is_worse() -> None:
    assert behind(Estimate(0.5, 0.2, 0.8), "rmse") == Estimate(0.5, 0.2, 0.8)
    assert behind(Estimate(-0.5, -0.8, -0.2), "r2") == Estimate(0.5, 0.2, 0.8)


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(Invalid, match="no metric of a regression task"):
        check_metric("roc_auc", "regression")


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_the_paired_interval_is_narrower_than_the_two_it_compares(metric: str) -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 400).astype(float)
    good = np.clip(0.5 + 0.2 * (truth - 0.5) + generator.normal(0, 0.15, 400), 0.01, 0.99)
    near = np.clip(good + generator.normal(0, 0.01, 400), 0.01, 0.99)
    judge = Judge("binary", metric, truth, seed=3)
    one, other = (Answers(said, (said > 0.5).astype(float)) for said in (good, near))
    alone, apart = judge.score(one), judge.difference(other, one)
    assert alone.low is not None and alone.high is not None and apart.low is not None and apart.high is not None
    assert alone.low < alone.value < alone.high
    assert apart.high - apart.low < (alone.high - alone.low) / 2
    assert judge.difference(one, one).value == 0


def test_with_few_rows_there_is_a_score_without_an_interval() -> None:
    judge = Judge("binary", "roc_auc", np.array([0.0, 1.0, 0.0, 1.0]))
    found = judge.score(Answers(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.0, 1.0, 0.0, 1.0])))
    assert found == Estimate(1.0)


def test_the_gap_is_between_groups_that_are_large_enough() -> None:
    truth = np.zeros(40)
    decided = np.array([1.0] * 10 + [0.0] * 30)
    groups = ["a"] * 20 + ["b"] * 18 + ["c"] * 2
    assert gap("binary", truth, Answers(decided, decided), groups) == 0.5
    assert gap("binary", truth, Answers(decided, decided), ["a"] * 40) is None


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(budget: float) -> None:
    with pytest.raises(Invalid, match="a budget of"):
        TrainRequest(data="d", target="y", budget_s=budget)
