"""Experiments and runs over the MLflow protocol, in a whole house."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core.settings import load
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Metric, Tracking

BASE = "http://127.0.0.1:7600"
Plain = dict[str, Any]


class Door:
    """Calls of the protocol, and what answers them."""

    def __init__(self, client: TestClient[Any], tracking: Tracking) -> None:
        self.client = client
        self.tracking = tracking

    def post(self, call: str, status: int = 200, /, **body: object) -> Plain:
        """The answer to a POST."""
        answer = self.client.post(f"/api/2.0/mlflow/{call}", json=body)
        assert answer.status_code == status, answer.text
        found: Plain = answer.json()
        return found

    def get(self, call: str, status: int = 200, /, **query: str) -> Plain:
        """The answer to a GET."""
        answer = self.client.get(f"/api/2.0/mlflow/{call}", params=query)
        assert answer.status_code == status, answer.text
        found: Plain = answer.json()
        return found

    def run(self, **fields: object) -> str:
        """The id of a new run."""
        run_id: str = self.post("runs/create", **fields)["run"]["info"]["run_id"]
        return run_id


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    house = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    with TestClient(create_app(house), base_url=BASE, raise_server_exceptions=False) as client:
        yield Door(client, house.get(Tracking))
    house.close()


def test_the_default_experiment_is_there_from_the_first_request(door: Door) -> None:
    door.client.headers["X-Mainspring-Project"] = "fresh"
    made = door.get("experiments/get", experiment_id="0")["experiment"]
    del door.client.headers["X-Mainspring-Project"]
    assert (made["experiment_id"], made["name"], made["lifecycle_stage"]) == ("0", "Default", "active")
    assert made["artifact_location"] == "mlflow-artifacts:/0"


def test_a_run_comes_back_as_it_was_logged(door: Door) -> None:
    made = door.post("experiments/create", name="flights", tags=[{"key": "team", "value": "ops"}])["experiment_id"]
    tags = [{"key": "mlflow.user", "value": "ada"}, {"key": "mlflow.source.git.commit", "value": "c" * 40}]
    run_id = door.run(experiment_id=made, start_time=5, run_name="first", tags=tags)
    points = [
        {"key": "loss", "value": 0.5, "timestamp": 7, "step": 1},
        {"key": "loss", "value": "NaN", "timestamp": 0, "step": 2},
    ]
    door.post("runs/log-batch", run_id=run_id, metrics=points, params=[{"key": "lr", "value": "0.1"}])
    door.post("runs/update", run_id=run_id, status="FINISHED", end_time=9)
    run = door.get("runs/get", run_id=run_id)["run"]
    assert run["info"] == {
        "run_id": run_id,
        "run_uuid": run_id,
        "run_name": "first",
        "experiment_id": made,
        "user_id": "ada",
        "status": "FINISHED",
        "start_time": 5,
        "end_time": 9,
        "artifact_uri": f"mlflow-artifacts:/{made}/{run_id}/artifacts",
        "lifecycle_stage": "active",
    }
    assert run["data"]["metrics"] == [{"key": "loss", "value": "NaN", "timestamp": 0, "step": 2}]
    assert run["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    assert {"key": "mlflow.runName", "value": "first"} in run["data"]["tags"]
    native = door.tracking.get(run_id)
    assert (native.experiment, native.user_id, native.status) == ("flights", "ada", "finished")
    assert native.code is not None
    assert native.code.commit == "c" * 40
    assert "mlflow.runName" not in native.tags


def test_a_run_of_our_own_client_is_one_for_mlflow_too(door: Door) -> None:
    parent = door.tracking.create_run("native", name="sweep")
    made = door.tracking.create_run("native", name="inner", parent=parent.id)
    door.tracking.log_batch(made.id, metrics=[Metric("auc", 0.75, 3)], params={"depth": "6"})
    run = door.get("runs/get", run_uuid=made.id)["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags == {"mlflow.runName": "inner", "mlflow.parentRunId": parent.id, "mlflow.user": "owner"}
    assert run["data"]["metrics"][0]["value"] == 0.75


def test_the_name_of_a_run_and_its_tag_are_one(door: Door) -> None:
    run_id = door.run(tags=[{"key": "mlflow.runName", "value": "a"}])
    assert door.tracking.get(run_id).name == "a"
    door.post("runs/set-tag", run_id=run_id, key="mlflow.runName", value="b")
    assert door.get("runs/get", run_id=run_id)["run"]["info"]["run_name"] == "b"
    door.post("runs/update", run_id=run_id, run_name="c")
    tags = door.get("runs/get", run_id=run_id)["run"]["data"]["tags"]
    assert tags[-1] == {"key": "mlflow.runName", "value": "c"}
    both = door.post("runs/create", 400, run_name="x", tags=[{"key": "mlflow.runName", "value": "y"}])
    assert both["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_param_is_written_once(door: Door) -> None:
    run_id = door.run()
    for _ in range(2):
        door.post("runs/log-parameter", run_id=run_id, key="lr", value="0.1")
    changed = door.post("runs/log-parameter", 400, run_id=run_id, key="lr", value="0.2")
    assert changed["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "Changing param values is not allowed" in changed["message"]


def test_a_batch_with_one_bad_part_stores_nothing(door: Door) -> None:
    run_id = door.run()
    point = {"key": "loss", "value": 1, "timestamp": 1}
    door.post("runs/log-batch", 400, run_id=run_id, metrics=[point, {"key": "loss", "value": True, "timestamp": 1}])
    door.post("runs/log-batch", 400, run_id=run_id, metrics=[point], params=[{"key": "../x", "value": "1"}])
    assert "metrics" not in door.get("runs/get", run_id=run_id)["run"]["data"]


def test_a_deleted_run_takes_no_writes_until_it_is_restored(door: Door) -> None:
    run_id = door.run()
    door.post("runs/delete", run_id=run_id)
    told = door.post("runs/set-tag", 400, run_id=run_id, key="a", value="b")
    assert told["error_code"] == "INVALID_PARAMETER_VALUE"
    door.post("runs/update", 400, run_id=run_id, status="FINISHED")
    door.post("runs/restore", run_id=run_id)
    door.post("runs/set-tag", run_id=run_id, key="a", value="b")


def test_a_deleted_experiment_takes_its_runs_along_and_back(door: Door) -> None:
    made = door.post("experiments/create", name="doomed")["experiment_id"]
    kept, gone = door.run(experiment_id=made), door.run(experiment_id=made)
    door.post("runs/delete", run_id=gone)
    door.post("experiments/delete", experiment_id=made)
    assert door.get("runs/get", run_id=kept)["run"]["info"]["lifecycle_stage"] == "deleted"
    assert door.post("experiments/create", 400, name="doomed")["error_code"] == "RESOURCE_ALREADY_EXISTS"
    assert door.post("runs/create", 400, experiment_id=made)["error_code"] == "INVALID_PARAMETER_VALUE"
    door.post("experiments/restore", experiment_id=made)
    stages = [door.get("runs/get", run_id=run_id)["run"]["info"]["lifecycle_stage"] for run_id in (kept, gone)]
    assert stages == ["active", "deleted"]


@pytest.mark.parametrize("base", ["/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"])
def test_every_spelling_of_the_address_answers(door: Door, base: str) -> None:
    assert door.client.get(f"{base}/mlflow/experiments/get?experimentId=0").status_code == 200
    missing = door.client.get(f"{base}/mlflow/nothing")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    wrong = door.client.delete(f"{base}/mlflow/runs/get")
    assert (wrong.status_code, set(wrong.json())) == (405, {"error_code", "message"})


def test_a_body_that_is_not_said_to_be_json_is_refused(door: Door) -> None:
    answer = door.client.post("/api/2.0/mlflow/runs/create", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_the_server_says_who_it_is_without_a_login(door: Door) -> None:
    assert door.client.get("/health").text == "OK"
    assert door.client.get("/version").text == "3.18.0"
    assert door.client.get("/api/3.0/mlflow/server-info").json()["artifact_serving_enabled"] is True
