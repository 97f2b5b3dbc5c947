"""From findings to one verdict."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from mainspring.gates.rules.finding import Finding, fact, rows_needed, tail
from mainspring.gates.rules.multiplicity import benjamini_hochberg, holm
from mainspring.gates.rules.verdict import Outcome, combine, harmed, judge

ps = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8)


def finding(p_pass: float, p_fail: float, *, value: float = 0.0, se: float = 0.01) -> Finding:
    return Finding(value=value, threshold=-0.01, n=1000, method="m", p_pass=p_pass, p_fail=p_fail, se=se)


@given(ps)
def test_holm_is_the_step_down_rule(p: list[float]) -> None:
    order = np.argsort(p, kind="stable")
    expected, worst = [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, p[index] * (len(p) - place)))
        expected[index] = worst
    assert holm(p) == pytest.approx(expected)


def test_the_corrections_are_those_of_statsmodels() -> None:
    # statsmodels 0.15.0, multipletests with "holm" and "fdr_bh"
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205]
    assert holm(p) == pytest.approx([0.008, 0.056, *[0.234] * 6])
    found = [0.008, 0.032, 0.0672, 0.0672, 0.0672, 0.08, 0.08457142857142856, 0.205]
    assert benjamini_hochberg(p) == pytest.approx(found)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    for index, adjusted in enumerate(holm(p)):
        others = [i for i in range(len(p)) if i != index]
        families = [(index, *rest) for size in range(len(p)) for rest in itertools.combinations(others, size)]
        assert adjusted == pytest.approx(max(min(1.0, len(f) * min(p[i] for i in f)) for f in families))


@given(ps)
def test_benjamini_and_hochberg_as_scipy_has_it(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist())


@given(ps)
def test_corrections_do_not_depend_on_the_order(p: list[float]) -> None:
    back = list(reversed(p))
    assert holm(back)[::-1] == pytest.approx(holm(p))
    assert benjamini_hochberg(back)[::-1] == pytest.approx(benjamini_hochberg(p))


def test_a_check_passes_fails_or_stays_undecided() -> None:
    found = judge([finding(0.01, 0.99), finding(0.99, 0.001), finding(0.3, 0.7)], alpha=0.05)
    assert [one.outcome for one in found] == ["pass", "fail", "undecided"]


def test_holm_counts_the_tests_and_not_the_facts() -> None:
    alone = judge([finding(0.04, 0.96), fact(True, method="size")], alpha=0.05)
    assert [one.outcome for one in alone] == ["pass", "pass"]
    assert alone[1].p is None
    pair = judge([finding(0.04, 0.96), finding(0.04, 0.96)], alpha=0.05)
    assert [one.outcome for one in pair] == ["undecided", "undecided"]


def test_what_is_presumed_good_fails_only_when_shown_to_be_bad() -> None:
    doubtful, bad = (replace(finding(0.4, p_fail), presumed=True) for p_fail in (0.3, 0.001))
    assert [one.outcome for one in judge([doubtful], alpha=0.05)] == ["pass"]
    assert [one.outcome for one in judge([bad, finding(0.03, 0.9)], alpha=0.05)] == ["fail", "pass"]


def test_a_broken_limit_fails() -> None:
    assert judge([fact(False, method="size")], alpha=0.05)[0].outcome == "fail"


def test_undecided_says_how_many_rows_would_decide() -> None:
    # estimate 0 against -0.01 with a standard error of 0.01 on 1000 rows: (1.6449 + 0.8416)^2 = 6.1826 times as many
    assert rows_needed(finding(0.16, 0.84), alpha=0.05) == 6183
    assert judge([finding(0.16, 0.84)], alpha=0.05)[0].needed == 6183


def test_no_number_of_rows_decides_an_estimate_on_the_line() -> None:
    assert rows_needed(finding(0.5, 0.5, value=-0.01), alpha=0.05) is None
    assert rows_needed(finding(0.5, 0.5, se=0.0), alpha=0.05) is None


def test_slices_are_bad_only_when_shown_to_be() -> None:
    assert harmed([finding(0.9, p) for p in (0.001, 0.04, 0.5, 0.9)], alpha=0.05) == [True, False, False, False]
    assert harmed([], alpha=0.05) == []


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "skipped"], "pass"),
        (["skipped"], "pass"),
        (["pass", "undecided"], "undecided"),
        (["undecided", "error"], "error"),
        (["error", "fail"], "fail"),
    ],
)
def test_the_worst_outcome_is_the_gates(outcomes: list[Outcome], expected: str) -> None:
    assert combine(outcomes) == expected


def test_a_gate_may_call_doubt_a_failure() -> None:
    assert combine(["pass", "undecided"], undecided="fail") == "fail"
    assert combine(["pass", "undecided"], undecided="shadow") == "undecided"


def test_the_tail_of_the_normal() -> None:
    assert tail(0.0) == 0.5
    assert tail(1.959964) == pytest.approx(0.025, abs=1e-6)
