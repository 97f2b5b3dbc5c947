"""Robustness and behaviour tests: models that are shown rows which were changed on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core.errors import Failed, Invalid
from mainspring.gates import CheckResult, parse_gate
from mainspring.gates.behaviour import read_behaviour
from mainspring.gates.case import Answers, Case
from mainspring.gates.judging import run_checks
from mainspring.gates.rules.changes import changed, disturbed, misspelt
from mainspring.gates.rules.disturbance import Disturbance
from mainspring.registry import Field, ModelVersion, Signature
from mainspring.registry.model import Example

INPUTS = (Field("wind", "float64"), Field("region", "string", ("north", "south")))
OUTPUTS = (Field("probability", "float64"), Field("label", "int64"))
ROWS = pl.DataFrame({"wind": [1.0, 2.0, None], "count": [1, 2, 3], "region": ["north", "south", None]})


def version() -> ModelVersion:
    return ModelVersion(
        model="late",
        number=2,
        digest="2" * 64,
        signature=Signature(INPUTS, OUTPUTS),
        flavour="sklearn",
        task="binary",
        classes=(0, 1),
        example=Example({}),
        run_id="",
        datasets=(),
        reference="",
        metrics={},
        size_bytes=1,
        environment={},
        signed_by="",
        created_at=0,
    )


def stormy(rows: pl.DataFrame) -> Mapping[str, NDArray[np.generic]]:
    """More wind is later; a missing wind says nothing; the region does not matter, unless it is misspelt."""
    wind = rows["wind"].fill_null(0).to_numpy()
    strange = (~rows["region"].is_in(["north", "south"])).fill_null(True).to_numpy()
    score = 1 / (1 + np.exp(-(3 * wind + 1.5 * strange)))
    return {"probability": score, "label": (score > 0.5).astype(np.int64)}


def case(folder: Path | None = None, n: int = 1500) -> Case:
    generator = np.random.default_rng(3)
    frame = pl.DataFrame({"wind": generator.normal(0, 1, n), "region": np.where(np.arange(n) % 2, "north", "south")})
    said = stormy(frame)
    score = said["probability"].astype(np.float64)
    truth = (generator.uniform(0, 1, n) < score).astype(np.float64)
    return Case(
        candidate=version(),
        champion=None,
        frame=frame.with_columns(late=truth.astype(np.int64)),
        label="late",
        task="classification",
        truth=truth,
        answers=Answers(score, said["label"].astype(np.float64)),
        baseline=None,
        alpha=0.05,
        seed=7,
        predict=stormy,
        folder=folder,
    )


def run(one: Case, check: dict[str, object]) -> CheckResult:
    (result,) = run_checks(parse_gate("g", {"checks": [check]}), one)
    return result


def behaves(tmp_path: Path, text: str) -> CheckResult:
    (tmp_path / "behaviour.toml").write_text(text)
    return run(case(tmp_path), {"behaviour": "behaviour.toml"})


# robustness


@pytest.mark.parametrize(
    ("robustness", "max_drop", "outcome"),
    [
        ("missing:0.05", 0.1, "pass"),
        ("missing:0.6", 0.02, "fail"),
        ("noise:0.05", 0.02, "pass"),
        ("noise:3", 0.02, "fail"),
        ("scale:1.1", 0.02, "pass"),
        (["noise:0.05", "typo:0.02"], "10%", "pass"),
        (["noise:0.05", "noise:3"], 0.02, "fail"),
    ],
)
def test_a_drop_is_shown_to_be_within_the_limit_or_above_it(robustness: object, max_drop: object, outcome: str) -> None:
    found = run(case(), {"robustness": robustness, "max_drop": max_drop})
    assert found.outcome == outcome, found
    assert found.low is not None and found.value is not None and found.high is not None
    assert found.low <= found.value <= found.high
    assert len(found.slices) == (2 if isinstance(robustness, list) else 0)


def test_a_model_that_does_not_answer_disturbed_rows_fails() -> None:
    def strict(rows: pl.DataFrame) -> Mapping[str, NDArray[np.generic]]:
        if rows["wind"].null_count():
            raise Failed("wind is missing")
        return stormy(rows)

    found = run(replace(case(), predict=strict), {"robustness": "missing:0.1", "max_drop": 0.02})
    assert (found.outcome, found.note) == (
        "fail",
        "missing:0.1: the model does not answer such rows: wind is missing",
    )


@pytest.mark.parametrize(
    ("check", "note"),
    [
        ({"robustness": "typo:0.1", "max_drop": 0.1, "columns": ["wind"]}, "needs inputs of text"),
        ({"robustness": "noise:0.1", "max_drop": 0.1, "columns": ["wnd"]}, 'did you mean "wind"'),
    ],
)
def test_what_cannot_be_disturbed_is_an_error_in_words(check: dict[str, object], note: str) -> None:
    found = run(case(), check)
    assert found.outcome == "error"
    assert note in found.note


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("mising:0.1", "unknown disturbance"),
        ("missing", "says no amount"),
        ("missing:2", "out of range"),
        ("scale:0", "out of range"),
        ("noise:nan", "out of range"),
    ],
)
def test_a_disturbance_that_is_none_is_refused(text: str, what: str) -> None:
    with pytest.raises(Invalid, match=what):
        Disturbance.of(text)


@given(kind=st.sampled_from(["missing", "noise", "scale", "typo"]), amount=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_disturbed_rows_keep_their_columns_types_and_number(kind: str, amount: float, seed: int) -> None:
    by = Disturbance(kind, amount)
    found = disturbed(ROWS, by, ROWS.columns, seed=seed)
    assert (found.schema, found.height) == (ROWS.schema, ROWS.height)
    assert found.equals(disturbed(ROWS, by, ROWS.columns, seed=seed))


@given(st.text())
def test_a_misspelt_text_is_another_text(text: str) -> None:
    (found,) = misspelt(pl.Series([text])).to_list()
    assert found != text or not text


# behaviour

GOOD = """
[[minimum]]
name = "a storm is late"
rows = [{wind = 4.0, region = "north"}, {wind = 3, region = "south"}]
label = 1

[[minimum]]
name = "calm is not"
rows = [{wind = -4.0}]
between = [0.0, 0.2]

[[invariance]]
name = "the region does not matter"
change = {region = "south"}
tolerance = 0.001

[[direction]]
name = "more wind, later"
change = {wind = {add = 1}}
expect = "up"
max_failures = 0.05
"""


def test_a_model_that_behaves_passes_with_every_test_shown(tmp_path: Path) -> None:
    found = behaves(tmp_path, GOOD)
    assert found.outcome == "pass", found
    assert [(part.name, part.state) for part in found.slices] == [
        ("minimum: a storm is late", "ok"),
        ("minimum: calm is not", "ok"),
        ("invariance: the region does not matter", "ok"),
        ("direction: more wind, later", "ok"),
    ]
    assert found.p is not None
    assert "4 tests of behaviour.toml" in found.note


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        ('[[minimum]]\nname = "a"\nrows = [{wind = 4.0}]\nlabel = 0', "minimum: a", "row 1 of 1"),
        ('[[invariance]]\nname = "b"\nchange = {wind = {add = 2}}', "invariance: b", "of 500 does not"),
        ('[[invariance]]\nname = "b"\nchange = {region = {text = "typo"}}\nmax_failures = 0.01', "invariance: b", ""),
        ('[[direction]]\nname = "c"\nexpect = "down"\nchange = {wind = {times = 0.5}}', "direction: c", ""),
    ],
)
def test_a_test_that_is_not_met_fails_the_check_and_is_named(tmp_path: Path, text: str, name: str, note: str) -> None:
    found = behaves(tmp_path, text)
    assert found.outcome == "fail"
    assert [(part.name, part.state) for part in found.slices] == [(name, "bad")]
    assert note in found.slices[0].note


def test_few_rows_leave_a_test_with_an_allowance_undecided(tmp_path: Path) -> None:
    text = '[[invariance]]\nname = "b"\nchange = {region = "south"}\nmax_failures = 0.01\nrows = 50'
    found = behaves(tmp_path, text)
    assert found.outcome == "undecided"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("not toml", "no TOML"),
        ("", "holds 0 tests"),
        ('[[minimm]]\nname = "a"', "unknown kind of test 'minimm'"),
        ('[[minimum]]\nname = "a"\nrows = []\nlabel = 1', "no rows"),
        ('[[minimum]]\nname = "a"\nrows = [{wind = 1}]', "a label or between"),
        ('[[invariance]]\nname = "a"\nchange = {wind = {ad = 1}}', "not one of the known"),
        ('[[invariance]]\nname = "a"\nchange = {wind = {add = "much"}}', "cannot be changed by 'much'"),
        ('[[invariance]]\nname = "a"\ncolour = 1', "unknown option 'colour'"),
        ('[[direction]]\nname = "a"\nchange = {wind = 1}\nexpect = "left"', "expect"),
        ('[[minimum]]\nname = "a"\nrows = [{x = 1}]\nlabel = 1\n' * 2, "two tests are called 'a'"),
    ],
)
def test_a_file_that_is_not_written_as_it_should_be_is_refused(text: str, what: str) -> None:
    with pytest.raises(Invalid, match=what):
        read_behaviour(text, where="behaviour.toml")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('[[minimum]]\nname = "a"\nrows = [{wnd = 1}]\nlabel = 1', "no input 'wnd'"),
        ('[[minimum]]\nname = "a"\nrows = [{wind = 1}]\nlabel = 7', "7 is no class"),
        ('[[invariance]]\nname = "a"\nchange = {wnd = 1}', "no column 'wnd'"),
        ('[[invariance]]\nname = "a"\nchange = {wind = "much"}', "'much' is no Float64"),
        ('[[invariance]]\nname = "a"\nchange = {region = {add = 1}}', "region is String, not a number"),
    ],
)
def test_a_test_that_does_not_fit_the_model_is_an_error(tmp_path: Path, text: str, note: str) -> None:
    found = behaves(tmp_path, text)
    assert found.outcome == "error"
    assert note in found.note


def test_a_file_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text(GOOD)
    (tmp_path / "project").mkdir()
    for name, note in (("../outside.toml", "lies outside"), ("absent.toml", "is no file")):
        found = run(case(tmp_path / "project"), {"behaviour": name})
        assert found.outcome == "error"
        assert note in found.note


def test_changes_keep_the_type_of_a_column() -> None:
    found = changed(ROWS, {"count": {"times": 1.5}, "region": {"text": "upper"}, "wind": {"missing": True}})
    assert found.schema == ROWS.schema
    assert found["count"].to_list() == [2, 3, 4]
    assert found["region"].to_list() == ["NORTH", "SOUTH", None]
    assert found["wind"].null_count() == 3
