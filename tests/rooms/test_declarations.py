"""What Python declares is what `mainspring.toml` would declare: the same checks, the same plan, and its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mainspring as ms
from mainspring.cli.root import root
from mainspring.core.errors import Failed, Invalid, MainspringError, NotFound
from mainspring.core.settings import load
from mainspring.gates import Gates, GateSpec
from mainspring.loop.model import Policy
from mainspring.loop.planning import python, reading
from mainspring.loop.planning.service import Planner
from mainspring.loop.triggers.model import Trigger
from mainspring.server.house import open_house
from mainspring.serving import Options
from mainspring.serving.modelserver.plan import options_of, rules_of

TOML = """
[project]
name = "default"
declarations = "declared.py"
"""
PYTHON = """
import mainspring as ms

print("what a file prints is not its answer")
ms.Gate("promote", checks=[{"metric": "roc_auc", "floor": 0.6}])
ms.Policy("keep", deployment="churn", model="churn", pipeline="jobs.py:train", gate="promote")
for hour in (3, 15):
    ms.Trigger(f"at-{hour}", on="cron", cron=f"0 {hour} * * *", policy="keep")
ms.Deployment("churn", model="churn", options={"log_share": 0.5})
"""
PIPELINE = """
import mainspring as ms

@ms.step
def double(n: int) -> int:
    return 2 * n

@ms.pipeline
def train(n: int = 1) -> int:
    return double(n)
"""


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(sqlite_template, tmp_path / ".mainspring" / sqlite_template.name)
    (tmp_path / "mainspring.toml").write_text(TOML)
    (tmp_path / "declared.py").write_text(PYTHON)
    (tmp_path / "jobs.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said() -> Iterator[list[python.Declared]]:
    """What a test declares in this very process."""
    before = len(python.made)
    found: list[python.Declared] = []
    yield found
    found.extend(python.made[before:])
    del python.made[before:]


def answering(monkeypatch: pytest.MonkeyPatch, *objects: tuple[str, str, dict[str, Any], int]) -> None:
    """Let the file say this, with no process started for it."""
    answer = reading._Answer(tuple(reading._Said(k, n, s, f"{Path.cwd()}/declared.py", at) for k, n, s, at in objects))
    monkeypatch.setattr(reading, "_ask", lambda settings: answer)


def test_what_python_declares_is_planned_with_its_lines_and_counts_before_and_after_an_apply(folder: Path) -> None:
    house = open_house(load(folder))
    assert house.get(Gates).spec("promote").checks[0].options["floor"] == 0.6
    plan = house.get(Planner).plan()
    assert [(each.sign, each.kind, each.name, each.place) for each in plan.changes] == [
        ("+", "gate", "promote", "declared.py, line 5"),
        ("?", "deployment", "churn", "declared.py, line 9"),
        ("+", "policy", "keep", "declared.py, line 6"),
        ("+", "trigger", "at-15", "declared.py, line 8"),
        ("+", "trigger", "at-3", "declared.py, line 8"),
    ]
    house.get(Planner).apply(plan)
    assert house.get(Planner).plan().work() == []
    (folder / "declared.py").write_text(PYTHON.replace("0.6", "0.75"))
    os.utime(folder / "declared.py", ns=(1, 1))  # a file system whose times are coarse would hide the change
    changed = house.get(Planner).plan().changes[0]
    assert (changed.sign, changed.name, changed.place) == ("~", "promote", "declared.py, line 5")
    house.close()
    told = CliRunner().invoke(root, ["doctor", "--json"]).output
    assert f"{folder}/mainspring.toml and declared.py" in told


@pytest.mark.parametrize(
    ("line", "kind", "what", "where"),
    [
        ("ms.Policy('p', deployment='d', model='m', pipeline='j.py:f', gate='g', on=['drift'])", Invalid,
         "drift alone never retrains", "declared.py, line 1 (policy.p.on)"),
        ("raise SystemExit(3)", Invalid, "ended the program", "declared.py"),
        ("import os; os._exit(3)", Failed, "ended its process", "declared.py"),
        ("1 / 0", Invalid, "ZeroDivisionError", "declared.py, line 1"),
        ("import nothing_of_that_name", NotFound, "no module named", "declared.py"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_the_line(
    folder: Path, line: str, kind: type[MainspringError], what: str, where: str
) -> None:
    (folder / "declared.py").write_text(line if "ms." not in line else f"import mainspring as ms; {line}")
    with pytest.raises(kind) as error:
        reading.read_declared(load(folder))
    assert what in error.value.what
    assert where in error.value.where


def test_what_is_declared_twice_is_refused_with_both_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = {"checks": [{"metric": "roc_auc", "floor": 0.6}]}
    answering(monkeypatch, ("gate", "g", gate, 3), ("gate", "g", gate, 7))
    with pytest.raises(Invalid, match=r"gate g is declared twice\nwhere: declared.py, line 3 and declared.py, line 7"):
        reading.read_declared(load(folder))
    (folder / "mainspring.toml").write_text(f"{TOML}[gate.g]\nchecks = []\n[monitor]\nbudget = 2.0\n")
    answering(monkeypatch, ("gate", "g", gate, 3))
    with pytest.raises(Invalid, match=r"gate g is declared twice\nwhere: mainspring.toml, line 5 and declared.py"):
        reading.read_declared(load(folder))
    answering(monkeypatch, ("monitor", "all", {"budget": 1.0}, 3))
    with pytest.raises(Invalid, match=r"monitor is declared twice\nwhere: mainspring.toml, line 7 and declared.py"):
        reading.read_declared(load(folder))


def test_what_one_file_names_may_be_declared_in_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = '[policy.keep]\ndeployment = "d"\nmodel = "d"\npipeline = "jobs.py:train"\ngate = "promote"\n'
    (folder / "mainspring.toml").write_text(TOML + policy)
    answering(monkeypatch, ("gate", "promote", {"checks": [{"metric": "roc_auc", "floor": 0.6}]}, 3))
    with closing(open_house(load(folder))) as house:
        assert [each.name for each in house.get(Planner).plan().changes] == ["promote", "keep"]
        answering(monkeypatch)
        with pytest.raises(
            Invalid, match=r"there is no gate 'promote'\nwhere: mainspring.toml, line 5 .policy.keep.ga"
        ):
            house.get(Planner).plan()


def test_sections_of_the_file_are_refused_with_their_line(folder: Path) -> None:
    (folder / "mainspring.toml").write_text('[gate."a.b"]\nchecks = []\n')
    with pytest.raises(Invalid, match=r"where: mainspring.toml, line 1 \(gate.a.b\)"):
        open_house(load(folder))


def test_an_option_of_a_deployment_out_of_its_range_says_of_which_one() -> None:
    with pytest.raises(Invalid, match="a log of 7 of all requests") as told:
        options_of({"log_share": 7}, "deployment.churn")
    assert told.value.where == "deployment.churn"


def test_objects_of_python_have_the_settings_of_the_file(said: list[python.Declared]) -> None:
    assert [entry.name for entry in fields(ms.Gate)] == [entry.name for entry in fields(GateSpec)]
    for written, read in ((ms.Policy, Policy), (ms.Trigger, Trigger)):
        assert [each.default for each in fields(written)] == [each.default for each in fields(read)]
    needed = [entry.name for entry in fields(ms.Monitor) if entry.default is entry.default_factory is MISSING]
    assert needed == []
    options = Options(log_share=0.5, rules=rules_of([{"name": "sure", "when": "missing", "then": "refuse"}], "r"))
    ms.Deployment("churn", options=options)
    made = python.made[-1]
    assert Path(made.file).name == "test_declarations.py"
    assert options_of(made.section, "deployment.churn") == options


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ms.Trigger("t", on="cron", cron="0 0 31 2 *", pipeline="a.py:b"), "never"),
        (lambda: ms.Trigger("t", on="hand", pipeline="a.py:b", params={"x": object()}), "can't be written down"),
        (lambda: ms.Gate("g", checks=[{"metric": "roc_auk", "floor": 0.7}]), "roc_auk"),
        (lambda: ms.Gate("g", alpha="0.05", checks=[]), "is not a number"),  # type: ignore[arg-type] # what is refused
        (lambda: ms.Monitor(budget=-1.0), "budget"),
        (lambda: ms.Deployment("d", options={"log_sh": 1}), "unknown setting 'log_sh'"),
        (lambda: ms.Deployment("no name", model="m"), "name"),
        (lambda: ms.Deployment("d", options=3), "is no options"),
    ],
)
def test_what_the_file_would_refuse_is_refused_in_python(make: Any, what: str, said: list[python.Declared]) -> None:
    with pytest.raises(Invalid, match=what):
        make()
