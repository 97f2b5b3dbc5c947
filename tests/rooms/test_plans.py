"""Plans: what is declared, what lives, and one apply at a time that makes the one the other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression
from sqlalchemy import Connection

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Conflict, Corrupt, Fenced, Invalid, MainspringError, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.gates import Gates
from mainspring.loop import Loop
from mainspring.loop.plan_commands import apply as apply_command
from mainspring.loop.plan_commands import plan as plan_command
from mainspring.loop.planning import Plan
from mainspring.loop.planning.model import Applied
from mainspring.loop.planning.service import Planner
from mainspring.loop.records import plans as records
from mainspring.loop.triggers.service import Triggers
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.server.house.floor import tables
from mainspring.serving import Serving
from mainspring.serving.modelserver.plan import Options

ROWS = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "visits": [1.0, 5.0, 2.0, 9.0]})
PIPELINE = """
import mainspring as ms

@ms.step
def double(n: int) -> int:
    return 2 * n

@ms.pipeline
def train(n: int = 1) -> int:
    return double(n)
"""
FILE = """
[gate.promote]
checks = [{ metric = "roc_auc", floor = 0.6 }]
[policy.keep]
deployment = "churn"
model = "churn"
pipeline = "jobs.py:train"
gate = "promote"
[deployment.churn]
model = "churn"
version = 1
log_share = 0.5
[trigger.nightly]
on = "cron"
cron = "0 3 * * *"
policy = "keep"
"""


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path) -> Path:
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(sqlite_template, tmp_path / ".mainspring" / sqlite_template.name)
    (tmp_path / "jobs.py").write_text(PIPELINE)
    (tmp_path / "mainspring.toml").write_text(FILE)
    return tmp_path


@pytest.fixture
def house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    monkeypatch.chdir(folder)
    made = open_house(load(folder))
    yield made
    made.close()


@pytest.fixture
def planner(house: Wiring) -> Planner:
    return house.get(Planner)


def register(house: Wiring, number: int = 1) -> None:
    model = LogisticRegression().fit(ROWS.to_numpy(), [1, 1, 0, 0] if number == 1 else [1, 0, 1, 0])
    house.get(Registry).register("churn", model, example=ROWS)


def write(folder: Path, before: str, after: str) -> None:
    file = folder / "mainspring.toml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def names(plan: Plan) -> list[str]:
    return [f"{each.sign}{each.kind} {each.name}" for each in plan.changes]


def test_what_is_declared_lives_after_an_apply_and_a_second_one_does_nothing(house: Wiring, planner: Planner) -> None:
    assert names(planner.plan()) == ["+gate promote", "?deployment churn", "+policy keep", "+trigger nightly"]
    register(house)
    made = planner.apply(planner.plan())
    assert [each.kind for each in made.changes] == ["gate", "deployment", "policy", "trigger"]
    live = house.get(Serving).get("churn")
    assert (live.champion, live.options.log_share) == (1, 0.5)
    assert [each.name for each in house.get(Triggers).triggers()] == ["nightly"]
    again = planner.plan()
    assert (again.changes, again.drifts, planner.apply(again).changes) == ((), (), ())
    assert [event.subject for event in planner.applied()][::-1] == [
        "gates/promote",
        "deployments/churn",
        "policies/keep",
        "triggers/nightly",
    ]


def test_what_was_changed_by_hand_is_told_and_changed_back(house: Wiring, planner: Planner) -> None:
    register(house)
    planner.apply(planner.plan())
    with calling(Caller("ada", "default")):
        house.get(Serving).configure("churn", Options(log_share=1.0))
        house.get(Triggers).pause("nightly", reason="holidays")
        house.get(Loop).switch("keep", enabled=False, reason="a bad feeling")
    plan = planner.plan()
    assert names(plan) == ["~deployment churn"]
    told = {(each.kind, each.what, each.by, each.is_undone) for each in plan.drifts}
    assert told == {
        ("deployment", "log_share 0.5 -> not said", "ada", True),
        ("trigger", "paused: holidays", "ada", False),
        ("policy", "switched off: a bad feeling", "ada", False),
    }
    planner.apply(plan)
    assert house.get(Serving).get("churn").options.log_share == 0.5
    assert house.get(Triggers).get("nightly").is_paused


def test_a_running_server_and_a_new_one_go_by_what_was_applied(house: Wiring, planner: Planner, folder: Path) -> None:
    planner.apply(planner.plan())
    write(folder, "floor = 0.6", "floor = 0.9")
    other = open_house(load(folder))
    assert other.get(Gates).spec("promote").checks[0].options["floor"] == 0.6  # it is declared, and not applied
    planner.apply(planner.plan())
    assert house.get(Gates).spec("promote").checks[0].options["floor"] == 0.9
    assert other.get(Planner).follow()
    assert other.get(Gates).spec("promote").checks[0].options["floor"] == 0.9
    other.close()


def test_what_the_file_does_not_say_any_more_goes_only_when_that_is_said(
    house: Wiring, planner: Planner, folder: Path
) -> None:
    planner.apply(planner.plan())
    write(folder, FILE[FILE.index("[trigger") :], "")
    plan = planner.plan()
    assert [each.action for each in plan.changes if each.kind == "trigger"] == ["keep"]
    assert planner.apply(plan).changes == ()
    assert len(house.get(Triggers).triggers()) == 1
    assert [each.action for each in planner.apply(planner.plan(), prune=True).changes] == ["delete"]
    assert house.get(Triggers).triggers() == []


def test_a_plan_is_refused_once_something_moved(house: Wiring, planner: Planner) -> None:
    register(house)
    kept = Plan.from_json(json.loads(json.dumps(planner.plan().to_json())), "plan.json")
    assert Plan.from_json(kept.to_json(), "") == kept
    planner.apply(planner.plan())
    with pytest.raises(Conflict, match=r"something moved since .* gate promote by owner"):
        planner.apply(kept)
    later = planner.plan()
    house.get(Serving).configure("churn", Options(log_share=0.1))
    fresh = Plan(later.project, later.serial, later.state, later.made_at, kept.changes, ())
    with pytest.raises(Conflict, match="deployment churn"):
        planner.apply(fresh)


def test_of_two_applies_at_once_one_wins_and_the_other_is_told(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, check, told = planner.plan(), planner._check_unmoved, []

    def look(found: Plan) -> None:
        with pytest.raises(Conflict, match=r"owner is applying since") as refused:
            planner.apply(found)
        told.append(refused.value.hint)
        monkeypatch.setattr(planner, "_check_unmoved", check)

    monkeypatch.setattr(planner, "_check_unmoved", look)
    assert len(planner.apply(plan).changes) == 3
    assert told == ["wait until it is done, then plan again"]


def test_of_many_applies_of_one_plan_exactly_one_does_it(planner: Planner) -> None:
    plan, starts = planner.plan(), Barrier(4)

    def apply(_: int) -> int | str:
        starts.wait()
        try:
            return len(planner.apply(plan).changes)
        except Conflict as refused:
            return refused.code

    with ThreadPoolExecutor(4) as pool:
        came = list(pool.map(apply, range(4)))
    assert sorted(map(str, came)) == ["3", "conflict", "conflict", "conflict"]
    assert len(planner.applied()) == 3


def test_an_apply_that_stood_still_too_long_changes_nothing_more(
    house: Wiring, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, make = planner.plan(), planner._make

    def stand_still(*given: object) -> None:
        make(*given)  # type: ignore[arg-type]
        with tables(house).write() as conn:
            conn.exec_driver_sql("UPDATE plan_state SET holder = 'another'")

    monkeypatch.setattr(planner, "_make", stand_still)
    with pytest.raises(Fenced, match="another apply began"):
        planner.apply(plan)
    assert [each.subject for each in planner.applied()] == ["gates/promote"]


def test_an_apply_that_fails_in_the_middle_keeps_what_is_whole_and_goes_on_next_time(
    house: Wiring, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(house)

    def refuse(*_: object, **__: object) -> None:
        raise Invalid("no room")

    with monkeypatch.context() as patched:
        patched.setattr(house.get(Serving), "deploy", refuse)
        with pytest.raises(Invalid, match=r"no room\nwhere: deployment.churn\ntry: 1 of 4 are done"):
            planner.apply(planner.plan())
    assert [each.kind for each in planner.apply(planner.plan()).changes] == ["deployment", "policy", "trigger"]


@pytest.mark.parametrize(
    ("before", "after", "what", "where"),
    [
        ("0 3 * * *", "0 25 * * *", "'25' is no hour", "trigger.nightly.cron"),
        ('cron = "0 3 * * *"', 'cron = "@daily"\nzone = "Mars/Base"', "no time zone", "trigger.nightly.zone"),
        ('policy = "keep"', 'policy = "kept"', "no policy 'kept'", "trigger.nightly.policy"),
        ('policy = "keep"', 'pipeline = "job.py:train"', "no file job.py", "trigger.nightly.pipeline"),
        ('policy = "keep"', 'pipeline = "jobs.py:trian"', "no pipeline 'trian'", "trigger.nightly.pipeline"),
        ('pipeline = "jobs.py:train"', 'pipeline = "jobs.py:nothing"', "no pipeline", "policy.keep.pipeline"),
        ('gate = "promote"', 'gate = "promoted"', "no gate 'promoted'", "policy.keep.gate"),
        ("log_share = 0.5", "log_share = 5", "a log of 5", "deployment.churn"),
        ("version = 1", "version = true", "model and version", "deployment.churn"),
    ],
)
def test_what_is_declared_wrong_is_refused_before_anything_is_applied(
    planner: Planner, folder: Path, before: str, after: str, what: str, where: str
) -> None:
    write(folder, before, after)
    with pytest.raises((Invalid, NotFound), match=what) as told:
        planner.plan()
    assert re.fullmatch(rf"mainspring.toml, line \d+ \({where}\)", told.value.where)
    assert told.value.hint


@pytest.mark.parametrize("change", ["new", "options"])
def test_a_deployment_changes_with_the_note_of_it_or_not_at_all(
    house: Wiring, planner: Planner, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    register(house)
    if change == "options":
        planner.apply(planner.plan())
        write(folder, "log_share = 0.5", "log_share = 0.25")

    def dies(conn: Connection, gone: Applied) -> None:
        noted(conn, gone)
        if gone.object.kind == "deployment":
            raise KeyboardInterrupt  # as a kill would: no handler of errors sees it

    noted = records.put_applied
    with monkeypatch.context() as patched:
        patched.setattr(records, "put_applied", dies)
        with pytest.raises(KeyboardInterrupt):
            planner.apply(planner.plan())
    assert [each.options.log_share for each in house.get(Serving).deployments()] == {"new": [], "options": [0.5]}[
        change
    ]
    left = [each for each in names(planner.plan()) if "deployment" in each]
    assert left == [{"new": "+", "options": "~"}[change] + "deployment churn"]
    planner.apply(planner.plan())
    assert house.get(Serving).get("churn").options.log_share == {"new": 0.5, "options": 0.25}[change]
    assert planner.plan().work() == []


def test_a_plan_that_somebody_changed_is_no_plan(planner: Planner) -> None:
    said = planner.plan().to_json()
    with pytest.raises(Corrupt, match="changed after it was made"):
        Plan.from_json({**said, "serial": 7}, "plan.json")
    others: list[object] = [[], {}, {**said, "format": "x"}]
    for wrong in others:
        with pytest.raises(Invalid, match="no plan of this release"):
            Plan.from_json(wrong, "plan.json")


def test_commands_page_and_api_show_the_same_plan(house: Wiring, folder: Path) -> None:
    def run(command: object, *args: str) -> tuple[int, str]:
        found = CliRunner().invoke(command, args, obj=lambda: house)  # type: ignore[arg-type]
        if isinstance(found.exception, MainspringError):
            return 1, str(found.exception)
        return found.exit_code, found.output

    code, said = run(plan_command, "--check", "--out", "plan.json")
    assert (code, said.splitlines()[-1]) == (4, "3 to create, 0 to change, 0 to take away")
    with TestClient(create_app(house), base_url="http://127.0.0.1:7600") as client:
        found = client.get("/api/v1/plan").json()
        assert [each["kind"] for each in found["changes"]] == ["gate", "deployment", "policy", "trigger"]
        page = client.get("/plan", headers={"accept": "text/html"})
        assert "3 to create" in page.text
        code, said = run(apply_command, "plan.json", "--json")
        assert (code, len(json.loads(said)["changes"])) == (0, 3)
        assert "Newest applies" in client.get("/plan", headers={"accept": "text/html"}).text
        write(folder, "0 3 * * *", "0 25 * * *")
        assert "is no hour" in client.get("/plan", headers={"accept": "text/html"}).text
        assert client.get("/api/v1/plan").status_code == 400
    assert run(apply_command, "plan.json")[0] == 1
    (folder / "plan.json").write_text("[" * 100_000)
    assert "no JSON" in run(apply_command, "plan.json")[1]
