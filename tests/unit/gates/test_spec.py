"""Reading a `[gate.NAME]` section."""

from __future__ import annotations

import tomllib

import pytest

from mainspring.core.errors import Invalid
from mainspring.gates import CheckSpec, GateSpec, parse_gate
from mainspring.gates.checks import build, kinds, parse_check

PROMOTE = """
[gate.promote]
data = "flights/eval"                 # a dataset or split; its version is recorded
baseline = "champion"
alpha = 0.05
undecided = "hold"
checks = [
  {metric = "roc_auc",  compare = "non_inferior", margin = 0.005},
  {metric = "accuracy", compare = "superior"},
  {metric = "rmse",     compare = "non_inferior", margin = "2%", cluster = "customer"},
  {metric = "recall",   floor = 0.70, slices = ["region", "age_band"], min_rows = 200},
  {fairness = "tpr", group = "sex", max_gap = 0.05, bound = "upper"},
  {calibration = "ece", max = 0.05},
  {behaviour = "tests/behaviour.toml"},
  {robustness = "missing:0.1", max_drop = 0.02},
  {latency_p95_ms = 20, size_mb = 200},
  {signature = "backward_compatible"},
  {golden = 50, tolerance = 1e-6},
  {leakage = true},
]
approve = {role = "validator", when = "production"}
"""


def read(text: str) -> GateSpec:
    return parse_gate("promote", tomllib.loads(text)["gate"]["promote"])


def with_check(check: dict[str, object]) -> GateSpec:
    return parse_gate("promote", {"checks": [check]})


def test_every_kind_of_check_is_read() -> None:
    gate = read(PROMOTE)
    kinds = (
        "compare compare compare floor fairness calibration behaviour robustness latency size signature golden leakage"
    )
    assert [check.kind for check in gate.checks] == kinds.split()
    assert gate.checks[0].title == "roc_auc non-inferior by 0.005"
    assert gate.checks[1].title == "accuracy superior"
    assert (gate.data, gate.undecided) == ("flights/eval", "hold")
    assert gate.approve == {"role": "validator", "when": "production"}


def test_two_checks_of_one_title_can_be_told_apart() -> None:
    table = {"checks": [{"metric": "recall", "floor": 0.7}, {"metric": "recall", "floor": 0.7, "cluster": "customer"}]}
    assert [check.title for check in parse_gate("g", table).checks] == [
        "recall at least 0.7",
        "recall at least 0.7 (2)",
    ]


@pytest.mark.parametrize(
    ("check", "what", "hint"),
    [
        ({"metric": "roc_auc", "compare": "non_inferior", "magrin": 0.01}, "unknown option 'magrin'", '"margin"'),
        ({"metric": "roc_acu", "compare": "superior"}, "unknown metric 'roc_acu'", '"roc_auc"'),
        (
            {"metric": "roc_auc", "compare": "better"},
            "Invalid enum value 'better'",
            "compare is one of non_inferior, superior",
        ),
        ({"metric": "roc_auc", "floor": 7}, "roc_auc is never 7", "from 0 to 1"),
        ({"metric": "recall", "floor": float("nan")}, "recall is never nan", "from 0 to 1"),
        ({"metric": "mcc", "floor": -2}, "mcc is never -2", "from -1 to 1"),
        ({"metric": "r2", "floor": 1.5}, "r2 is never 1.5", "to 1"),
        ({"metric": "rmse", "ceiling": -1}, "rmse is never -1", "from 0"),
        ({"metric": "rmse", "ceiling": float("inf")}, "rmse is never inf", "from 0"),
        ({"metric": "roc_auc", "compare": "non_inferior", "margin": 2}, "never differ by more than 1", '"2%"'),
        ({"size_mb": float("nan")}, "the limit is nan MB", "above 0"),
        ({"latency_p95_ms": float("inf")}, "the limit is inf ms", "above 0"),
        ({"golden": 5, "tolerance": float("nan")}, "the tolerance is nan", "0 or more"),
        ({"seeds": 3, "max_sd": float("nan")}, "max_sd is nan", "above 0"),
        ({"metric": "roc_auc", "compare": "non_inferior"}, "the margin is 0.0", "margin above 0"),
        ({"metric": "roc_auc", "compare": "non_inferior", "margin": "2 percent"}, "'2 percent' is not", "2%"),
        ({"metric": "roc_auc", "compare": "superior", "cluster": "a", "block": 7}, "exclude each other", "one of"),
        ({"metric": "recall", "flor": 0.7}, "no kind of check has", '"floor"'),
        ({"metric": "recall", "floor": "high"}, "Expected `float | null`, got `str`", "options"),
        ({"metric": "rmse", "floor": 3}, "of rmse less is better", "ceiling"),
        ({"metric": "recall", "ceiling": 0.3}, "of recall more is better", "floor"),
        ({"calibration": "ece", "max": 5}, "max is 5", "limit in"),
        ({"calibration": "ece"}, "missing required field `max`", "options"),
        ({"latency_p95_ms": 20, "requests": 3}, "3 requests", "60"),
        ({"size_mb": -1}, "the limit is -1", "above 0"),
        ({"golden": 0}, "0 golden requests", "1 to"),
        ({"leakage": False}, "checks nothing", "take the check out"),
        ({}, "no options", "one of"),
    ],
)
def test_a_mistake_in_a_check_is_refused_with_a_hint(check: dict[str, object], what: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        with_check(check)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where.startswith("gate.promote.checks[0]")


@pytest.mark.parametrize(
    ("table", "what", "hint"),
    [
        ({"checks": [{"leakage": True}], "alhpa": 0.05}, "unknown setting 'alhpa'", '"alpha"'),
        ({"checks": [{"leakage": True}], "alpha": 0.7}, "alpha is 0.7", "0.05"),
        ({"checks": [{"leakage": True}], "alpha": "low"}, "'low' is not a number", "write a number"),
        ({"checks": [{"leakage": True}], "undecided": "hodl"}, "undecided is 'hodl'", '"hold"'),
        ({"checks": [{"leakage": True}], "data": 3}, "3 is not a text", "quotes"),
        ({"checks": [{"leakage": True}], "approve": {"rule": "x"}}, "unknown setting 'rule'", '"role"'),
        ({"checks": [{"leakage": True}], "approve": "me"}, "not a table", "approve"),
        ({"checks": []}, "without checks", "add checks"),
        ({"checks": "all"}, "not a list", "checks ="),
        ({"checks": ["leakage"]}, "not a list of tables", "checks ="),
    ],
)
def test_a_mistake_in_a_gate_is_refused_with_a_hint(table: dict[str, object], what: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_gate("promote", table)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where.startswith("gate.promote")


def test_a_gate_needs_a_name() -> None:
    with pytest.raises(Invalid, match="can't name a gate"):
        parse_gate("my gate", {"checks": [{"leakage": True}]})


EXAMPLES: dict[str, dict[str, object]] = {
    "behaviour": {"behaviour": "tests/behaviour.toml"},
    "calibration": {"calibration": "ece", "max": 0.05},
    "compare": {"metric": "roc_auc", "compare": "non_inferior", "margin": 0.005},
    "fairness": {"fairness": "tpr", "group": "sex", "max_gap": 0.05},
    "floor": {"metric": "recall", "floor": 0.7},
    "golden": {"golden": 50},
    "latency": {"latency_p95_ms": 20},
    "leakage": {"leakage": True},
    "robustness": {"robustness": "missing:0.1", "max_drop": 0.02},
    "seeds": {"seeds": 5, "max_sd": 0.01},
    "signature": {"signature": "backward_compatible"},
    "size": {"size_mb": 200},
}


@pytest.mark.parametrize("kind", sorted(kinds()))
class TestEveryKind:
    """The contract of a kind of check: whatever file is in the folder has to keep it."""

    def test_it_is_found_by_its_signs(self, kind: str) -> None:
        specs = parse_check(EXAMPLES[kind])
        assert [spec.kind for spec in specs] == [kind]
        assert set(kinds()[kind].SIGNS) & set(EXAMPLES[kind])

    def test_its_title_says_what_was_asked_and_is_no_sentence(self, kind: str) -> None:
        title = parse_check(EXAMPLES[kind])[0].title
        assert 5 < len(title) < 60
        assert not title.endswith(".")

    def test_its_options_come_back_from_storage(self, kind: str) -> None:
        spec = parse_check(EXAMPLES[kind])[0]
        assert build(CheckSpec(spec.kind, spec.title, dict(spec.options))).title() == spec.title

    def test_it_refuses_a_stranger_among_its_options(self, kind: str) -> None:
        with pytest.raises(Invalid, match="unknown option 'colour'"):
            parse_check({**EXAMPLES[kind], "colour": "red"})

    def test_no_sign_is_shared_with_another_kind(self, kind: str) -> None:
        others = {sign for name, other in kinds().items() if name != kind for sign in other.SIGNS}
        assert not others & set(kinds()[kind].SIGNS)


def test_an_unknown_kind_names_its_neighbour() -> None:
    with pytest.raises(Invalid) as caught:
        build(CheckSpec("flour", "x"))
    assert caught.value.hint == 'did you mean "floor"?'
