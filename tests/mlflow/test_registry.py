"""The registry: models, versions, tags, aliases, stages, sources."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient
from tests.mlflow.http import BAD, GONE, TAKEN, Http, Json, refused


@pytest.fixture
def model(http: Http, name: str) -> str:
    """The name of a registered model without versions."""
    http.ok("POST", "registered-models/create", name=name)
    return name


def version(http: Http, model: str, **fields: object) -> str:
    """The number of a new version."""
    body = {"name": model, "source": "s3://bucket/model", **fields}
    return str(http.ok("POST", "model-versions/create", **body)["model_version"]["version"])


def test_a_model_is_registered(http: Http, name: str) -> None:
    tags = [{"key": "team", "value": "flights"}]
    made = http.ok("POST", "registered-models/create", name=name, description="what it is", tags=tags)[
        "registered_model"
    ]
    assert (made["name"], made["description"], made["tags"]) == (name, "what it is", tags)
    assert made["creation_timestamp"] == made["last_updated_timestamp"] > 1_600_000_000_000
    assert http.ok("GET", "registered-models/get", name=name)["registered_model"] == made


def test_a_name_is_registered_once(http: Http, model: str) -> None:
    assert http.error("POST", "registered-models/create", name=model) == TAKEN


@pytest.mark.parametrize("bad", ["", "a/b", "a:b", None])
def test_a_name_of_a_model_has_no_slash_or_colon(http: Http, bad: object) -> None:
    assert http.error("POST", "registered-models/create", name=bad) == BAD


@pytest.mark.parametrize("odd", ["with space {}", "ünïcode ✓ {}", "dots.and-dashes_{}", "100% {}", "it's {}"])
def test_names_of_models_may_be_odd(client: MlflowClient, name: str, odd: str) -> None:
    full = odd.format(name)
    client.create_registered_model(full)
    made = client.create_model_version(full, "s3://b/x")
    assert client.get_registered_model(full).name == full
    assert client.get_model_version(full, made.version).name == full
    client.set_registered_model_alias(full, "best", made.version)
    assert client.get_model_version_by_alias(full, "best").version == made.version


def test_an_unknown_model_is_not_found(http: Http, name: str) -> None:
    for method, path, fields in (
        ("GET", "registered-models/get", {}),
        ("PATCH", "registered-models/update", {"description": "x"}),
        ("POST", "registered-models/rename", {"new_name": f"{name}-2"}),
        ("DELETE", "registered-models/delete", {}),
        ("POST", "registered-models/set-tag", {"key": "a", "value": "b"}),
        ("POST", "registered-models/alias", {"alias": "a", "version": "1"}),
        ("POST", "registered-models/get-latest-versions", {}),
        ("POST", "model-versions/create", {"source": "s3://b/x"}),
        ("GET", "model-versions/get", {"version": "1"}),
        ("POST", "model-versions/set-tag", {"version": "1", "key": "a", "value": "b"}),
        ("GET", "model-versions/get-download-uri", {"version": "1"}),
    ):
        assert http.error(method, path, name=name, **fields) == GONE, path


def test_a_description_is_updated(client: MlflowClient, model: str) -> None:
    client.update_registered_model(model, "new words")
    assert client.get_registered_model(model).description == "new words"


def test_a_model_is_renamed_with_its_versions(client: MlflowClient, http: Http, model: str) -> None:
    version(http, model)
    client.set_registered_model_alias(model, "best", "1")
    client.rename_registered_model(model, f"{model}-new")
    found = client.get_registered_model(f"{model}-new")
    assert ([v.version for v in found.latest_versions], found.aliases) == ([1], {"best": 1}) or [
        str(v.version) for v in found.latest_versions
    ] == ["1"]
    assert client.get_model_version_by_alias(f"{model}-new", "best").name == f"{model}-new"


def test_a_renamed_model_is_found_by_its_old_name(client: MlflowClient, http: Http, model: str) -> None:
    version(http, model)
    client.rename_registered_model(model, f"{model}-new")
    assert client.get_registered_model(model).name == f"{model}-new"
    assert client.get_model_version(model, "1").name == f"{model}-new"
    assert [found.name for found in client.search_model_versions(f"name = '{model}'")] == [f"{model}-new"]


def test_a_rename_of_a_model_to_a_taken_name_is_refused(http: Http, model: str) -> None:
    http.ok("POST", "registered-models/create", name=f"{model}-other")
    assert http.error("POST", "registered-models/rename", name=model, new_name=f"{model}-other") == TAKEN


def test_a_deleted_model_takes_its_versions_along_and_frees_its_name(http: Http, model: str) -> None:
    version(http, model)
    http.ok("DELETE", "registered-models/delete", name=model)
    assert http.error("GET", "model-versions/get", name=model, version="1") == GONE
    http.ok("POST", "registered-models/create", name=model)
    assert http.ok("GET", "model-versions/search", filter=f"name = '{model}'") == {}


def test_tags_of_a_model_are_set_and_deleted(client: MlflowClient, model: str) -> None:
    client.set_registered_model_tag(model, "a", "1")
    client.set_registered_model_tag(model, "a", "2")
    client.set_registered_model_tag(model, "ü b", "x" * 5000)
    assert client.get_registered_model(model).tags == {"a": "2", "ü b": "x" * 5000}
    client.delete_registered_model_tag(model, "a")
    assert client.get_registered_model(model).tags == {"ü b": "x" * 5000}


def test_deleting_an_absent_tag_of_a_model_is_fine(http: Http, model: str) -> None:
    http.ok("DELETE", "registered-models/delete-tag", name=model, key="none")


@pytest.mark.parametrize(("key", "value"), [("k" * 251, "v"), ("k", "v" * 100_001), ("", "v")])
def test_a_tag_of_a_model_has_its_limits(http: Http, model: str, key: str, value: str) -> None:
    assert http.error("POST", "registered-models/set-tag", name=model, key=key, value=value) == BAD


def test_versions_count_up(http: Http, model: str) -> None:
    assert [version(http, model) for _ in range(3)] == ["1", "2", "3"]


def test_a_number_is_never_used_again(http: Http, model: str) -> None:
    assert [version(http, model) for _ in range(2)] == ["1", "2"]
    http.ok("DELETE", "model-versions/delete", name=model, version="2")
    assert version(http, model) == "3"


def test_a_version_knows_where_it_came_from(http: Http, experiment: str, run: str, model: str) -> None:
    source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/m"
    fields = {"run_id": run, "run_link": "http://x", "description": "first", "tags": [{"key": "a", "value": "1"}]}
    made = http.ok("POST", "model-versions/create", name=model, source=source, **fields)["model_version"]
    assert (made["source"], made["run_id"], made["run_link"]) == (source, run, "http://x")
    assert (made["description"], made["tags"], made["status"]) == ("first", fields["tags"], "READY")
    assert (made["current_stage"], made["version"], made["name"]) == ("None", "1", model)
    assert http.ok("GET", "model-versions/get", name=model, version="1")["model_version"] == made


@pytest.mark.parametrize("number", ["99", "0"])
def test_an_unknown_version_is_not_found(http: Http, model: str, number: str) -> None:
    assert http.error("GET", "model-versions/get", name=model, version=number) == GONE


@pytest.mark.parametrize("number", ["one", "-", "1.5"])
def test_a_version_is_a_whole_number(http: Http, model: str, number: str) -> None:
    assert http.error("GET", "model-versions/get", name=model, version=number)[0] in (400, 404)


def test_a_version_is_described_and_deleted(http: Http, client: MlflowClient, model: str) -> None:
    version(http, model)
    client.update_model_version(model, "1", "words")
    assert client.get_model_version(model, "1").description == "words"
    client.delete_model_version(model, "1")
    with refused("RESOURCE_DOES_NOT_EXIST"):
        client.get_model_version(model, "1")
    assert http.error("DELETE", "model-versions/delete", name=model, version="1") == GONE


def test_tags_of_a_version_are_set_and_deleted(http: Http, client: MlflowClient, model: str) -> None:
    version(http, model)
    client.set_model_version_tag(model, "1", "a", "1")
    client.set_model_version_tag(model, "1", "a", "2")
    client.set_model_version_tag(model, "1", "b", "3")
    client.delete_model_version_tag(model, "1", "a")
    assert client.get_model_version(model, "1").tags == {"b": "3"}


def test_a_tag_of_a_version_can_be_set_by_stage(http: Http, client: MlflowClient, model: str) -> None:
    version(http, model)
    client.transition_model_version_stage(model, "1", "Staging")
    client.set_model_version_tag(model, key="a", value="1", stage="Staging")
    assert client.get_model_version(model, "1").tags == {"a": "1"}


def test_an_alias_points_to_a_version_and_moves(http: Http, client: MlflowClient, model: str) -> None:
    version(http, model), version(http, model)
    client.set_registered_model_alias(model, "champion", "1")
    assert client.get_model_version_by_alias(model, "champion").version in (1, "1")
    client.set_registered_model_alias(model, "champion", "2")
    assert str(client.get_model_version_by_alias(model, "champion").version) == "2"
    assert client.get_model_version(model, "1").aliases == []
    assert client.get_model_version(model, "2").aliases == ["champion"]


def test_a_model_and_its_versions_tell_their_aliases(http: Http, model: str) -> None:
    version(http, model)
    for alias in ("b", "a"):
        http.ok("POST", "registered-models/alias", name=model, alias=alias, version="1")
    aliases = http.ok("GET", "registered-models/get", name=model)["registered_model"]["aliases"]
    assert sorted(aliases, key=lambda a: a["alias"]) == [{"alias": "a", "version": "1"}, {"alias": "b", "version": "1"}]
    assert sorted(http.ok("GET", "model-versions/get", name=model, version="1")["model_version"]["aliases"]) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("alias", ["latest", "Latest", "LATEST", "v1", "V23", "a b", "a.b", "a/b", "", "x" * 256, "ä!"])
def test_these_are_no_aliases(http: Http, model: str, alias: str) -> None:
    version(http, model)
    assert http.error("POST", "registered-models/alias", name=model, alias=alias, version="1") == BAD


@pytest.mark.parametrize("alias", ["champion", "a-b_c", "v", "v1a", "1", "x" * 255, "latest2"])
def test_these_are_aliases(http: Http, model: str, alias: str) -> None:
    version(http, model)
    http.ok("POST", "registered-models/alias", name=model, alias=alias, version="1")
    found = http.ok("GET", "registered-models/alias", name=model, alias=alias)["model_version"]
    assert (found["version"], found["aliases"]) == ("1", [alias])


def test_the_alias_latest_is_the_greatest_version(http: Http, model: str) -> None:
    version(http, model), version(http, model)
    assert http.ok("GET", "registered-models/alias", name=model, alias="latest")["model_version"]["version"] == "2"


def test_an_unknown_alias_is_refused_as_a_wrong_value(http: Http, model: str) -> None:
    assert http.error("GET", "registered-models/alias", name=model, alias="none") == BAD


def test_an_alias_of_a_version_that_is_not_there_is_refused(http: Http, model: str) -> None:
    assert http.error("POST", "registered-models/alias", name=model, alias="a", version="7") == GONE


def test_an_alias_is_deleted_and_again(http: Http, model: str) -> None:
    version(http, model)
    http.ok("POST", "registered-models/alias", name=model, alias="a", version="1")
    for _ in range(2):
        http.ok("DELETE", "registered-models/alias", name=model, alias="a")
    assert http.error("GET", "registered-models/alias", name=model, alias="a") == BAD


def test_a_deleted_version_takes_its_aliases_along(http: Http, model: str) -> None:
    version(http, model)
    http.ok("POST", "registered-models/alias", name=model, alias="a", version="1")
    http.ok("DELETE", "model-versions/delete", name=model, version="1")
    assert not http.ok("GET", "registered-models/get", name=model)["registered_model"].get("aliases")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("Staging", "Staging"), ("production", "Production"), ("ARCHIVED", "Archived"), ("none", "None")],
)
def test_a_version_moves_to_a_stage(http: Http, model: str, given: str, kept: str) -> None:
    version(http, model)
    fields: Json = {"version": "1", "stage": given, "archive_existing_versions": False}
    assert (
        http.ok("POST", "model-versions/transition-stage", name=model, **fields)["model_version"]["current_stage"]
        == kept
    )


def test_an_unknown_stage_is_refused(http: Http, model: str) -> None:
    version(http, model)
    fields: Json = {"version": "1", "stage": "Canary", "archive_existing_versions": False}
    assert http.error("POST", "model-versions/transition-stage", name=model, **fields) == BAD


def test_the_versions_before_are_archived_when_asked(client: MlflowClient, http: Http, model: str) -> None:
    version(http, model), version(http, model)
    client.transition_model_version_stage(model, "1", "Production")
    client.transition_model_version_stage(model, "2", "Production", archive_existing_versions=True)
    assert [client.get_model_version(model, n).current_stage for n in "12"] == ["Archived", "Production"]


@pytest.mark.parametrize("stage", ["Archived", "None"])
def test_archiving_others_is_for_staging_and_production(http: Http, model: str, stage: str) -> None:
    version(http, model)
    fields: Json = {"version": "1", "stage": stage, "archive_existing_versions": True}
    assert http.error("POST", "model-versions/transition-stage", name=model, **fields) == BAD


def test_the_latest_version_of_each_stage_is_found(client: MlflowClient, http: Http, model: str) -> None:
    for _ in range(4):
        version(http, model)
    client.transition_model_version_stage(model, "1", "Production")
    client.transition_model_version_stage(model, "2", "Staging")
    found = {v.current_stage: str(v.version) for v in client.get_latest_versions(model)}
    assert found == {"None": "4", "Staging": "2", "Production": "1"}
    assert [str(v.version) for v in client.get_latest_versions(model, ["Staging"])] == ["2"]
    assert [str(v.version) for v in client.get_latest_versions(model, ["staging"])] == ["2"]


def test_latest_versions_can_be_asked_with_a_get(http: Http, model: str) -> None:
    version(http, model)
    answer = http.send(
        "GET",
        "registered-models/get-latest-versions",
        params=[("name", model), ("stages", "None"), ("stages", "Staging")],
    )
    assert [v["version"] for v in answer.json()["model_versions"]] == ["1"]


def test_a_registered_model_shows_its_latest_versions(http: Http, model: str) -> None:
    for _ in range(3):
        version(http, model)
    latest = http.ok("GET", "registered-models/get", name=model)["registered_model"]["latest_versions"]
    assert [v["version"] for v in latest] == ["3"]


def test_the_download_uri_is_the_source(http: Http, model: str) -> None:
    version(http, model, source="s3://bucket/deep/model")
    assert (
        http.ok("GET", "model-versions/get-download-uri", name=model, version="1")["artifact_uri"]
        == "s3://bucket/deep/model"
    )


def test_the_download_uri_of_a_logged_model_is_where_its_files_are(http: Http, experiment: str, model: str) -> None:
    info = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]
    version(http, model, source=f"models:/{info['model_id']}", model_id=info["model_id"])
    assert (
        http.ok("GET", "model-versions/get-download-uri", name=model, version="1")["artifact_uri"]
        == info["artifact_uri"]
    )


def test_a_logged_model_learns_of_its_versions(http: Http, experiment: str, model: str) -> None:
    info = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]
    version(http, model, source=f"models:/{info['model_id']}", model_id=info["model_id"])
    tags = {t["key"]: t["value"] for t in http.ok("GET", f"logged-models/{info['model_id']}")["model"]["info"]["tags"]}
    import json

    assert [(v["name"], str(v["version"])) for v in json.loads(tags["mlflow.modelVersions"])] == [(model, "1")]


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "file:///etc",
        "./x",
        "../x",
        "mlflow-artifacts:/0/../../x",
        "mlflow-artifacts:/../x",
        "s3://b/../x",
        "",
    ],
)
def test_a_source_that_is_not_the_clients_to_give_is_refused(http: Http, model: str, source: str) -> None:
    assert http.error("POST", "model-versions/create", name=model, source=source)[0] == 400


def test_a_source_below_another_run_is_refused(http: Http, experiment: str, run: str, model: str) -> None:
    other = http.new_run(experiment)
    source = f"mlflow-artifacts:/{experiment}/{other}/artifacts/m"
    assert http.error("POST", "model-versions/create", name=model, source=source, run_id=run)[0] == 400


@pytest.mark.parametrize("source", ["s3://b/m", "gs://b/m/deep/er", "dbfs:/m"])
def test_a_source_in_a_cloud_is_taken(http: Http, model: str, source: str) -> None:
    assert version(http, model, source=source) == "1"


def test_the_fluent_client_registers_what_a_run_holds(
    client: MlflowClient, experiment: str, run: str, name: str
) -> None:
    client.log_text(run, "x", "model/MLmodel")
    made = mlflow.register_model(f"runs:/{run}/model", name)
    assert (str(made.version), made.run_id) == ("1", run)
    uri = client.get_model_version_download_uri(name, "1")
    assert uri == f"mlflow-artifacts:/{experiment}/{run}/artifacts/model"
    assert str(mlflow.register_model(f"runs:/{run}/model", name).version) == "2"


def test_a_version_is_copied_to_another_model(http: Http, client: MlflowClient, model: str) -> None:
    version(http, model, source="s3://bucket/m")
    made = client.copy_model_version(f"models:/{model}/1", f"{model}-copy")
    assert (made.name, str(made.version), made.source) == (f"{model}-copy", "1", f"models:/{model}/1")
    assert client.get_model_version_download_uri(f"{model}-copy", "1") == "s3://bucket/m"


def test_a_change_of_a_version_changes_the_time_of_its_update(http: Http, model: str) -> None:
    version(http, model)
    before = http.ok("GET", "model-versions/get", name=model, version="1")["model_version"]["last_updated_timestamp"]
    http.ok("PATCH", "model-versions/update", name=model, version="1", description="x")
    assert (
        http.ok("GET", "model-versions/get", name=model, version="1")["model_version"]["last_updated_timestamp"]
        >= before
    )
