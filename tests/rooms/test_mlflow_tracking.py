"""Experiments and runs over the MLflow protocol, in a whole house."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Journal, Tables
from mainspring.testing.postgres import PostgresServer
from mainspring.tracking import LoggedModels, Metric, Tracking

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
        run_id: str = self.post("runs/create", **({"experiment_id": "0"} | fields))["run"]["info"]["run_id"]
        return run_id


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    """Every service, on each database."""
    environ = {}
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    made = open_house(load(tmp_path_factory.mktemp("house"), environ=environ))
    yield made
    made.close()


@pytest.fixture(scope="module")
def models(house: Wiring) -> LoggedModels:
    return house.get(LoggedModels)


@pytest.fixture(scope="module")
def events(house: Wiring) -> Journal:
    return house.get(Journal)  # type: ignore[type-abstract]


@pytest.fixture(scope="module")
def door(house: Wiring) -> Iterator[Door]:
    with TestClient(create_app(house), base_url=BASE, raise_server_exceptions=False) as client:
        yield Door(client, house.get(Tracking))


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
    both = door.post(
        "runs/create", 400, experiment_id="0", run_name="x", tags=[{"key": "mlflow.runName", "value": "y"}]
    )
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


def test_a_history_comes_whole_or_by_pages_in_the_order_of_time(door: Door) -> None:
    run_id = door.run()
    points = [{"key": "a/b", "value": n, "timestamp": 10 - n, "step": n} for n in range(5)]
    for _ in range(2):  # points are a set
        door.post("runs/log-batch", run_id=run_id, metrics=points)
    whole = door.get("metrics/get-history", run_id=run_id, metric_key="a/b")
    assert [point["timestamp"] for point in whole["metrics"]] == [6, 7, 8, 9, 10]
    assert "next_page_token" not in whole
    paged, token = [], ""
    while True:
        more = {"page_token": token} if token else {}
        page = door.get("metrics/get-history", run_id=run_id, metric_key="a/b", max_results="2", **more)
        paged += page["metrics"]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert paged == whole["metrics"]
    assert door.get("metrics/get-history", run_id=run_id, metric_key="nothing") == {}
    door.get("metrics/get-history", 400, run_id=run_id, metric_key="a/b", max_results="0")
    door.get("metrics/get-history", 400, run_id=run_id, metric_key="a/b", page_token="rubbish")


def test_histories_of_many_runs_come_together_and_sampled(door: Door) -> None:
    runs = [door.run(), door.run()]
    for run_id in runs:
        points = [{"key": "m", "value": n / 7, "timestamp": 1, "step": n} for n in range(100)]
        door.post("runs/log-batch", run_id=run_id, metrics=points)
    door.post("runs/log-metric", run_id=runs[1], key="m", value=1, timestamp=1, step=777)
    client = door.client
    bulk = client.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", params={"run_id": runs, "metric_key": "m"})
    assert len(bulk.json()["metrics"]) == 201
    query = {"run_ids": runs, "metric_key": "m", "max_results": "10"}
    sampled = client.get("/api/2.0/mlflow/metrics/get-history-bulk-interval", params=query).json()["metrics"]
    steps = [point["step"] for point in sampled if point["run_id"] == runs[0]]
    assert (steps[0], steps[-1], len(steps)) == (0, 99, 10)
    assert [point["step"] for point in sampled if point["run_id"] == runs[1]][-1] == 777
    query |= {"start_step": "5", "end_step": "7"}
    part = client.get("/api/2.0/mlflow/metrics/get-history-bulk-interval", params=query).json()["metrics"]
    assert {point["step"] for point in part} == {5, 6, 7}
    query |= {"end_step": "1"}
    assert client.get("/api/2.0/mlflow/metrics/get-history-bulk-interval", params=query).status_code == 400


def test_what_a_run_read_is_kept_once_and_shown(door: Door) -> None:
    made = door.post("experiments/create", name="inputs")["experiment_id"]
    run_id = door.run(experiment_id=made)
    dataset = {"name": "flights", "digest": "9f8e", "source_type": "local", "source": "{}", "schema": "s"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    for _ in range(2):
        door.post(
            "runs/log-inputs",
            run_id=run_id,
            datasets=[{"dataset": dataset, "tags": tags}],
            models=[{"model_id": "m-1"}],
        )
    inputs = door.get("runs/get", run_id=run_id)["run"]["inputs"]
    assert inputs == {
        "dataset_inputs": [{"dataset": dataset, "tags": tags}],
        "model_inputs": [{"model_id": "m-1"}],
    }
    found = door.post("experiments/search-datasets", experiment_ids=[made])["dataset_summaries"]
    assert found == [{"experiment_id": made, "name": "flights", "digest": "9f8e", "context": "training"}]
    assert door.tracking.get(run_id).inputs[0].dataset == "flights@9f8e"
    door.post("runs/log-inputs", 400, run_id=run_id, datasets=[{"dataset": {"name": "x", "digest": "d" * 37}}])
    door.post("experiments/search-datasets", 400, experiment_ids=[])


def test_runs_are_found_by_what_mlflow_calls_tags_and_we_call_fields(door: Door) -> None:
    made = door.post("experiments/create", name="found")["experiment_id"]
    parent = door.run(experiment_id=made, run_name="outer")
    child = door.run(experiment_id=made, run_name="inner", tags=[{"key": "mlflow.parentRunId", "value": parent}])

    def found(filter: str, **more: object) -> list[str]:
        runs = door.post("runs/search", experiment_ids=[made], filter=filter, **more).get("runs", [])
        return [run["info"]["run_id"] for run in runs]

    assert found(f"tags.`mlflow.parentRunId` = '{parent}'") == [child]
    assert found("tags.`mlflow.parentRunId` != 'x'") == [child]
    assert found("tags.`mlflow.parentRunId` IS NULL") == [parent]
    assert found("tags.mlflow.runName LIKE 'out%'") == [parent]
    assert found("", order_by=["tags.`mlflow.runName`"]) == [child, parent]
    door.post("runs/delete", run_id=child)
    assert found("") == [parent]
    assert found("", run_view_type="DELETED_ONLY") == [child]


def test_pages_of_runs_follow_each_other(door: Door) -> None:
    made = door.post("experiments/create", name="paged")["experiment_id"]
    runs = {door.run(experiment_id=made, start_time=n) for n in range(5)}
    first = door.post("runs/search", experiment_ids=[made], max_results=3)
    second = door.post("runs/search", experiment_ids=[made], max_results=3, page_token=first["next_page_token"])
    assert "next_page_token" not in second
    assert {run["info"]["run_id"] for run in first["runs"] + second["runs"]} == runs
    door.post("runs/search", 400, experiment_ids=[made], page_token="rubbish")
    door.post("runs/search", 400, experiment_ids=[made], max_results=50_001)


def test_a_tag_is_deleted_once(door: Door) -> None:
    run_id = door.run(tags=[{"key": "a", "value": "b"}])
    door.post("runs/delete-tag", run_id=run_id, key="a")
    assert door.post("runs/delete-tag", 404, run_id=run_id, key="a")["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    door.post("runs/delete-tag", 400, run_id=run_id, key="mlflow.runName")


def test_a_model_of_mlflow_2_is_an_entry_of_a_tag(door: Door) -> None:
    run_id = door.run()
    model = {"run_id": run_id, "artifact_path": "m", "utc_time_created": "t", "flavors": {"x": {"config": 1, "a": 2}}}
    for _ in range(2):
        door.post("runs/log-model", run_id=run_id, model_json=json.dumps(model | {"signature": "long"}))
    tags = {tag["key"]: tag["value"] for tag in door.get("runs/get", run_id=run_id)["run"]["data"]["tags"]}
    assert json.loads(tags["mlflow.log-model.history"]) == [model | {"flavors": {"x": {"a": 2}}}] * 2
    for wrong in ("{", "[]", "{}"):
        door.post("runs/log-model", 400, run_id=run_id, model_json=wrong)


def test_a_metric_of_a_model_is_kept_with_the_model_too(door: Door, models: LoggedModels) -> None:
    run_id = door.run()
    model = models.create("0", run_id=run_id)
    point = {"key": "auc", "value": 0.9, "timestamp": 3, "step": 1, "model_id": model.id}
    door.post("runs/log-batch", run_id=run_id, metrics=[{**point, "dataset_name": "d", "dataset_digest": "1"}])
    door.post("runs/log-metric", run_id=run_id, **(point | {"value": 0.8, "step": 0}))
    measured = {metric.dataset_name: metric.value for metric in models.get(model.id).metrics}
    assert measured == {"d": 0.9, "": 0.8}
    assert door.post("runs/log-metric", 404, run_id=run_id, **(point | {"model_id": "m-no"}))
    assert door.tracking.get(run_id).metrics["auc"].value == 0.9


def test_long_values_are_cut_and_too_many_are_refused(door: Door) -> None:
    run_id = door.run()
    door.post("runs/log-parameter", run_id=run_id, key="p", value="x" * 6001)
    door.post("runs/set-tag", run_id=run_id, key="t", value="x" * 8001)
    run = door.tracking.get(run_id)
    assert (len(run.params["p"]), len(run.tags["t"])) == (6000, 8000)
    metrics = [{"key": f"m{n}", "value": 1, "timestamp": 1} for n in range(1001)]
    told = door.post("runs/log-batch", 400, run_id=run_id, metrics=metrics)
    assert "at most 1000 metrics" in told["message"]
    texts = [{"key": f"k{n}", "value": "v"} for n in range(101)]
    door.post("runs/log-batch", 400, run_id=run_id, params=texts)
    door.post("runs/log-batch", 400, run_id=run_id, tags=texts)
    told = door.post("runs/log-batch", 400, run_id=run_id, params=[texts[0], texts[0]])
    assert "Duplicate parameter keys" in told["message"]


def test_a_finished_run_stays_writable_and_may_go_on(door: Door) -> None:
    run_id = door.run()
    door.post("runs/update", run_id=run_id, status="FINISHED", end_time=5)
    door.post("runs/log-parameter", run_id=run_id, key="late", value="1")
    info = door.post("runs/update", run_id=run_id, status="RUNNING")["run_info"]
    assert info["status"] == "RUNNING"
    assert "end_time" not in info
    door.post("runs/update", 400, run_id=run_id, status="DONE")


def test_what_happens_to_experiments_and_runs_is_on_record(door: Door, events: Journal) -> None:
    door.get("experiments/get", experiment_id="0")
    before = events.last()
    made = door.post("experiments/create", name="told")["experiment_id"]
    run_id = door.run(experiment_id=made)
    door.post("runs/delete", run_id=run_id)
    door.post("runs/restore", run_id=run_id)
    door.post("experiments/update", experiment_id=made, new_name="told again")
    door.post("experiments/delete", experiment_id=made)
    door.post("experiments/restore", experiment_id=made)
    kinds = [event.kind.removeprefix("tracking.") for event in events.read(before)]
    assert kinds == [
        "experiment_created",
        "run_started",
        "run_deleted",
        "run_restored",
        "experiment_renamed",
        "experiment_deleted",
        "experiment_restored",
    ]


@pytest.mark.parametrize("location", ["runs:/x", "s3://b/../c", "s3://b/a#b", "s3://b?x=1", "a/%2e%2e/b"])
def test_a_location_that_leads_elsewhere_is_refused(door: Door, location: str) -> None:
    told = door.post("experiments/create", 400, name="led", artifact_location=location)
    assert told["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("call", ["log-batch", "log-metric", "log-parameter", "set-tag"])
def test_a_server_with_too_much_to_write_says_when_to_come_back(
    door: Door, house: Wiring, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run_id = door.run()
    group = house.get(Tables)._group  # type: ignore[type-abstract, attr-defined]  # both databases have one
    monkeypatch.setattr(group, "_longest", 0)
    body = {"run_id": run_id, "key": "k", "value": 1 if call == "log-metric" else "v", "timestamp": 1}
    answer = door.client.post(f"/api/2.0/mlflow/runs/{call}", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


def test_experiments_and_runs_have_the_same_life_in_our_own_api(door: Door) -> None:
    client = door.client
    made = client.post("/api/v1/experiments", json={"name": "own", "tags": {"team": "ops"}}).json()
    place = f"/api/v1/experiments/{made['id']}"
    run_id = door.run(experiment_id=made["id"])
    assert client.put(f"{place}/tags/a", json={"value": "b"}).json()["tags"] == {"team": "ops", "a": "b"}
    assert client.delete(f"{place}/tags/a").json()["tags"] == {"team": "ops"}
    assert client.post(f"{place}/rename", json={"name": "own again"}).json()["name"] == "own again"
    assert client.delete(place).json()["deleted_at"]
    assert made["id"] in [entry["id"] for entry in client.get("/api/v1/experiments?deleted=true").json()]
    assert client.delete(place).status_code == 409
    assert client.post(f"{place}/restore").json()["deleted_at"] is None
    assert client.delete(f"/api/v1/runs/{run_id}").status_code == 204
    assert client.post(f"/api/v1/runs/{run_id}/log", content=b'{"tags":{"a":"b"}}').status_code == 409
    assert client.post(f"/api/v1/runs/{run_id}/restore").status_code == 204
    assert client.post(f"/api/v1/runs/{run_id}/rename", json={"name": "neu"}).status_code == 204
    assert client.get(f"/api/v1/runs/{run_id}").json()["name"] == "neu"
    assert client.get("/api/v1/experiments/404").status_code == 404


@pytest.mark.parametrize(
    "call", ["gateway/endpoints/list", "label-schemas/list", "review-queues/list", "issues/search"]
)
def test_what_is_not_there_is_named(door: Door, call: str) -> None:
    assert door.get(call, 404)["error_code"] == "ENDPOINT_NOT_FOUND"
    assert "Mainspring has no" in door.post(call, 404)["message"]
