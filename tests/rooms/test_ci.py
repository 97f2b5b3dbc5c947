"""Continuous integration: what passes, what is refused and what fails, told to people and to machines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner, Result

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.loop.ci.model import Case, Report, spec_of
from mainspring.loop.ci.reporting import MARKER, junit, markdown
from mainspring.loop.ci_commands import group
from mainspring.server.house import open_house

PIPELINE = """
import polars as pl
from sklearn.linear_model import LogisticRegression
import mainspring as ms

@ms.step(cache=False)
def train(strength: float) -> dict[str, object]:
    if strength < 0:
        raise ValueError("no such strength")
    rooms = ms.context()
    rows = rooms.data.frame("people").collect()
    known, held = rows.head(200), rows.tail(rows.height - 200)
    evaluation = rooms.data.ingest("held-out", held).ref
    model = LogisticRegression(C=strength).fit(known.select("age").to_numpy(), known["left"].to_numpy())
    made = rooms.registry.register("churn", model, example=known.select("age").head(5))
    return {"model": "churn", "version": made.number, "evaluation": evaluation, "label": "left"}

@ms.pipeline
def learn(strength: float = 1.0) -> dict[str, object]:
    return train(strength)

@ms.step
def four() -> int:
    return 4

@ms.pipeline
def useless() -> int:
    return four()
"""
FILE = """
[gate.promote]
checks = [{ metric = "roc_auc", floor = 0.6 }]
[ci]
pipeline = "learn.py:learn"
gate = "promote"
params = { strength = 1.0 }
[[ci.data]]
name = "people"
file = "people.csv"
checks = [{ column = "age", kind = "in_range", low = 0, high = 120 }]
"""


@pytest.fixture
def house(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(sqlite_template, tmp_path / ".mainspring" / sqlite_template.name)
    (tmp_path / "learn.py").write_text(PIPELINE)
    rows = [f"{20 + i % 60},{int((i * 37) % 101 < 20 + i % 60)}" for i in range(400)]
    (tmp_path / "people.csv").write_text("\n".join(["age,left", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    yield from opened(FILE)


def opened(file: str) -> Iterator[Wiring]:
    Path("mainspring.toml").write_text(file)
    made = open_house(load())
    yield made
    made.close()


def ci(house: Wiring, *args: str) -> Result:
    return CliRunner().invoke(group, args, obj=lambda: house)


def again(before: str, after: str) -> Result:
    """In a house whose file says something else."""
    assert before in FILE
    for house in opened(FILE.replace(before, after)):
        return ci(house, "--junit", "ci.xml", "--json")
    raise AssertionError


def told(found: Result) -> tuple[int, str, str]:
    said = json.loads(found.stdout)
    return found.exit_code, said["outcome"], said["reason"]


def cases() -> list[tuple[str, str, list[str]]]:
    suites = ElementTree.parse("ci.xml").getroot()
    return [
        (str(suite.get("name")), str(case.get("name")), [part.tag for part in case])
        for suite in suites
        for case in suite
    ]


def test_a_change_that_is_good_passes_and_one_that_the_gate_refuses_ends_with_4(house: Wiring) -> None:
    found = ci(house, "--markdown", "ci.md", "--junit", "ci.xml")
    assert found.exit_code == 0, found.output
    said = Path("ci.md").read_text()
    assert said.startswith(f"{MARKER}\n# ✅ Mainspring: passed")
    assert "datasets/people/1: 400 rows, 0 of 400 in quarantine" in said
    assert [(suite, tags) for suite, _, tags in cases()] == [("data", []), ("pipeline", []), ("gate", [])]
    code, outcome, reason = told(again("floor = 0.6", "floor = 0.99"))
    assert (code, outcome) == (4, "refused")
    assert reason.startswith("gate promote said fail")
    assert cases()[-1][2] == ["failure"]


def test_bad_data_and_a_pipeline_that_fails_end_with_1_and_go_no_further(house: Wiring) -> None:
    code, outcome, reason = told(again("high = 120", "high = 50"))
    assert (code, outcome) == (1, "failed")
    assert "in quarantine; at most 0.0% may be" in reason
    assert [(suite, tags) for suite, _, tags in cases()] == [("data", ["failure"])]
    assert told(again("people.csv", "nobody.csv"))[:2] == (1, "failed")
    code, _, reason = told(again("strength = 1.0", "strength = -1.0"))
    assert (code, "no such strength" in reason) == (1, True)
    assert ("pipeline", "train", ["failure"]) in cases()
    useless = 'pipeline = "learn.py:learn"\ngate = "promote"\nparams = { strength = 1.0 }'
    code, _, reason = told(again(useless, 'pipeline = "learn.py:useless"\ngate = "promote"'))
    assert (code, reason) == (1, "pipeline: it did not return model, version, evaluation, label, which the gate needs")


def test_what_is_said_wrong_is_refused_before_anything_runs(house: Wiring) -> None:
    for before, after, kind in (
        ('gate = "promote"\nparams', 'gate = "promoted"\nparams', NotFound),
        ("strength = 1.0", "strenght = 1.0", Invalid),
        ("learn.py:learn", "learn.py:lern", Invalid),
        ('file = "people.csv"', 'file = "people.csv"\nmost_quarantined = 2.0', Invalid),
        ('gate = "promote"\nparams', "params", Invalid),
    ):
        assert isinstance(again(before, after).exception, kind), after
    assert not Path("ci.xml").exists()


def test_the_one_policy_says_what_ci_does_not() -> None:
    policy = {"keep": {"pipeline": "p.py:f", "gate": "good", "params": {"n": 1}, "model": "m"}}
    assert (spec_of({}, policy).pipeline, spec_of({"gate": "better"}, policy).gate) == ("p.py:f", "better")
    with pytest.raises(Invalid, match="which pipeline"):
        spec_of({}, {**policy, "other": policy["keep"]})


def test_reports_hold_what_would_break_them() -> None:
    odd = "a|b <script> \x00 ]]> \ud800\nsecond"
    found = Report("failed", odd, (Case("data", odd, "failed", odd), Case("pipeline", "x", "skipped")), 1.0)
    case = next(ElementTree.fromstring(junit(found).encode("utf-8")).iter("failure"))
    assert case.text is not None
    assert "<script>" in case.text
    assert "a\\|b &lt;script>" in markdown(found)


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_templates_are_written_once_and_comment_on_the_change(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (CliRunner().invoke(group, ["init", f"--{kind}"]) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert second.exit_code != 0
    (file,) = tmp_path.rglob("*.yml")
    found = yaml.safe_load(file.read_text())
    if kind == "github":
        job = found["jobs"]["ci"]
        assert (found["permissions"], job["permissions"]) == ({}, {"contents": "read", "pull-requests": "write"})
        assert {key for step in job["steps"] for key in step} <= {"name", "run", "env", "if"}  # no foreign actions
    else:
        assert found["mainspring"]["artifacts"]["reports"] == {"junit": "ci.xml"}
    assert "mainspring" in file.read_text()
    assert "ci --markdown ci.md --junit ci.xml" in file.read_text()
