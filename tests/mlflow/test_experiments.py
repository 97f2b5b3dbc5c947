"""Experiments: made, found, renamed, deleted, brought back, tagged."""

from __future__ import annotations

import time

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from tests.mlflow.http import BAD, GONE, TAKEN, Http, refused


def test_the_default_experiment_has_the_id_zero(client: MlflowClient) -> None:
    assert client.get_experiment("0").name == "Default"
    assert client.get_experiment_by_name("Default").experiment_id == "0"


def test_a_new_experiment_is_active_and_has_an_id_of_text(client: MlflowClient, name: str) -> None:
    made = client.create_experiment(name)
    assert isinstance(made, str)
    found = client.get_experiment(made)
    assert (found.name, found.lifecycle_stage, found.tags) == (name, "active", {})


def test_ids_of_experiments_are_made_of_digits(http: Http, experiment: str) -> None:
    assert experiment.isdigit()


def test_a_new_experiment_knows_when_it_was_made(client: MlflowClient, name: str) -> None:
    before = int(time.time() * 1000) - 1
    found = client.get_experiment(client.create_experiment(name))
    assert before <= found.creation_time <= int(time.time() * 1000) + 1
    assert found.last_update_time == found.creation_time


def test_artifacts_go_through_the_server_unless_told_otherwise(client: MlflowClient, experiment: str) -> None:
    assert client.get_experiment(experiment).artifact_location == f"mlflow-artifacts:/{experiment}"


def test_a_location_of_artifacts_is_kept(client: MlflowClient, name: str) -> None:
    made = client.create_experiment(name, artifact_location="s3://bucket/here")
    assert client.get_experiment(made).artifact_location == "s3://bucket/here"


@pytest.mark.parametrize("location", ["s3://bucket/a#b", "runs:/abc/x"])
def test_a_location_that_is_no_plain_folder_is_refused(http: Http, name: str, location: str) -> None:
    assert http.error("POST", "experiments/create", name=name, artifact_location=location) == BAD


def test_a_location_that_climbs_out_of_the_artifact_root_is_refused(http: Http, name: str) -> None:
    location = "mlflow-artifacts:/a/../../b"
    assert http.error("POST", "experiments/create", name=name, artifact_location=location) == BAD


def test_tags_can_be_given_at_birth(client: MlflowClient, name: str) -> None:
    made = client.create_experiment(name, tags={"team": "flights", "über": "ä ✓"})
    assert client.get_experiment(made).tags == {"team": "flights", "über": "ä ✓"}


def test_a_name_is_found_exactly(client: MlflowClient, name: str) -> None:
    made = client.create_experiment(f"{name} with / and ünïcode 🚂")
    assert client.get_experiment_by_name(f"{name} with / and ünïcode 🚂").experiment_id == made
    assert client.get_experiment_by_name(name) is None


def test_an_unknown_name_is_none_to_the_client_and_404_on_the_wire(client: MlflowClient, http: Http, name: str) -> None:
    assert client.get_experiment_by_name(name) is None
    assert http.error("GET", "experiments/get-by-name", experiment_name=name) == GONE


def test_an_unknown_id_is_not_found(http: Http) -> None:
    assert http.error("GET", "experiments/get", experiment_id="987654321012345") == GONE


def test_a_name_is_taken_once(client: MlflowClient, name: str) -> None:
    client.create_experiment(name)
    with refused("RESOURCE_ALREADY_EXISTS"):
        client.create_experiment(name)


def test_a_deleted_experiment_still_owns_its_name(http: Http, name: str) -> None:
    made = http.ok("POST", "experiments/create", name=name)["experiment_id"]
    http.ok("POST", "experiments/delete", experiment_id=made)
    assert http.error("POST", "experiments/create", name=name) == TAKEN


@pytest.mark.parametrize("bad", ["", None, 7, "x" * 501])
def test_a_name_has_one_to_five_hundred_characters(http: Http, bad: object) -> None:
    assert http.error("POST", "experiments/create", name=bad) == BAD


def test_a_name_of_five_hundred_characters_is_fine(http: Http, name: str) -> None:
    assert http.ok("POST", "experiments/create", name=name.ljust(500, "x"))["experiment_id"]


def test_an_experiment_without_a_name_is_refused(http: Http) -> None:
    assert http.error("POST", "experiments/create") == BAD


def test_a_deleted_experiment_is_still_there_to_get(client: MlflowClient, experiment: str) -> None:
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"


def test_deleting_changes_the_time_of_the_last_update(client: MlflowClient, experiment: str) -> None:
    before = client.get_experiment(experiment).last_update_time
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).last_update_time >= before


def test_a_deleted_experiment_takes_its_runs_along_and_back(http: Http, experiment: str, run: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.get_run(run)["info"]["lifecycle_stage"] == "deleted"
    http.ok("POST", "experiments/restore", experiment_id=experiment)
    assert http.get_run(run)["info"]["lifecycle_stage"] == "active"


def test_a_deleted_experiment_takes_no_new_runs(http: Http, experiment: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.error("POST", "runs/create", experiment_id=experiment) == BAD


def test_an_experiment_comes_back(client: MlflowClient, experiment: str) -> None:
    client.delete_experiment(experiment)
    client.restore_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "active"


@pytest.mark.parametrize("verb", ["delete", "restore"])
def test_an_unknown_experiment_is_neither_deleted_nor_restored(http: Http, verb: str) -> None:
    assert http.error("POST", f"experiments/{verb}", experiment_id="987654321012345") == GONE


def test_an_experiment_is_deleted_once(http: Http, experiment: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.error("POST", "experiments/delete", experiment_id=experiment) == GONE


def test_an_active_experiment_is_not_restored(http: Http, experiment: str) -> None:
    assert http.error("POST", "experiments/restore", experiment_id=experiment) == GONE


def test_an_experiment_is_renamed(client: MlflowClient, experiment: str, name: str) -> None:
    client.rename_experiment(experiment, f"new {name}")
    assert client.get_experiment(experiment).name == f"new {name}"
    assert client.get_experiment_by_name(f"new {name}").experiment_id == experiment


def test_a_rename_to_a_taken_name_is_refused(http: Http, experiment: str, name: str) -> None:
    http.ok("POST", "experiments/create", name=f"other {name}")
    assert http.error("POST", "experiments/update", experiment_id=experiment, new_name=f"other {name}") == TAKEN


def test_a_deleted_experiment_is_not_renamed(http: Http, experiment: str, name: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.error("POST", "experiments/update", experiment_id=experiment, new_name=f"n {name}")[0] in (400, 500)


def test_an_update_without_a_name_is_refused_and_changes_nothing(http: Http, experiment: str) -> None:
    before = http.ok("GET", "experiments/get", experiment_id=experiment)["experiment"]["name"]
    assert http.error("POST", "experiments/update", experiment_id=experiment) == BAD
    assert http.ok("GET", "experiments/get", experiment_id=experiment)["experiment"]["name"] == before


def test_a_tag_is_set_and_overwritten(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, "a key", "first")
    client.set_experiment_tag(experiment, "a key", "second")
    assert client.get_experiment(experiment).tags == {"a key": "second"}


def test_a_tag_of_an_experiment_is_deleted(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, "gone", "1")
    client.set_experiment_tag(experiment, "stays", "2")
    client.delete_experiment_tag(experiment, "gone")
    assert client.get_experiment(experiment).tags == {"stays": "2"}


def test_deleting_an_absent_tag_of_an_experiment_is_not_found(http: Http, experiment: str) -> None:
    assert http.error("POST", "experiments/delete-experiment-tag", experiment_id=experiment, key="none") == GONE


@pytest.mark.parametrize(("key", "value"), [("k" * 251, "v"), ("k", "v" * 20_001), ("", "v"), ("../up", "v")])
def test_a_tag_of_an_experiment_has_its_limits(http: Http, experiment: str, key: str, value: str) -> None:
    assert http.error("POST", "experiments/set-experiment-tag", experiment_id=experiment, key=key, value=value) == BAD


def test_a_long_tag_of_an_experiment_is_kept_whole(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, "long", "ü" * 5000)
    assert client.get_experiment(experiment).tags["long"] == "ü" * 5000


def test_a_deleted_experiment_takes_no_tags(http: Http, experiment: str) -> None:
    http.ok("POST", "experiments/delete", experiment_id=experiment)
    assert http.error("POST", "experiments/set-experiment-tag", experiment_id=experiment, key="k", value="v") == BAD


def test_tags_of_an_unknown_experiment_are_not_found(http: Http) -> None:
    fields = {"experiment_id": "987654321012345", "key": "k", "value": "v"}
    assert http.error("POST", "experiments/set-experiment-tag", **fields) == GONE


def test_the_view_chooses_active_and_deleted(client: MlflowClient, name: str) -> None:
    kept, dropped = client.create_experiment(f"{name} a"), client.create_experiment(f"{name} b")
    client.delete_experiment(dropped)

    def ids(view: int) -> set[str]:
        found = client.search_experiments(view_type=view, filter_string=f"name LIKE '{name}%'")
        return {one.experiment_id for one in found}

    assert ids(ViewType.ACTIVE_ONLY) == {kept}
    assert ids(ViewType.DELETED_ONLY) == {dropped}
    assert ids(ViewType.ALL) == {kept, dropped}


def test_the_fluent_client_makes_an_experiment_when_it_is_named(name: str) -> None:
    import mlflow

    made = mlflow.set_experiment(name)
    assert mlflow.set_experiment(name).experiment_id == made.experiment_id
    assert mlflow.get_experiment_by_name(name).experiment_id == made.experiment_id


def test_the_fluent_client_refuses_a_deleted_experiment(client: MlflowClient, name: str) -> None:
    import mlflow

    client.delete_experiment(client.create_experiment(name))
    with pytest.raises(mlflow.exceptions.MlflowException, match="deleted experiment"):
        mlflow.set_experiment(name)
