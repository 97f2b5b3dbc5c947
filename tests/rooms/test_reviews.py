"""Predictions that wait for a person, through the room and all of its doors; the model server runs in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression
from tests.unit.serving.doors import Doors, doors

from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Serving, commands, records
from mainspring.serving.model import Review
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import SPOOLS, Options, read_plan
from mainspring.serving.modelserver.traffic import Table, build
from mainspring.serving.review_commands import group
from mainspring.serving.rules.decision import RolloutSpec
from mainspring.serving.rules.humility import Rule
from mainspring.storage.ports import Journal, Tables

RULES = """
[[rules]]
name = "far"
when = "out_of_range"
column = "hour"
then = "queue"

[[rules]]
name = "strange"
when = "unseen"
then = "override"
value = 0.0
"""
EVENT = {"content-type": "application/cloudevents+json"}
TRAINED = pl.DataFrame({"hour": [1, 9, 20, 23], "carrier": ["UA", "AA", "UA", "AA"], "late": [0, 0, 1, 1]})


@dataclass
class Site:
    house: Wiring
    http: TestClient[Litestar]
    asked: Doors
    folder: Path

    @property
    def serving(self) -> Serving:
        return self.house.get(Serving)

    def run(self, *arguments: str, command: str = "") -> str:
        done = CliRunner().invoke(
            getattr(commands, command) if command else group,
            list(arguments),
            obj=lambda: self.house,
            catch_exceptions=False,
        )
        assert done.exit_code == 0, done.output
        return done.output

    def follow(self) -> None:
        """Serve what the plan says, and log into its spool."""

        def declare(deployment: str, model: LoadedModel) -> None:
            columns = list(zip(model.features.names, model.features.kinds, strict=True))
            self.asked.spool.declare(deployment, model.version, columns)

        self.asked.app.served.table = build(read_plan(self.serving.folder), Table(), declare)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("house")
    house = open_house(load(folder, environ={}))
    reference = house.get(Data).ingest("hours", TRAINED).ref
    fitted = LogisticRegression().fit(np.array([[1.0, 0], [9, 1], [20, 0], [23, 1]]), [0, 0, 1, 1])
    inputs = TRAINED.drop("late")
    house.get(Registry).register(
        "late", fitted, example=inputs, encoding={"carrier": ["UA", "AA"]}, reference=reference
    )
    app = create_app(house, rooms=("serving", "loop"))
    with (
        TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as http,
        doors(house.get(Serving).folder / SPOOLS) as asked,
    ):
        made = Site(house, http, asked, folder)
        (folder / "rules.toml").write_text(RULES)
        made.run("late", "--version", "1", "--rules", str(folder / "rules.toml"), command="deploy")
        made.follow()
        yield made
    house.close()


def ask(site: Site, request_id: str, hour: int, carrier: str = "AA") -> None:
    body = {"id": request_id, "data": {"instances": [{"hour": hour, "carrier": carrier}]}}
    answer = site.asked.ask(
        "POST", "/v1/models/late:predict", body, headers={"content-type": "application/cloudevents+json"}
    )
    assert answer.status == 200, answer.body


def test_a_queued_prediction_is_answered_and_waits_until_somebody_decides(site: Site) -> None:
    ask(site, "noon", 12)
    ask(site, "night", 99)
    ask(site, "foreign", 12, "ZZ")
    (waiting,) = site.http.get("/api/v1/reviews").json()
    assert (waiting["prediction_id"], waiting["marks"], waiting["state"]) == ("night", ["far:queue"], "open")
    logged = {name: site.serving.prediction(name) for name in ("noon", "night", "foreign")}
    assert [logged[name].marks for name in logged] == [(), ("far:queue",), ("strange:override",)]
    assert (logged["foreign"].probability, logged["foreign"].label_out) == (0.0, "0")
    assert site.serving.open_reviews() == {"late": 1}
    assert "1 prediction waits for a person" in site.http.get("/deployments").text
    assert "night" in site.run("ls")

    page = site.http.get(f"/reviews/{waiting['id']}").text
    assert "hour out of range: queue" in page
    assert "<dd>99" in page
    done = site.http.post(
        f"/reviews/{waiting['id']}", data={"value": "0", "note": "no such hour"}, follow_redirects=False
    )
    assert (done.status_code, done.headers["location"]) == (303, "/reviews")
    found = site.http.get(f"/api/v1/reviews/{waiting['id']}").json()
    assert (found["state"], found["decision"], found["note"]) == ("decided", 0.0, "no such hour")
    assert [(f.kind, f.value) for f in site.serving.prediction("night").feedback] == [("decision", 0.0)]
    assert "no such hour" in site.run("show", waiting["id"])
    assert "no such hour" in site.http.get(f"/reviews/{waiting['id']}").text
    assert site.run("ls", "--state", "open").strip() == "nothing waits for a person"
    assert json.loads(site.run("ls", "--state", "all", "--json"))[0]["id"] == waiting["id"]
    kinds = [event.kind for event in site.house.get(Journal).read(subject=f"reviews/{waiting['id']}")]  # type: ignore[type-abstract]
    assert kinds == ["serving.review_decided"]


def test_a_decision_stands_and_is_taken_once(site: Site) -> None:
    ask(site, "late", 77)
    waiting = site.serving.reviews("late")[0]
    first = site.serving.decide(waiting.id, 1)
    assert site.serving.decide(waiting.id, 1) == first
    with pytest.raises(Conflict, match="decided"):
        site.serving.decide(waiting.id, 0)
    answer = site.http.post(f"/api/v1/reviews/{waiting.id}/decide", json={"value": 0})
    assert answer.status_code == 409
    assert site.http.post("/api/v1/reviews/none/decide", json={"value": 0}).status_code == 404
    with pytest.raises(NotFound):
        site.serving.reviews("later")


def test_rows_that_are_read_again_after_a_kill_wait_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(site, "twice", 88)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    delta = site.serving._delta
    with monkeypatch.context() as patched:
        patched.setattr(delta, "append", die)
        with pytest.raises(KeyboardInterrupt):
            site.serving.compact()
    assert site.serving.open_reviews() == {"late": 1}
    site.serving.compact()
    assert [review.prediction_id for review in site.serving.reviews("late")] == ["twice"]
    site.serving.decide(site.serving.reviews("late")[0].id, 1)


def test_a_full_queue_takes_no_more_until_somebody_decides(site: Site) -> None:
    options = site.serving.get("late").options
    site.serving.deploy("late", "late", 1, options=replace(options, max_open_reviews=2))
    for name in ("one", "two", "three"):
        ask(site, name, 99)
    assert {review.prediction_id for review in site.serving.reviews("late")} == {"one", "two"}
    assert site.serving.full_queues() == {"late": 2}
    assert "is full: 2 wait" in site.http.get("/reviews").text
    assert site.serving.prediction("three").marks == ("far:queue",)
    said = [event.kind for event in site.house.get(Journal).read(subject="deployments/late")]  # type: ignore[type-abstract]
    assert said.count("serving.reviews_full") == 1
    for review in site.serving.reviews("late"):
        site.serving.decide(review.id, 1)
    ask(site, "four", 99)
    assert [review.prediction_id for review in site.serving.reviews("late")] == ["four"]
    assert site.serving.full_queues() == {}
    site.serving.decide(site.serving.reviews("late")[0].id, 1)
    site.serving.deploy("late", "late", 1, options=options)


def test_only_a_rule_that_the_endpoint_has_can_be_a_bad_event(site: Site) -> None:
    version = site.house.get(Registry).get("late", 1).number
    with pytest.raises(Invalid, match="no rule 'fat'") as refused:
        site.serving.start_rollout("late", version, spec=RolloutSpec(bad_rules=("fat",)))
    assert "far" in refused.value.hint


def test_rules_that_do_not_fit_are_refused_at_deploy_and_at_rollout(site: Site) -> None:
    wrong = Options(rules=(Rule("r", "out_of_range", "refuse", column="hours"),))
    with pytest.raises(Invalid, match="no input 'hours'"):
        site.serving.deploy("other", "late", 1, options=wrong)
    request = {"model": "late", "version": 1, "options": {"rules": [{"name": "r", "when": "mising", "then": "refuse"}]}}
    answer = site.http.post("/api/v1/deployments/late", json=request)
    assert answer.status_code == 400
    other = LogisticRegression().fit(np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 0, 1, 1])
    version = site.house.get(Registry).register("late", other, example=pl.DataFrame({"minute": [1, 2]})).number
    with pytest.raises(Invalid, match="no input 'hour'"):
        site.serving.start_rollout("late", version)


def test_settings_declare_rules_and_a_deploy_takes_them(tmp_path: Path) -> None:
    rules = RULES.replace("[[rules]]", "[[deployment.late.rules]]")
    (tmp_path / "mainspring.toml").write_text(rules.replace('column = "hour"', 'column = "hour"\nhigh = 24'))
    house = open_house(load(tmp_path, environ={}))
    try:
        assert [rule.name for rule in house.get(Serving).options("late").rules] == ["far", "strange"]
        assert house.get(Serving).options("other") == Options()
    finally:
        house.close()
    (tmp_path / "mainspring.toml").write_text(rules.replace("queue", "quue"))
    with pytest.raises(Invalid, match="quue"):
        open_house(load(tmp_path, environ={}))


def test_a_prediction_is_put_before_people_once_on_every_database(tables: Tables) -> None:
    first, again = (Review(new_id(), "late", "p", 1, ("far:queue",), 0.5, 7) for _ in range(2))
    with tables.write() as conn:
        records.add_reviews(conn, [first])
        records.add_reviews(conn, [again])
        decided = replace(first, state="decided", decision="late", decided_by="ada", decided_at=8)
        assert records.list_reviews(conn, deployment="", state="open", before="", limit=9) == [first]
        assert records.count_reviews(conn, state="open") == {"late": 1}
        records.change_review(conn, decided)
        assert records.find_review(conn, first.id, lock=True) == decided
