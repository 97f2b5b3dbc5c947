"""The doors of serving: HTTP, pages and commands, on one data folder with a real model server."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.errors import Invalid, Refused
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.registry.model import Example, Field, ModelVersion, Signature
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import (
    Client,
    Deployment,
    Serving,
    Supervisor,
    Traffic,
    commands,
    log_commands,
    replay_commands,
    rollout_commands,
    shadow_commands,
    traffic_commands,
)
from mainspring.serving.modelserver.watching import Change, note_change
from mainspring.serving.page.asking import MAX_FIELDS, example_row, form_of, row_of
from mainspring.serving.process_commands import idle, workers
from mainspring.serving.supervisor import ServerOptions
from mainspring.storage.ports import Journal

FRAME = pl.DataFrame({"hour": [1, 9, 20, 23], "carrier": ["UA", "AA", "UA", "AA"]})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    reference = made.get(Data).ingest("hours", FRAME).ref
    for _ in range(2):
        fitted = LogisticRegression().fit(np.array([[1.0, 0], [9, 1], [20, 0], [23, 1]]), [0, 0, 1, 1])
        levels = {"carrier": ["UA", "AA"]}
        made.get(Registry).register("late", fitted, example=FRAME, encoding=levels, reference=reference)
    yield made
    made.close()


@pytest.fixture(scope="module")
def http(house: Wiring) -> Iterator[TestClient[Litestar]]:
    app = create_app(house, rooms=("serving",))
    with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def server(house: Wiring) -> Iterator[Supervisor]:
    serving = house.get(Serving)
    supervisor = Supervisor(serving.folder, ServerOptions(drain_s=0.0), prepare=serving.write_plan)
    supervisor.start()
    yield supervisor
    supervisor.stop()


def run(house: Wiring, name: str, *arguments: str, text: str = "") -> str:
    homes = {
        "rollout": rollout_commands,
        "shadow": shadow_commands,
        "replay": replay_commands,
        "traffic": traffic_commands,
        "logs": log_commands,
    }
    command = getattr(homes.get(name, commands), name)
    done = CliRunner().invoke(command, list(arguments), obj=lambda: house, input=text, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_shares_and_routes_are_set_shown_and_ended_through_all_doors(house: Wiring, http: TestClient[Litestar]) -> None:
    house.get(Serving).deploy("dawn", "late", 1)
    assert "champion 1: 70%, v2 2: 30%" in run(house, "traffic", "set", "dawn", "1=0.7", "2=0.3")
    with pytest.raises(Invalid, match="no version with a share"):
        run(house, "traffic", "set", "dawn", "1:1")
    put = {"shares": {"1": 0.5, "2": 0.5}, "champion": 2, "reason": "half and half"}
    assert [
        arm["version"] for arm in http.put("/api/v1/deployments/dawn/traffic", json=put).json()["traffic"]["arms"]
    ] == [2, 1]
    assert http.put("/api/v1/deployments/dawn/traffic", json={"shares": {"1": 2}}).status_code == 400
    run(house, "traffic", "route", "dawn", "--header", "X-Beta", "--value", "yes", "--version", "1")
    made = http.post("/api/v1/deployments/dawn/routes", json={"header": "x-mainspring-version"}).json()
    assert [route["header"] for route in made["traffic"]["routes"]] == ["x-beta", "x-mainspring-version"]
    assert http.post("/api/v1/deployments/dawn/routes", json={"header": "cookie", "value": "a"}).status_code == 400
    assert "x-beta: yes to 1" in run(house, "traffic", "show", "dawn")
    assert "x-beta: yes to 1" in http.get("/deployments/dawn").text
    run(house, "traffic", "unroute", "dawn", "--header", "x-beta", "--value", "yes")
    left = http.delete("/api/v1/deployments/dawn/routes?header=x-mainspring-version").json()
    assert left["traffic"]["routes"] == []


def test_a_shadow_is_started_seen_and_ended_through_all_doors(
    house: Wiring, http: TestClient[Litestar], server: Supervisor
) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "dusk")
    assert "version 2 shadows dusk" in run(house, "shadow", "start", "dusk", "2", "--reason", "look")
    with Client(server.url) as client:
        said: list[dict[str, Any]] = []
        for number in range(600):  # its process is the last to get the processor, so it may take a while
            client.predict("dusk", {"hour": [9], "carrier": ["AA"]}, request_id=f"dusk-{number}")
            said = http.get("/api/v1/deployments/dusk/shadows").json()
            if number >= 4 and said[0]["comparisons"]:
                break
            time.sleep(0.2)
    (beside,) = said[0]["comparisons"]
    assert (beside["version"], beside["against"], beside["differing"], beside["failed"]) == (2, 1, 0.0, 0)
    shown = run(house, "shadow", "status", "dusk")
    assert shown.splitlines()[0].split()[:3] == ["version", "against", "share"]
    assert json.loads(run(house, "shadow", "status", "dusk", "--since", "2001-01-01", "--json"))[0]["version"] == 2
    page = http.get("/deployments/dusk").text
    assert "shadow: 2" in page
    assert "no labels" in page
    assert "shadow 2: 100%" in run(house, "rollout", "live", "dusk")
    assert 'mainspring_shadow_rows_total{deployment="dusk",version="2",fate="sent"}' in http.get("/metrics").text
    ended = http.delete("/api/v1/deployments/dusk/shadows/2?reason=seen").json()
    assert ended["traffic"]["shadows"] == []
    steered = http.post("/deployments/dusk/shadow", data={"verb": "start", "version": 2, "share": 0.5})
    assert steered.status_code == 200
    assert http.post("/api/v1/deployments/dusk/shadows", json={"version": 2, "share": 0}).status_code == 400
    assert http.post("/deployments/dusk/shadow", data={"verb": "stop", "version": 2}).status_code == 200
    with pytest.raises(Refused, match="is not shown to be less than"):
        run(house, "replay", "run", "dusk", "2", "--since", "2001-01-01", "--no-worse-than", "0.1")
    (done,) = json.loads(run(house, "replay", "ls", "dusk", "--json"))
    assert (done["state"], done["report"][0]["differing"]) == ("done", 0.0)
    assert "pairs" in run(house, "replay", "show", done["id"])
    begun = http.post("/api/v1/deployments/dusk/replays", json={"version": 2, "limit": 5}).json()
    assert http.post(f"/api/v1/replays/{begun['id']}/cancel").json()["state"] == "cancelled"
    assert "cancelled" in run(house, "replay", "cancel", begun["id"])
    assert http.get(f"/api/v1/replays/{begun['id']}").json()["rows"] == 5
    assert len(http.get("/api/v1/deployments/dusk/replays").json()) == 2
    assert "One row alone took" in http.get("/deployments/dusk").text
    assert http.post("/deployments/dusk/replay", data={"version": 9}).status_code == 404
    run(house, "shadow", "start", "dusk", "2", "--share", "0.5")
    assert "is no shadow of dusk any more" in run(house, "shadow", "stop", "dusk", "2")


def test_the_way_of_an_endpoint_through_all_doors(
    house: Wiring, http: TestClient[Litestar], server: Supervisor, tmp_path: Path
) -> None:
    assert "mainspring deploy" in http.get("/deployments", headers={"x-mainspring-project": "empty"}).text
    assert "deployments/late serves late 1" in run(house, "deploy", "late", "--version", "1")
    server.apply()
    row = json.dumps({"hour": 9, "carrier": "AA"})
    said = json.loads(run(house, "predict", "late", "--url", server.url, "--id", "one", "--json", text=row))
    assert (said["id"], said["version"], len(said["outputs"]["probability"])) == ("one", "1", 1)
    assert "two" in run(house, "predict", "late", "--url", server.url, "--id", "two", text=row)

    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,value\none,1\ntwo,0\n")
    assert "2 of 2" in run(house, "feedback", "late", str(file))
    again = {
        "deployment": "late",
        "items": [{"prediction_id": "one", "value": 1}, {"prediction_id": "three", "value": 0}],
    }
    assert http.post("/api/v1/feedback", json=again).json() == {"received": 2, "new": 1}
    assert [item["seq"] for item in http.get("/api/v1/deployments/late/feedback?after=1").json()] == [2, 3]
    found = http.get("/api/v1/predictions/one").json()
    assert (found["version"], found["inputs"], found["feedback"][0]["value"]) == (
        1,
        {"hour": 9.0, "carrier": "AA"},
        1.0,
    )
    assert http.get("/api/v1/predictions/nobody").status_code == 404

    made = http.post("/api/v1/deployments/late/rollouts", json={"version": 2, "share": 0.1}).json()
    assert http.get(f"/api/v1/rollouts/{made['id']}/decision").json()["action"] == "continue"
    for page in ("/deployments", "/deployments/late", f"/rollouts/{made['id']}"):
        answer = http.get(page)
        assert answer.status_code == 200, answer.text
        assert "late" in answer.text
    assert "curl http" in http.get("/deployments/late").text
    assert "running" in run(house, "rollout", "status", "late")
    assert "stays at 10%" in run(house, "rollout", "pause", "late", "--reason", "look first")
    assert 'name="verb" value="resume"' in http.get(f"/rollouts/{made['id']}").text
    assert http.post("/api/v1/deployments/late/resume", json={}).json()["state"] == "running"
    assert "version 2" in run(house, "rollout", "promote", "late", "--reason", "by hand")
    assert "version 1" in run(house, "rollout", "rollback", "late")
    assert "10%" in run(house, "rollout", "start", "late", "2", "--share", "0.1", "--then", "0.5")
    back = http.post("/api/v1/deployments/late/rollback", json={"reason": "enough"}).json()
    assert back["traffic"]["arms"][0]["version"] == 1
    assert len(http.get("/api/v1/deployments/late/history").json()) == 6
    assert "Rollouts before" in http.get("/deployments/late").text
    house.get(Serving).compact()
    shown = http.get("/deployments/late").text
    assert "Requests a minute" in shown
    assert "99th percentile of latency" in shown
    led = http.get("/deployments/late?prediction=one ", follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, "/predictions/one")
    house.get(Serving).tell_alarms(lambda: {"late": "alarm7"})
    server.apply()
    listed = http.get("/deployments").text
    assert "/alarms/alarm7" in listed
    assert "ready" in listed
    assert "late 1" in run(house, "rollout", "live", "late").replace("champion", "late")
    assert "live now" in run(house, "rollout", "live", "late", "--at", "2999-01-01")
    assert "not there yet" in run(house, "rollout", "live", "late", "--at", "1999-01-01")


def test_the_log_is_told_and_followed(house: Wiring, http: TestClient[Litestar], server: Supervisor) -> None:
    serving = house.get(Serving)
    serving.deploy("told", "late", 1)
    server.apply()
    assert "nothing here yet" in run(house, "logs", "told")
    assert http.get("/api/v1/deployments/told/predictions").json() == []
    with Client(server.url) as client:
        for number in range(3):
            client.predict("told", {"hour": [number], "carrier": ["UA"]}, request_id=f"told-{number}")
        client.predict("told", {"hour": [7], "carrier": ["AA"]}, request_id="other", version=1)
        lines = run(house, "logs", "told", "--limit", "3").splitlines()
        assert [line.split()[1] for line in lines] == ["told-1", "told-2", "other"]
        assert "v1 champion  probability 0." in lines[0]
        assert lines[0].endswith("hour=1.0, carrier=UA")
        assert json.loads(run(house, "logs", "told", "--version", "2", "--json")) == []
        assert json.loads(run(house, "logs", "told", "--failed", "--json")) == []
        newest = http.get("/api/v1/deployments/told/predictions?limit=2").json()
        assert [row["id"] for row in newest] == ["other", "told-2"]
        assert http.get("/api/v1/deployments/nowhere/predictions").status_code == 404
        assert http.get("/api/v1/deployments/told/predictions?limit=0").status_code == 400
        home = str(house.get(Settings).data_dir)
        command = [sys.executable, "-m", "mainspring", "--data", home, "logs", "told", "--follow", "--limit", "1"]
        with subprocess.Popen([*command, "--every", "0.1", "--json"], stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            try:
                assert json.loads(tail.stdout.readline())["id"] == "other"
                client.predict("told", {"hour": [8], "carrier": ["AA"]}, request_id="new")
                assert json.loads(tail.stdout.readline())["id"] == "new"
            finally:
                tail.terminate()


def test_a_rollout_is_steered_from_its_page(house: Wiring, http: TestClient[Litestar]) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "steered")
    run(house, "rollout", "start", "steered", "2", "--judge", "errors", "--promote-on", "errors", "--latency-ms", "5")
    place = "/deployments/steered/rollout"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("rollback", "rolled_back")):
        answer = http.post(place, data={"verb": verb, "reason": "from the page"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/steered")
        assert house.get(Serving).rollouts("steered")[0].state == state
    assert http.post(place, data={"verb": "promote"}, follow_redirects=False).status_code == 409
    assert http.post(place, data={"verb": "burn"}, follow_redirects=False).status_code == 400
    elsewhere = {"origin": "http://evil.example"}
    assert http.post(place, data={"verb": "pause"}, headers=elsewhere, follow_redirects=False).status_code == 403


def test_the_form_of_the_page_asks_the_endpoint_and_shows_the_request_to_copy(
    house: Wiring, http: TestClient[Litestar], server: Supervisor
) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "asked")
    server.apply()
    page = http.get("/deployments/asked").text
    assert 'name="in.hour" value="1"' in page
    assert '<option value="UA" selected>' in page
    assert "/v2/models/asked/docs" in page
    answered = http.post("/deployments/asked", data={"in.hour": "9", "in.carrier": "AA"})
    assert answered.status_code == 200, answered.text
    assert 'aria-label="Answer"' in answered.text
    assert "&#34;data&#34;: [9]" in answered.text
    for hour, words in (("nine", "input &#39;hour&#39; has a str"), ("", "missing")):
        refused = http.post("/deployments/asked", data={"in.hour": hour, "in.carrier": "AA"})
        assert (refused.status_code, words in refused.text) == (400, True), refused.text
    assert http.post("/deployments/asked", content=b"\xff").status_code == 400
    assert http.post("/deployments/asked", content=b"row=5").status_code == 400
    strange = http.post("/deployments/asked", content=b"row=%7B%7D", headers={"origin": "http://evil.example"})
    assert strange.status_code == 403
    asked = {"columns": {"hour": [9, 20], "carrier": ["AA", "UA"]}, "request_id": "api"}
    found = http.post("/api/v1/deployments/asked/predict", json=asked).json()
    assert (found["id"], found["version"], len(found["outputs"]["label"])) == ("api", "1", 2)
    bad = http.post("/api/v1/deployments/asked/predict", json={"columns": {"hour": [9]}})
    assert (bad.status_code, "carrier" in bad.json()["what"]) == (400, True)


def test_reason_codes_are_asked_for_at_every_door_and_kept_on_request(
    house: Wiring, http: TestClient[Litestar], server: Supervisor
) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "why")
    server.apply()
    row = json.dumps({"hour": 9, "carrier": "AA"})
    told = run(house, "predict", "why", row, "--url", server.url, "--explain")
    assert "  hour\n" in told
    assert "base (log-odds)" in told
    said = json.loads(run(house, "predict", "why", row, "--url", server.url, "--keep-reasons", "--id", "w", "--json"))
    codes = said["reasons"][0]
    total = codes["base"] + sum(codes["contributions"].values())
    assert 1 / (1 + np.exp(-total)) == pytest.approx(said["outputs"]["probability"][0])
    kept = http.get("/api/v1/predictions/w").json()
    assert kept["reasons"] == pytest.approx(codes["contributions"])
    assert kept["reasons_base"] == pytest.approx(codes["base"])
    assert list(kept["reasons"]) == sorted(kept["reasons"], key=lambda name: -abs(kept["reasons"][name]))
    shown = http.post("/deployments/why", data={"in.hour": "9", "in.carrier": "AA", "explain": "keep"}).text
    assert 'aria-label="Reason codes"' in shown
    asked = {"columns": {"hour": [9], "carrier": ["AA"]}, "explain": True}
    assert http.post("/api/v1/deployments/why/predict", json=asked).json()["reasons"] == [codes]


def test_a_model_of_many_columns_is_asked_with_one_field() -> None:
    fields = tuple(Field(f"x{i}", "float64") for i in range(MAX_FIELDS + 1))
    version = version_of(fields)
    form = form_of("http://h", Deployment("d", "d", "m", Traffic.only(1), 0, 0), version, example_row(version))
    assert (form.entries, '"x0": null' in form.whole) == ([], True)
    assert row_of({"row": '{"x0": 1.5}'}, version) == {"x0": 1.5}
    for text in ("[]", "{", '{"x0": [1]}'):
        with pytest.raises(Invalid, match=r"row|value"):
            row_of({"row": text}, version)


def test_what_is_copied_survives_quotes_and_line_breaks_in_the_values() -> None:
    version = version_of((Field("name", "string"),))
    nasty = {"name": "it's \n $(touch x) `y` \\ \""}
    form = form_of("http://h", Deployment("d", "d", "m", Traffic.only(1), 0, 0), version, nasty)
    body = json.loads(shlex.split(form.curl)[-1])
    assert body["inputs"][0]["data"] == [nasty["name"]]
    compile(form.python, "copied", "exec")


def version_of(fields: tuple[Field, ...]) -> ModelVersion:
    about = {"flavour": "", "task": "regression", "classes": (), "example": Example({}), "run_id": "", "datasets": ()}
    more = {"reference": "", "metrics": {}, "size_bytes": 0, "environment": {}, "signed_by": "", "created_at": 0}
    return ModelVersion("m", 1, "", Signature(fields), **about, **more)  # type: ignore[arg-type]  # what counts is said


def test_a_deployment_that_is_not_there_is_404_on_every_door(http: TestClient[Litestar]) -> None:
    for place in ("/api/v1/deployments/no", "/deployments/no", "/api/v1/rollouts/no", "/rollouts/no"):
        assert http.get(place).status_code == 404


def test_a_version_made_with_other_packages_is_served_with_a_warning_everywhere(
    house: Wiring, http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.serving.environments._present", lambda names: dict.fromkeys(names, "0.1"))
    said = run(house, "deploy", "late", "--version", "1", "--name", "stale")
    assert "warning: version 1: it was made with scikit-learn" in said
    answer = http.get("/api/v1/deployments/stale/packages")
    assert answer.status_code == 200, answer.text
    why = answer.json()["1"]
    assert why.endswith("here is 0.1")
    assert why in http.get("/deployments/stale").text
    run(house, "deploy", "late", "--version", "1", "--name", "stale")
    journal = house.get(Journal)  # type: ignore[type-abstract]
    told = journal.read(subject="deployments/stale", kinds=["serving.packages_differed"])
    assert [event.payload for event in told] == [{"version": 1, "why": why}], "said once"


def test_options_are_given_one_by_one_and_taken_back(house: Wiring, http: TestClient[Litestar]) -> None:
    def told(*options: str) -> dict[str, object]:
        run(house, "deploy", "late", "--version", "1", "--name", "quiet", *options)
        found = http.get("/api/v1/deployments/quiet").json()["options"]
        assert isinstance(found, dict)
        return found

    first = told("--deadline-ms", "900", "--redact", "carrier", "--redact", "hour")
    usual: dict[str, object] = {"on_log_failure": "refuse", "rules": [], "interval": None, "log_share": 1.0} | {
        "idle_s": 0,
        "cold_ms": 10_000,
        "max_open_reviews": 1_000,
        "process": "server",
        "threads": 0,
        "cores": [],
        "features": [],
    }
    assert first == {**usual, "deadline_ms": 900, "redact": ["carrier", "hour"]}
    second = told("--on-log-failure", "answer", "--log-share", "0.25")
    assert second == {**first, "on_log_failure": "answer", "log_share": 0.25}
    assert told("--redact", "", "--deadline-ms", "0")["redact"] == []


def test_a_file_of_feedback_is_stored_once_and_its_bad_lines_are_put_aside(
    house: Wiring, http: TestClient[Litestar], tmp_path: Path
) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "bulk")
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,value\nf1,1\nf2,nan\nf1,0\nf3,0\n")
    said = json.loads(run(house, "feedback", "bulk", str(file), "--json"))
    assert (said["received"], said["new"], said["refused"]) == (4, 2, 2)
    assert [line.split(",")[:2] for line in (tmp_path / "labels.csv.rejected.csv").read_text().splitlines()[1:]] == [
        ["3", "f2"],
        ["4", "f1"],
    ]
    place, csv = "/api/v1/deployments/bulk/feedback", {"content-type": "text/csv"}
    again = http.post(place, content=file.read_bytes(), headers=csv)
    assert again.status_code == 200, again.text
    assert (again.json()["new"], [entry["line"] for entry in again.json()["rejected"]]) == (0, [3, 4])
    lines = b'{"prediction_id":"f3","value":0}\n{"prediction_id":"f4","value":1}'
    more = http.post(place, content=lines, headers={"content-type": "application/jsonl"})
    assert (more.json()["received"], more.json()["new"]) == (2, 1)
    refused = http.post(place, content=b"\xff", headers=csv)
    assert refused.status_code == 400


def test_the_workers_are_shown_and_each_change_of_their_number_is_one_event(
    house: Wiring, http: TestClient[Litestar], server: Supervisor
) -> None:
    serving = house.get(Serving)
    assert [worker["pid"] for worker in http.get("/api/v1/workers").json()["workers"]] == [server.pid]
    assert serving.note_workers() == 0
    note_change(serving.folder, Change(1, 2, "workers were busy for 95 % of the time", 0.95, 3.0))
    note_change(serving.folder, Change(2, 1, "one fewer would do", 0.1, 0.0))
    assert (serving.note_workers(), serving.note_workers()) == (2, 0)
    journal = house.get(Journal)  # type: ignore[type-abstract]
    assert [event.payload["after"] for event in journal.read(kinds=["serving.workers_changed"])] == [2, 1]
    done = CliRunner().invoke(workers, [], obj=lambda: house, catch_exceptions=False)
    for said in (http.get("/workers").text, done.output):
        assert "busy for 95 %" in said
        assert str(server.pid) in said


def test_a_deployment_that_nobody_asks_is_reported_and_unloaded_where_that_was_asked_for(
    house: Wiring, http: TestClient[Litestar], server: Supervisor
) -> None:
    run(house, "deploy", "late", "--version", "1", "--name", "rare", "--idle-s", "1", "--cold-ms", "20000")
    server.apply()
    with Client(server.url) as client:
        client.predict("rare", {"hour": [9], "carrier": ["AA"]})
        until = time.monotonic() + 60
        while (found := {one["name"]: one for one in http.get("/api/v1/idle").json()})["rare"]["state"] != "asleep":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert found["rare"]["asked_at"] > 0
        assert found["rare"]["idle_after_s"] == 1
        assert "asleep" in http.get("/deployments").text
        assert client.predict("rare", {"hour": [9], "carrier": ["AA"]}).version == "1"
    assert [one["name"] for one in http.get("/api/v1/idle?least_s=86400").json()] == []
    done = CliRunner().invoke(idle, ["--for", "7d"], obj=lambda: house, catch_exceptions=False)
    assert done.output == "nothing is idle for so long\n"
    assert "rare" in CliRunner().invoke(idle, [], obj=lambda: house, catch_exceptions=False).output
    assert "1 s" in http.get("/workers").text
