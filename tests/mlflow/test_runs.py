"""Runs: made, read, updated, named, deleted, brought back."""

from __future__ import annotations

import re

import pytest
from mlflow import MlflowClient
from mlflow.entities import RunStatus
from tests.mlflow.http import BAD, GONE, Http

UNKNOWN = "0" * 32
DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "x"}


def test_a_new_run_runs_and_has_nothing_in_it(http: Http, experiment: str) -> None:
    made = http.ok("POST", "runs/create", experiment_id=experiment, start_time=123, user_id="ann")["run"]
    info = made["info"]
    assert (info["status"], info["lifecycle_stage"], info["start_time"]) == ("RUNNING", "active", 123)
    assert (info["experiment_id"], info["user_id"]) == (experiment, "ann")
    assert not made["data"].get("metrics")
    assert not made["data"].get("params")


def test_ids_of_runs_are_32_hexadecimal_digits_under_two_names(http: Http, run: str) -> None:
    info = http.get_run(run)["info"]
    assert re.fullmatch("[0-9a-f]{32}", info["run_id"])
    assert info["run_uuid"] == info["run_id"]


def test_a_running_run_has_no_end(http: Http, run: str) -> None:
    assert "end_time" not in http.get_run(run)["info"]


def test_artifacts_of_a_run_lie_below_its_experiment(http: Http, experiment: str, run: str) -> None:
    assert http.get_run(run)["info"]["artifact_uri"] == f"mlflow-artifacts:/{experiment}/{run}/artifacts"


def test_artifacts_of_a_run_follow_the_location_of_the_experiment(http: Http, name: str) -> None:
    made = http.ok("POST", "experiments/create", name=name, artifact_location="s3://bucket/here")["experiment_id"]
    run = http.new_run(made)
    assert http.get_run(run)["info"]["artifact_uri"] == f"s3://bucket/here/{run}/artifacts"


def test_times_are_64_bit_numbers(http: Http, experiment: str) -> None:
    run = http.new_run(experiment, start_time=2**53 + 1)
    assert http.get_run(run)["info"]["start_time"] == 2**53 + 1


def test_a_run_without_a_name_gets_one_and_a_tag_of_it(http: Http, run: str) -> None:
    found = http.get_run(run)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", found["info"]["run_name"])
    assert {"key": "mlflow.runName", "value": found["info"]["run_name"]} in found["data"]["tags"]


def test_a_name_is_kept_and_written_as_a_tag(client: MlflowClient, experiment: str) -> None:
    made = client.create_run(experiment, run_name="first ünïcode try")
    found = client.get_run(made.info.run_id)
    assert found.info.run_name == "first ünïcode try"
    assert found.data.tags["mlflow.runName"] == "first ünïcode try"


def test_a_tag_can_name_a_run(client: MlflowClient, experiment: str) -> None:
    made = client.create_run(experiment, tags={"mlflow.runName": "tagged"})
    assert client.get_run(made.info.run_id).info.run_name == "tagged"


def test_a_name_and_a_tag_that_disagree_are_refused(http: Http, experiment: str) -> None:
    tags = [{"key": "mlflow.runName", "value": "b"}]
    assert http.error("POST", "runs/create", experiment_id=experiment, run_name="a", tags=tags) == BAD
    tags = [{"key": "mlflow.runName", "value": "a"}]
    assert (
        http.ok("POST", "runs/create", experiment_id=experiment, run_name="a", tags=tags)["run"]["info"]["run_name"]
        == "a"
    )


def test_setting_the_tag_of_the_name_renames_a_run(client: MlflowClient, run: str) -> None:
    client.set_tag(run, "mlflow.runName", "renamed")
    assert client.get_run(run).info.run_name == "renamed"


def test_a_batch_with_the_tag_of_the_name_renames_a_run(http: Http, run: str) -> None:
    http.log(run, tags=[{"key": "mlflow.runName", "value": "by batch"}])
    assert http.get_run(run)["info"]["run_name"] == "by batch"


def test_an_update_renames_a_run_and_its_tag(client: MlflowClient, run: str) -> None:
    client.update_run(run, name="updated")
    found = client.get_run(run)
    assert (found.info.run_name, found.data.tags["mlflow.runName"]) == ("updated", "updated")


def test_an_empty_name_leaves_the_name(http: Http, experiment: str) -> None:
    run = http.new_run(experiment, run_name="kept")
    http.ok("POST", "runs/update", run_id=run, run_name="")
    assert http.get_run(run)["info"]["run_name"] == "kept"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", "SCHEDULED", "RUNNING"])
def test_every_status_can_be_set(client: MlflowClient, run: str, status: str) -> None:
    client.update_run(run, status=status)
    assert client.get_run(run).info.status == status


def test_an_update_answers_with_what_the_run_is_now(http: Http, run: str) -> None:
    info = http.ok("POST", "runs/update", run_id=run, status="FINISHED", end_time=456)["run_info"]
    assert (info["status"], info["end_time"], info["run_id"]) == ("FINISHED", 456, run)


def test_an_update_of_the_status_leaves_the_end(http: Http, run: str) -> None:
    http.ok("POST", "runs/update", run_id=run, status="FINISHED", end_time=456)
    http.ok("POST", "runs/update", run_id=run, run_name="later")
    info = http.get_run(run)["info"]
    assert (info["status"], info["end_time"]) == ("FINISHED", 456)


def test_terminating_sets_status_and_end(client: MlflowClient, run: str) -> None:
    client.set_terminated(run, status="KILLED", end_time=789)
    info = client.get_run(run).info
    assert (RunStatus.to_string(RunStatus.from_string(info.status)), info.end_time) == ("KILLED", 789)


def test_a_finished_run_is_still_writable(client: MlflowClient, run: str) -> None:
    client.set_terminated(run)
    client.log_metric(run, "late", 1.0)
    client.log_param(run, "late", "p")
    client.set_tag(run, "late", "t")
    data = client.get_run(run).data
    assert (data.metrics["late"], data.params["late"], data.tags["late"]) == (1.0, "p", "t")


def test_a_number_that_is_no_status_is_refused(http: Http, run: str) -> None:
    assert http.error("POST", "runs/update", run_id=run, status=99)[0] == 400


def test_a_word_that_is_no_status_is_refused(http: Http, run: str) -> None:
    assert http.error("POST", "runs/update", run_id=run, status="DONE") == BAD


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("GET", "runs/get", {}),
        ("POST", "runs/update", {"status": "FINISHED"}),
        ("POST", "runs/delete", {}),
        ("POST", "runs/restore", {}),
        ("POST", "runs/log-metric", {"key": "m", "value": 1.0, "timestamp": 1}),
        ("POST", "runs/log-parameter", {"key": "p", "value": "1"}),
        ("POST", "runs/set-tag", {"key": "t", "value": "1"}),
        ("POST", "runs/delete-tag", {"key": "t"}),
        ("POST", "runs/log-batch", {"tags": [{"key": "t", "value": "1"}]}),
        ("POST", "runs/log-inputs", {"datasets": [{"dataset": DATASET}]}),
        ("GET", "artifacts/list", {}),
    ],
)
def test_an_unknown_run_is_not_found(http: Http, method: str, path: str, fields: dict[str, object]) -> None:
    assert http.error(method, path, run_id=UNKNOWN, **fields) == GONE


@pytest.mark.parametrize("path", ["runs/update", "runs/delete", "runs/restore", "runs/log-metric", "runs/log-batch"])
def test_a_call_without_a_run_is_refused(http: Http, path: str) -> None:
    assert http.error("POST", path)[0] == 400


@pytest.mark.parametrize("bad", ["a/b", "x" * 300])
def test_an_odd_id_of_a_run_is_no_server_error(http: Http, bad: str) -> None:
    assert http.error("GET", "runs/get", run_id=bad)[0] in (400, 404)


def test_an_experiment_that_is_not_there_takes_no_run(http: Http) -> None:
    assert http.error("POST", "runs/create", experiment_id="987654321012345") == GONE


def test_a_run_without_an_experiment_is_refused(http: Http) -> None:
    assert http.error("POST", "runs/create", start_time=1)[0] in (400, 404)


def test_a_deleted_run_is_still_there_to_get(client: MlflowClient, run: str) -> None:
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"


def test_a_deleted_run_comes_back(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "m", 1.0)
    client.delete_run(run)
    client.restore_run(run)
    found = client.get_run(run)
    assert (found.info.lifecycle_stage, found.data.metrics) == ("active", {"m": 1.0})


def test_deleting_and_restoring_twice_is_fine(http: Http, run: str) -> None:
    for _ in range(2):
        http.ok("POST", "runs/delete", run_id=run)
    for _ in range(2):
        http.ok("POST", "runs/restore", run_id=run)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("runs/log-metric", {"key": "m", "value": 1.0, "timestamp": 1}),
        ("runs/log-parameter", {"key": "p", "value": "1"}),
        ("runs/set-tag", {"key": "t", "value": "1"}),
        ("runs/delete-tag", {"key": "t"}),
        ("runs/log-batch", {"tags": [{"key": "t", "value": "1"}]}),
        ("runs/update", {"status": "FINISHED"}),
    ],
)
def test_a_deleted_run_takes_nothing(http: Http, run: str, path: str, fields: dict[str, object]) -> None:
    http.ok("POST", "runs/delete", run_id=run)
    assert http.error("POST", path, run_id=run, **fields) == BAD


def test_tags_given_at_birth_are_kept(client: MlflowClient, experiment: str) -> None:
    made = client.create_run(experiment, tags={"a": "1", "mlflow.user": "ann", "mlflow.source.name": "x.py"})
    tags = client.get_run(made.info.run_id).data.tags
    assert {"a": "1", "mlflow.user": "ann", "mlflow.source.name": "x.py"}.items() <= tags.items()


def test_a_user_given_as_a_field_is_kept(http: Http, experiment: str) -> None:
    assert http.get_run(http.new_run(experiment, user_id="bob"))["info"]["user_id"] == "bob"


def test_the_parent_of_a_nested_run_is_found(client: MlflowClient, experiment: str, run: str) -> None:
    child = client.create_run(experiment, tags={"mlflow.parentRunId": run})
    assert client.get_parent_run(child.info.run_id).info.run_id == run
    assert client.get_parent_run(run) is None
