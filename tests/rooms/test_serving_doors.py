"""The doors of serving: HTTP, pages and commands, on one data folder with a real model server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Serving, Supervisor, commands
from mainspring.serving.supervisor import ServerOptions

FRAME = pl.DataFrame({"hour": [1, 9, 20, 23], "carrier": ["UA", "AA", "UA", "AA"]})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    for _ in range(2):
        fitted = LogisticRegression().fit(np.array([[1.0, 0], [9, 1], [20, 0], [23, 1]]), [0, 0, 1, 1])
        made.get(Registry).register("late", fitted, example=FRAME, encoding={"carrier": ["UA", "AA"]})
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
    command = getattr(commands, name)
    done = CliRunner().invoke(command, list(arguments), obj=lambda: house, input=text, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_way_of_an_endpoint_through_all_doors(
    house: Wiring, http: TestClient[Litestar], server: Supervisor, tmp_path: Path
) -> None:
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
    assert "version 2" in run(house, "rollout", "promote", "late", "--reason", "by hand")
    assert "version 1" in run(house, "rollout", "rollback", "late")
    assert "10%" in run(house, "rollout", "start", "late", "2", "--share", "0.1", "--then", "0.5")
    back = http.post("/api/v1/deployments/late/rollback", json={"reason": "enough"}).json()
    assert back["traffic"]["arms"][0]["version"] == 1
    assert len(http.get("/api/v1/deployments/late/history").json()) == 6
    assert "Rollouts before" in http.get("/deployments/late").text


def test_a_deployment_that_is_not_there_is_404_on_every_door(http: TestClient[Litestar]) -> None:
    for place in ("/api/v1/deployments/no", "/deployments/no", "/api/v1/rollouts/no", "/rollouts/no"):
        assert http.get(place).status_code == 404


def test_options_are_given_one_by_one_and_taken_back(house: Wiring, http: TestClient[Litestar]) -> None:
    def told(*options: str) -> dict[str, object]:
        run(house, "deploy", "late", "--version", "1", "--name", "quiet", *options)
        found = http.get("/api/v1/deployments/quiet").json()["options"]
        assert isinstance(found, dict)
        return found

    first = told("--deadline-ms", "900", "--redact", "carrier", "--redact", "hour")
    assert first == {"deadline_ms": 900, "on_log_failure": "refuse", "redact": ["carrier", "hour"], "rules": []}
    assert told("--on-log-failure", "answer") == {**first, "on_log_failure": "answer"}
    assert told("--redact", "", "--deadline-ms", "0")["redact"] == []
