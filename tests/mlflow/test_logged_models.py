"""Logged models: pending, filled, ready or failed; params, tags, files, deletion, and their place in a run."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from tests.mlflow.http import BAD, GONE, Http, Json

UNKNOWN = f"m-{'0' * 32}"


def make(http: Http, experiment: str, **fields: object) -> Json:
    found: Json = http.ok("POST", "logged-models", experiment_id=experiment, **fields)["model"]
    return found


@pytest.fixture
def model(http: Http, experiment: str) -> str:
    """The id of a fresh, pending logged model."""
    return str(make(http, experiment, name="model")["info"]["model_id"])


def test_a_new_logged_model_is_pending_and_has_a_place(http: Http, experiment: str, run: str) -> None:
    info = make(http, experiment, name="tree", model_type="sklearn", source_run_id=run)["info"]
    assert re.fullmatch("m-[0-9a-f]{32}", info["model_id"])
    assert (info["status"], info["name"], info["experiment_id"]) == ("LOGGED_MODEL_PENDING", "tree", experiment)
    assert (info["model_type"], info["source_run_id"]) == ("sklearn", run)
    assert info["artifact_uri"] == f"mlflow-artifacts:/{experiment}/models/{info['model_id']}/artifacts"
    assert info["creation_timestamp_ms"] > 1_600_000_000_000
    assert info["last_updated_timestamp_ms"] >= info["creation_timestamp_ms"]


def test_a_logged_model_is_got(client: MlflowClient, experiment: str, model: str) -> None:
    found = client.get_logged_model(model)
    assert (found.model_id, found.name, found.experiment_id) == (model, "model", experiment)
    assert found.status == LoggedModelStatus.PENDING


def test_a_logged_model_without_a_name_gets_one(http: Http, experiment: str) -> None:
    assert make(http, experiment)["info"]["name"]


@pytest.mark.parametrize("bad", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_a_name_of_a_logged_model_has_no_such_characters(http: Http, experiment: str, bad: str) -> None:
    assert http.error("POST", "logged-models", experiment_id=experiment, name=bad) == BAD


def test_params_and_tags_are_given_at_birth(client: MlflowClient, experiment: str) -> None:
    made = client.create_logged_model(experiment, "m", params={"depth": "3", "e": ""}, tags={"team": "x"})
    found = client.get_logged_model(made.model_id)
    assert (found.params, found.tags["team"]) == ({"depth": "3", "e": ""}, "x")


def test_params_are_added_later(client: MlflowClient, model: str) -> None:
    client.log_model_params(model, {f"p{i}": str(i) for i in range(150)})
    assert client.get_logged_model(model).params == {f"p{i}": str(i) for i in range(150)}


@pytest.mark.parametrize("status", ["READY", "UPLOAD_FAILED"])
def test_a_logged_model_is_finalized(client: MlflowClient, model: str, status: str) -> None:
    word = {"READY": "READY", "UPLOAD_FAILED": "FAILED"}[status]
    done = client.finalize_logged_model(model, word)
    assert done.status == client.get_logged_model(model).status == LoggedModelStatus(word)


def test_the_status_is_a_word_on_the_wire(http: Http, model: str) -> None:
    answer = http.ok("PATCH", f"logged-models/{model}", model_id=model, status="LOGGED_MODEL_READY")
    assert answer["model"]["info"]["status"] == "LOGGED_MODEL_READY"


def test_tags_are_set_and_overwritten_and_deleted(client: MlflowClient, model: str) -> None:
    client.set_logged_model_tags(model, {"a": "1", "b/c d": "2"})
    client.set_logged_model_tags(model, {"a": "3"})
    assert client.get_logged_model(model).tags == {"a": "3", "b/c d": "2"}
    client.delete_logged_model_tag(model, "a")
    assert client.get_logged_model(model).tags == {"b/c d": "2"}


def test_an_absent_tag_of_a_logged_model_is_not_deleted(http: Http, model: str) -> None:
    assert http.error("DELETE", f"logged-models/{model}/tags/none") == GONE


def test_a_deleted_logged_model_is_gone_unless_asked_for(http: Http, model: str) -> None:
    http.ok("DELETE", f"logged-models/{model}")
    assert http.error("GET", f"logged-models/{model}") == GONE
    found = http.ok("GET", f"logged-models/{model}", allow_deleted="true")["model"]
    assert found["info"]["model_id"] == model


def test_a_deleted_logged_model_is_not_found_by_search(http: Http, experiment: str, model: str) -> None:
    http.ok("DELETE", f"logged-models/{model}")
    assert http.ok("POST", "logged-models/search", experiment_ids=[experiment]).get("models", []) == []


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("GET", "", {}),
        ("PATCH", "", {"model_id": UNKNOWN, "status": "LOGGED_MODEL_READY"}),
        ("DELETE", "", {}),
        ("PATCH", "/tags", {"tags": [{"key": "a", "value": "1"}]}),
        ("DELETE", "/tags/a", {}),
        ("POST", "/params", {"params": [{"key": "a", "value": "1"}]}),
        ("GET", "/artifacts/directories", {}),
    ],
)
def test_an_unknown_logged_model_is_not_found(http: Http, method: str, path: str, fields: Json) -> None:
    status, code = http.error(method, f"logged-models/{UNKNOWN}{path}", **fields)
    assert (status, code) == GONE or (path == "/params" and status == 400)


def test_an_experiment_that_is_not_there_has_no_logged_models(http: Http) -> None:
    assert http.error("POST", "logged-models", experiment_id="987654321012345", name="m") == GONE


def test_a_deleted_experiment_takes_no_logged_models(http: Http, experiment: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.error("POST", "logged-models", experiment_id=experiment, name="m") == BAD


def test_files_of_a_logged_model_are_listed(client: MlflowClient, model: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("12345")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "g.txt").write_text("1")
    client.log_model_artifacts(model, str(tmp_path))
    found = {(f.path, f.is_dir, f.file_size) for f in client.list_logged_model_artifacts(model)}
    assert found == {("f.txt", False, 5), ("sub", True, None)}
    assert [f.path for f in client.list_logged_model_artifacts(model, "sub")] == ["sub/g.txt"]


def test_a_file_of_a_logged_model_comes_down(client: MlflowClient, model: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("12345")
    client.log_model_artifact(model, str(tmp_path / "f.txt"))
    back = mlflow.artifacts.download_artifacts(
        f"{client.get_logged_model(model).artifact_location}/f.txt", dst_path=str(tmp_path / "back")
    )
    assert Path(back).read_text() == "12345"


def test_a_run_knows_the_models_it_made(client: MlflowClient, run: str, model: str) -> None:
    client.log_outputs(run, [LoggedModelOutput(model, step=7)])
    outputs = client.get_run(run).outputs.model_outputs
    assert [(o.model_id, o.step) for o in outputs] == [(model, 7)]


def test_outputs_of_an_unknown_run_are_refused(http: Http, model: str) -> None:
    fields = {"run_id": "0" * 32, "models": [{"model_id": model, "step": 0}]}
    assert http.error("POST", "runs/outputs", **fields) == GONE


def test_metrics_of_a_model_come_from_all_its_runs(http: Http, experiment: str, model: str) -> None:
    runs = [http.new_run(experiment) for _ in range(2)]
    for number, run in enumerate(runs):
        point = {"key": "auc", "value": number / 2, "timestamp": 1, "step": 0, "model_id": model}
        http.ok("POST", "runs/log-metric", run_id=run, **point)
    metrics = http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]
    assert {(m["run_id"], m["value"], m["model_id"]) for m in metrics} == {(runs[0], 0.0, model), (runs[1], 0.5, model)}


def test_the_same_metric_of_a_model_again_is_fine(http: Http, run: str, model: str) -> None:
    point = {"key": "auc", "value": 0.5, "timestamp": 1, "step": 0, "model_id": model}
    for _ in range(2):
        http.ok("POST", "runs/log-metric", run_id=run, **point)
        http.log(run, metrics=[point])
    assert len(http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]) == 1


def test_one_metric_of_a_model_on_two_datasets_is_two_metrics(http: Http, run: str, model: str) -> None:
    point = {"key": "auc", "value": 0.5, "timestamp": 1, "step": 0, "model_id": model}
    for dataset in ("train", "test"):
        http.ok("POST", "runs/log-metric", run_id=run, dataset_name=dataset, dataset_digest="1", **point)
    metrics = http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]
    assert {m["dataset_name"] for m in metrics} == {"train", "test"}


def test_the_old_record_of_a_model_becomes_a_tag(http: Http, run: str) -> None:
    record = f'{{"run_id": "{run}", "artifact_path": "m", "flavors": {{}}, "utc_time_created": "2026-01-01"}}'
    http.ok("POST", "runs/log-model", run_id=run, model_json=record)
    tags = {t["key"]: t["value"] for t in http.get_run(run)["data"]["tags"]}
    assert '"artifact_path": "m"' in tags["mlflow.log-model.history"]


def test_the_fluent_client_makes_and_finds_logged_models(experiment: str, client: MlflowClient) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    made = mlflow.initialize_logged_model("fluent", params={"a": "1"}, model_type="agent")
    mlflow.finalize_logged_model(made.model_id, "READY")
    found = mlflow.search_logged_models([experiment], "params.a = '1'", output_format="list")
    assert [(m.model_id, m.status.value) for m in found] == [(made.model_id, "READY")]
    assert mlflow.last_logged_model() is not None


def test_an_external_model_is_ready_at_once(experiment: str, client: MlflowClient) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    made = mlflow.create_external_model("outside", params={"endpoint": "x"})
    assert client.get_logged_model(made.model_id).status == LoggedModelStatus.READY
