"""The checks on a case made by hand, and how a gate judges them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.gates import CheckResult, parse_gate
from mainspring.gates.answers import answers_of, check_label, truth_of
from mainspring.gates.case import Answers, Case
from mainspring.gates.judging import reason_for, run_checks
from mainspring.registry import Field, ModelVersion, Signature
from mainspring.registry.model import Example

Floats = NDArray[np.float64]
INPUTS = (Field("distance", "float64"), Field("region", "string", ("north", "south")))
OUTPUTS = (Field("probability", "float64"), Field("label", "int64"))


def version(number: int = 1, *, task: str = "binary", inputs: tuple[Field, ...] = INPUTS) -> ModelVersion:
    classes = (0, 1) if task == "binary" else ()
    return ModelVersion(
        model="late",
        number=number,
        digest=f"{number}" * 64,
        signature=Signature(inputs, OUTPUTS),
        flavour="sklearn",
        task=task,
        classes=classes,
        example=Example({}),
        run_id="",
        datasets=(),
        reference="",
        metrics={},
        size_bytes=5_000_000,
        environment={},
        signed_by="",
        created_at=0,
    )


def case(n: int = 1000, *, noise: float = 0.3, seed: int = 1) -> Case:
    """A candidate and a champion that know the same and err apart, on rows of two regions."""
    generator = np.random.default_rng(seed)
    belief = generator.uniform(0.02, 0.98, n)
    truth = (generator.uniform(0, 1, n) < belief).astype(np.float64)

    def answers() -> Answers:
        score = np.clip(belief + generator.normal(0, noise / 10, n), 0.001, 0.999)
        return Answers(score, (score > 0.5).astype(np.float64))

    mine = answers()
    frame = pl.DataFrame(
        {
            "distance": generator.normal(0, 1, n),
            "region": np.where(np.arange(n) % 4 == 0, "south", "north"),
            "customer": np.arange(n) // 4,
            "late": truth.astype(np.int64),
        }
    )

    def predict(rows: pl.DataFrame) -> Mapping[str, NDArray[np.generic]]:
        return {"probability": np.full(rows.height, 0.25), "label": np.zeros(rows.height, dtype=np.int64)}

    return Case(
        candidate=version(2),
        champion=version(1),
        frame=frame,
        label="late",
        task="classification",
        truth=truth,
        answers=mine,
        baseline=answers(),
        alpha=0.05,
        seed=7,
        predict=predict,
    )


def run(case: Case, *checks: dict[str, object]) -> tuple[CheckResult, ...]:
    return run_checks(parse_gate("g", {"checks": list(checks)}), case)


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "f1", "brier", "log_loss", "recall"])
@pytest.mark.parametrize("options", [{}, {"cluster": "customer"}, {"block": 10}], ids=["rows", "cluster", "block"])
def test_an_equal_model_is_not_inferior_by_a_wide_margin(metric: str, options: dict[str, object]) -> None:
    (result,) = run(case(), {"metric": metric, "compare": "non_inferior", "margin": 0.1, **options})
    assert result.outcome == "pass", result
    assert result.low is not None and result.high is not None and result.value is not None
    assert -0.1 < result.low <= result.value <= result.high
    assert result.threshold == -0.1


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "brier", "log_loss"])
def test_a_model_that_guesses_fails_and_is_outdone(metric: str) -> None:
    one = case(3000)
    score = np.random.default_rng(3).uniform(0.01, 0.99, one.n)
    guess = replace(one, answers=Answers(score, (score > 0.5).astype(np.float64)))
    (result,) = run(guess, {"metric": metric, "compare": "non_inferior", "margin": 0.01})
    assert result.outcome == "fail"
    turned = replace(guess, answers=one.answers, baseline=guess.answers)
    (result,) = run(turned, {"metric": metric, "compare": "superior"})
    assert result.outcome == "pass"


def test_an_equal_model_is_not_called_superior() -> None:
    (result,) = run(case(), {"metric": "accuracy", "compare": "superior"})
    assert result.outcome == "undecided"


def test_a_relative_margin_is_a_share_of_the_champions_value() -> None:
    (result,) = run(case(), {"metric": "brier", "compare": "non_inferior", "margin": "10%"})
    assert result.outcome == "pass"
    assert (result.threshold, "as a share of the champion's" in result.note) == (-0.1, True)
    one = case()
    assert one.baseline is not None
    losses = [float(((each.score - one.truth) ** 2).mean()) for each in (one.answers, one.baseline)]
    assert result.value == pytest.approx((losses[1] - losses[0]) / losses[1])
    (area,) = run(case(), {"metric": "roc_auc", "compare": "non_inferior", "margin": "10%"})
    assert area.outcome == "pass"


def test_comparisons_are_skipped_without_a_champion() -> None:
    alone = replace(case(), champion=None, baseline=None)
    results = run(alone, {"metric": "roc_auc", "compare": "superior"}, {"signature": "backward_compatible"})
    assert [result.outcome for result in results] == ["skipped", "skipped"]
    assert (
        reason_for("pass", results)
        == "all checks passed (0 of 2, the others were skipped: no champion to compare with)"
    )


def test_a_metric_of_the_other_task_is_an_error_and_not_an_exception() -> None:
    (result,) = run(case(), {"metric": "rmse", "ceiling": 3.0})
    assert result.outcome == "error"
    assert "rmse does not fit a model of classification" in result.note


@pytest.mark.parametrize(
    "check",
    [
        {"metric": "roc_auc", "floor": 0.6},
        {"metric": "accuracy", "floor": 0.6},
        {"metric": "recall", "floor": 0.5},
        {"metric": "f1", "floor": 0.5},
        {"metric": "brier", "ceiling": 0.25},
        {"metric": "recall", "floor": 0.5, "cluster": "customer"},
        {"calibration": "ece", "max": 0.2},
        {"fairness": "tpr", "group": "region", "max_gap": 0.3},
        {"fairness": "accuracy", "group": "region", "max_gap": 0.2},
        {"size_mb": 6},
        {"signature": "backward_compatible"},
        {"leakage": True},
        {"latency_p95_ms": 1000, "requests": 60},
    ],
    ids=lambda check: "-".join(map(str, check)),
)
def test_a_good_model_passes(check: dict[str, object]) -> None:
    (result,) = run(case(), check)
    assert result.outcome == "pass", result


@pytest.mark.parametrize(
    "check",
    [
        {"metric": "roc_auc", "floor": 0.95},
        {"metric": "accuracy", "floor": 0.95},
        {"metric": "f1", "floor": 0.95},
        {"metric": "brier", "ceiling": 0.1},
        {"size_mb": 4},
    ],
    ids=lambda check: "-".join(map(str, check)),
)
def test_a_model_that_misses_the_line_fails(check: dict[str, object]) -> None:
    (result,) = run(case(), check)
    assert result.outcome == "fail", result


def test_a_floor_too_near_says_how_many_rows_would_decide() -> None:
    one = case(400)
    accuracy = float((one.answers.decision == one.truth).mean())
    (result,) = run(one, {"metric": "accuracy", "floor": round(accuracy - 0.01, 3)})
    assert result.outcome == "undecided"
    assert result.rows_needed is not None and result.rows_needed > 400
    assert f"about {result.rows_needed} would decide" in reason_for("undecided", [result])


def test_a_cluster_may_be_text_and_may_be_missing() -> None:
    one = case(400)
    names = pl.Series([None if i % 7 == 0 else f"customer {i // 4}" for i in range(400)])
    named = replace(one, frame=one.frame.with_columns(customer=names))
    (result,) = run(named, {"metric": "brier", "compare": "non_inferior", "margin": 0.2, "cluster": "customer"})
    assert (result.outcome, result.method) == ("pass", "paired bootstrap by customer")


def test_a_bad_slice_fails_the_check_and_a_small_one_is_not_tested() -> None:
    one = case(2000)
    south = (one.frame["region"] == "south").to_numpy()
    turned = Answers(one.answers.score, np.where(south, 1 - one.answers.decision, one.answers.decision))
    (result,) = run(replace(one, answers=turned), {"metric": "accuracy", "floor": 0.4, "slices": ["region"]})
    assert result.outcome == "fail"
    assert [(piece.name, piece.state) for piece in result.slices] == [("region=north", "ok"), ("region=south", "bad")]
    assert "region=south" in result.note
    (small,) = run(one, {"metric": "accuracy", "floor": 0.4, "slices": ["region"], "min_rows": 600})
    assert [piece.state for piece in small.slices] == ["ok", "small"]
    assert small.outcome == "pass"


def test_a_column_that_is_not_there_is_named() -> None:
    (result,) = run(case(), {"metric": "accuracy", "floor": 0.4, "slices": ["regoin"]})
    assert result.outcome == "error"
    assert 'did you mean "region"?' in result.note


def test_a_new_input_breaks_the_callers_of_the_champion() -> None:
    wider = replace(case(), candidate=version(2, inputs=(*INPUTS, Field("wind", "float64"))))
    (result,) = run(wider, {"signature": "backward_compatible"})
    assert result.outcome == "fail"
    assert "wind" in result.note


def test_golden_requests_find_a_server_that_answers_otherwise() -> None:
    def probe(shift: float) -> Callable[[pl.DataFrame], Mapping[str, list[float]]]:
        return lambda rows: {"probability": [0.25 + shift] * rows.height, "label": [0.0] * rows.height}

    check: dict[str, object] = {"golden": 20, "tolerance": 1e-6}
    assert run(replace(case(), probe=probe(0.0)), check)[0].outcome == "pass"
    (skewed,) = run(replace(case(), probe=probe(1e-3)), check)
    assert skewed.outcome == "fail"
    assert skewed.note == "largest difference 0.001 in probability"
    (silent,) = run(replace(case(), probe=lambda rows: {"label": [0.0] * rows.height}), check)
    assert silent.note == "the server does not answer 'probability'"
    (short,) = run(replace(case(), probe=lambda rows: {"probability": [0.25], "label": [0.0]}), check)
    assert short.outcome == "fail"
    assert run(case(), check)[0].outcome == "error"


def test_leakage_finds_the_label_among_the_inputs() -> None:
    one = case()
    inputs = (*INPUTS, Field("late", "int64"), Field("code", "string"))
    told = one.frame.with_columns(code=pl.when(pl.col("late") == 1).then(pl.lit("L")).otherwise(pl.lit("P")))
    (result,) = run(replace(one, candidate=version(2, inputs=inputs), frame=told), {"leakage": True})
    assert result.outcome == "fail"
    assert result.note == "the label 'late' is an input; the input 'code' says the label"


def test_leakage_finds_an_input_that_alone_says_nearly_everything() -> None:
    one = case(2000)
    generator = np.random.default_rng(4)
    after = one.truth * 5 + generator.normal(0, 0.5, one.n)
    code = np.where(generator.uniform(size=one.n) < 0.998, np.where(one.truth == 1, "LATE", "OK"), "NA")
    told = replace(
        one,
        candidate=version(2, inputs=(Field("after", "float64"), Field("code", "string"), *INPUTS)),
        frame=one.frame.with_columns(after=after, code=pl.Series(code)),
    )
    (result,) = run(told, {"leakage": True, "max_single": 0.99})
    assert result.outcome == "fail"
    assert result.note == "the input 'after' alone reaches 1.000; the input 'code' alone reaches 1.000"
    (generous,) = run(told, {"leakage": True, "max_single": 1.0})
    assert generous.outcome == "pass"
    (asking,) = run(told, {"leakage": True})
    assert asking.outcome == "pass"
    assert "the input 'after' alone reaches 1.000: is it known when the prediction is made?" in asking.note


def test_many_groups_of_few_rows_do_not_say_the_label() -> None:
    one = case(400)
    named = replace(one, candidate=version(2, inputs=(Field("customer", "string"),)))
    named = replace(named, frame=one.frame.with_columns(customer=pl.Series([str(i // 2) for i in range(400)])))
    (result,) = run(named, {"leakage": True})
    assert result.outcome == "pass"


@pytest.mark.parametrize("bound", ["upper", "lower"])
def test_fairness_over_several_groups_and_measures_asks_for_proof_of_one_side(bound: str) -> None:
    one = case(600)
    sexes = replace(one, frame=one.frame.with_columns(sex=pl.Series(["f", "m", "m"] * 200)))
    check = {"fairness": ["tpr", "fpr", "selection_rate", "calibration"], "group": ["region", "sex"], "max_gap": 0.06}
    (result,) = run(sexes, {**check, "bound": bound})
    assert result.outcome == ("undecided" if bound == "upper" else "pass"), result
    assert len(result.slices) == 16
    assert result.slices[0].name == "tpr over region: north"


def test_a_group_that_is_shown_to_be_treated_otherwise_fails_either_way() -> None:
    one = case(3000)
    south = (one.frame["region"] == "south").to_numpy()
    answers = Answers(one.answers.score, np.where(south, 1.0, one.answers.decision))
    for bound in ("upper", "lower"):
        check = {"fairness": "selection_rate", "group": "region", "max_gap": 0.1, "bound": bound, "cluster": "customer"}
        (result,) = run(replace(one, answers=answers), check)
        assert result.outcome == "fail", result


def test_a_check_that_breaks_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("mainspring.gates.rules.calibration.bins_of", broken)
    results = run(case(), {"calibration": "ece", "max": 0.1}, {"size_mb": 6})
    assert [result.outcome for result in results] == ["error", "pass"]
    assert results[0].note == "the check broke: ZeroDivisionError: by zero"


def test_leakage_finds_training_rows_in_the_evaluation() -> None:
    one = case()
    seen = replace(one, training=lambda: one.frame.head(100))
    (result,) = run(seen, {"leakage": True})
    assert (result.outcome, result.note) == ("fail", "100 of 1000 evaluation rows are training rows")
    assert run(seen, {"leakage": True, "max_shared": 0.1})[0].outcome == "pass"
    (early,) = run(seen, {"leakage": True, "max_shared": 1.0, "time": "customer"})
    assert early.outcome == "fail"
    assert "earlier than the last training row" in early.note


def test_holm_counts_over_the_checks_of_a_gate() -> None:
    one = case()
    check: dict[str, object] = {"metric": "accuracy", "compare": "non_inferior", "margin": 0.02}
    alone, pair = run(one, check)[0], run(one, check, check)[0]
    assert alone.p is not None and pair.p is not None
    assert pair.p == pytest.approx(min(1.0, 2 * alone.p))


def test_the_same_case_gives_the_same_results() -> None:
    checks: list[dict[str, object]] = [{"metric": "f1", "floor": 0.5}, {"calibration": "ece", "max": 0.1}]
    assert run(case(), *checks) == run(case(), *checks)


LABELS: list[tuple[list[object], str]] = [
    ([0, 1, 0], "3 rows are too few"),
    ([None, 0, *[0, 1] * 20], "1 of 42 rows have no label"),
    ([float("nan"), 0.0, *[0.0, 1.0] * 20], "1 of 42 rows have no label"),
    ([1] * 40, "all 40 rows have the label 1"),
    ([0, 1, 2] * 20, "the label 2 is no class of the model"),
    (["yes", "no"] * 20, "the label 'yes' is no class of the model"),
]


@pytest.mark.parametrize(("labels", "what"), LABELS, ids=[what for _, what in LABELS])
def test_labels_that_cannot_be_judged_are_refused_in_words(labels: list[object], what: str) -> None:
    frame = pl.DataFrame({"late": labels}, strict=False)
    with pytest.raises(Invalid) as caught:
        truth_of(frame, "late", version())
    assert what in caught.value.what


def test_labels_are_read_by_the_classes_of_the_model() -> None:
    named = replace(version(), classes=("on time", "late"))
    frame = pl.DataFrame({"y": ["late", "on time"] * 20})
    assert truth_of(frame, "y", named).tolist() == [1.0, 0.0] * 20
    booleans = pl.DataFrame({"y": [True, False] * 20})
    assert truth_of(booleans, "y", version()).tolist() == [1.0, 0.0] * 20
    said = {"probability": np.full(40, 0.4), "label": np.array(["late", "on time"] * 20)}
    assert answers_of(said, named, 40).decision.tolist() == [1.0, 0.0] * 20


def many(n: int = 900, *, shift: float = 0.0) -> Case:
    """A candidate and a champion over three classes; the champion is `shift` less sure of the true one."""
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, n).astype(np.float64)
    sure = generator.uniform(0.2, 0.95, n)
    decided = np.where(sure > 0.4, truth, (truth + 1) % 3)
    baseline = Answers(np.clip(sure - shift, 0.01, 1), np.where(sure - shift > 0.4, truth, (truth + 1) % 3))
    frame = pl.DataFrame({"distance": sure, "region": ["north"] * n, "late": truth.astype(np.int64)})
    answers = Answers(sure, decided)
    return replace(
        case(n), task="multiclass", truth=truth, frame=frame, answers=answers, baseline=baseline, label="late"
    )


def test_the_truth_of_many_classes_is_the_place_of_the_class() -> None:
    three = replace(version(task="multiclass"), classes=("a", "b", "c"))
    frame = pl.DataFrame({"y": ["c", "a", "b"] * 20})
    assert truth_of(frame, "y", three).tolist() == [2.0, 0.0, 1.0] * 20
    with pytest.raises(Invalid, match="'d' is no class"):
        truth_of(pl.DataFrame({"y": ["d", "a", "b"] * 20}), "y", three)
    with pytest.raises(Invalid, match="all 60 rows"):
        truth_of(pl.DataFrame({"y": ["a"] * 60}), "y", three)


def test_the_score_of_many_classes_is_the_probability_of_the_true_one() -> None:
    three = replace(version(task="multiclass"), classes=("a", "b", "c"))
    scores = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]] * 20)
    truth = np.array([1.0, 0.0] * 20)
    answers = answers_of({"probability": scores, "label": np.array(["c", "a"] * 20)}, three, 40, truth)
    assert answers.score.tolist() == [0.2, 0.5] * 20
    assert answers.decision.tolist() == [2.0, 0.0] * 20
    with pytest.raises(Invalid, match="the shape"):
        answers_of({"probability": scores[:, 0]}, three, 40, truth)


def test_floors_and_ceilings_hold_for_many_classes_by_numbers_worked_by_hand() -> None:
    one = many()
    accuracy, loss = run(one, {"metric": "accuracy", "floor": 0.5}, {"metric": "log_loss", "ceiling": 1.2})
    assert (accuracy.outcome, loss.outcome) == ("pass", "pass")
    assert accuracy.value == pytest.approx(float(np.mean(one.answers.decision == one.truth)))
    assert loss.value == pytest.approx(float(-np.log(one.answers.score).mean()))


def test_of_many_classes_the_class_decided_on_has_to_be_as_likely_as_it_says() -> None:
    one = many(4000)
    right = (one.answers.decision == one.truth).astype(np.float64)
    honest = replace(one, answers=replace(one.answers, confidence=np.full(one.n, right.mean())))
    boasting = replace(one, answers=replace(one.answers, confidence=np.full(one.n, 0.999)))
    outcomes = [run(each, {"calibration": "ece", "max": 0.1})[0].outcome for each in (honest, boasting, one)]
    assert outcomes == ["pass", "fail", "error"]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1", "log_loss"])
def test_many_classes_are_compared_on_the_same_rows(metric: str) -> None:
    better = many(shift=0.15)
    (result,) = run(better, {"metric": metric, "compare": "superior"})
    assert result.outcome == "pass"
    assert better.baseline is not None
    turned = replace(better, answers=better.baseline, baseline=better.answers)
    (result,) = run(turned, {"metric": metric, "compare": "non_inferior", "margin": 0.01})
    assert result.outcome == "fail"


@pytest.mark.parametrize(
    "check",
    [
        {"metric": "roc_auc", "floor": 0.5},
        {"metric": "brier", "ceiling": 0.5},
        {"metric": "recall", "compare": "non_inferior", "margin": 0.1},
        {"fairness": "tpr", "group": "region", "max_gap": 0.1},
    ],
)
def test_what_means_nothing_for_many_classes_is_an_error_and_no_verdict(check: dict[str, object]) -> None:
    (result,) = run(many(), check)
    assert result.outcome == "error"
    assert "two classes" in result.note or "multiclass" in result.note


def test_a_label_that_is_no_number_is_refused_for_regression() -> None:
    with pytest.raises(Invalid, match="not a number"):
        truth_of(pl.DataFrame({"y": ["a", "b"] * 20}), "y", version(task="regression"))
    with pytest.raises(Invalid, match="infinite"):
        truth_of(pl.DataFrame({"y": [float("inf"), 1.0] * 20}), "y", version(task="regression"))


def test_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(Invalid, match="1 of 2 answers are not finite"):
        answers_of({"probability": np.array([0.5, np.nan])}, version(), 2)
    with pytest.raises(Invalid, match="gives no 'probability'"):
        answers_of({"prediction": np.array([0.5])}, version(), 1)
    with pytest.raises(Invalid, match="2 rows were asked"):
        answers_of({"probability": np.array([0.5])}, version(), 2)


def test_a_label_column_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid) as caught:
        check_label(pl.DataFrame({"late": [1]}), "lete")
    assert caught.value.hint == 'did you mean "late"?'
