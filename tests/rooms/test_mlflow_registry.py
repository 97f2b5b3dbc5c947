"""Registered models, versions, aliases, stages and webhooks over the MLflow protocol, in a whole house."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Files, LoggedModels, Tracking

BASE = "http://127.0.0.1:7600"
Plain = dict[str, Any]
MLMODEL = b"""
artifact_path: model
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.9}
  sklearn: {pickled_model: model.pkl, sklearn_version: 1.9.1}
mlflow_version: 3.18.0
model_uuid: abc
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}, {"type": "long", "name": "n", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
"""


class Door:
    """Calls of the protocol, and what answers them."""

    def __init__(self, client: TestClient[Any], house: Wiring) -> None:
        self.client = client
        self.house = house
        self.registry = house.get(Registry)

    def ask(self, method: str, call: str, status: int = 200, /, **body: object) -> Plain:
        """The answer to a request with a body."""
        answer = self.client.request(method, f"/api/2.0/mlflow/{call}", json=body)
        assert answer.status_code == status, answer.text
        found: Plain = answer.json()
        return found

    def get(self, call: str, status: int = 200, /, **query: str) -> Plain:
        """The answer to a GET."""
        answer = self.client.get(f"/api/2.0/mlflow/{call}", params=query)
        assert answer.status_code == status, answer.text
        found: Plain = answer.json()
        return found

    def model(self, name: str, versions: int = 0) -> str:
        """A registered model with some versions."""
        self.ask("POST", "registered-models/create", name=name)
        for number in range(versions):
            self.ask("POST", "model-versions/create", name=name, source=f"s3://bucket/{number + 1}")
        return name

    def version(self, name: str, number: int) -> Plain:
        """A version as it is sent."""
        found: Plain = self.get("model-versions/get", name=name, version=str(number))["model_version"]
        return found


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    environ = {"MAINSPRING_WEBHOOKS_ALLOW_LOCAL": "true"}
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    house = open_house(load(tmp_path_factory.mktemp("house"), environ=environ))
    with TestClient(create_app(house), base_url=BASE, raise_server_exceptions=False) as client:
        yield Door(client, house)
    house.close()


def test_a_registered_model_comes_back_as_it_was_made(door: Door) -> None:
    tags = [{"key": "team", "value": "growth"}]
    door.ask("POST", "registered-models/create", name="Café (v2)", description="who leaves", tags=tags)
    made = door.get("registered-models/get", name="Café (v2)")["registered_model"]
    assert (made["description"], made["tags"]) == ("who leaves", tags)
    assert "latest_versions" not in made
    assert door.registry.model("Café (v2)").tags == {"team": "growth"}


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".", "../x", "tab\there", "x" * 257])
def test_a_name_that_is_none_is_refused(door: Door, name: str) -> None:
    assert door.ask("POST", "registered-models/create", 400, name=name)["error_code"] == "INVALID_PARAMETER_VALUE"


def test_the_same_name_twice_exists_already(door: Door) -> None:
    door.model("twice")
    assert door.ask("POST", "registered-models/create", 400, name="twice")["error_code"] == "RESOURCE_ALREADY_EXISTS"


def test_what_is_not_there_is_404_everywhere(door: Door) -> None:
    door.model("there", 1)
    door.get("registered-models/get", 404, name="nope")
    door.ask("PATCH", "registered-models/update", 404, name="nope", description="x")
    door.ask("POST", "registered-models/rename", 404, name="nope", new_name="x")
    door.ask("DELETE", "registered-models/delete", 404, name="nope")
    door.ask("POST", "registered-models/set-tag", 404, name="nope", key="k", value="v")
    door.ask("POST", "model-versions/create", 404, name="nope", source="s3://b/m")
    door.ask("POST", "registered-models/get-latest-versions", 404, name="nope")
    door.ask("POST", "registered-models/alias", 404, name="there", alias="a", version="9")
    for call in ("model-versions/get", "model-versions/get-download-uri"):
        door.get(call, 404, name="there", version="9")
        door.get(call, 404, name="nope", version="1")
    assert door.ask("DELETE", "model-versions/delete", 404, name="there", version="9")["error_code"] == (
        "RESOURCE_DOES_NOT_EXIST"
    )


def test_a_renamed_model_keeps_its_versions_and_old_references_lead_there(door: Door) -> None:
    door.model("old name", 2)
    door.ask("POST", "registered-models/rename", name="old name", new_name="new name")
    assert door.get("registered-models/get", name="old name")["registered_model"]["name"] == "new name"
    for name in ("new name", "old name"):
        assert door.version(name, 2)["name"] == "new name"
        for wanted in (f"name = '{name}'", f"name IN ('{name}', 'x')"):
            assert len(door.get("model-versions/search", filter=wanted)["model_versions"]) == 2
        (found,) = door.get("registered-models/search", filter=f"name = '{name}'")["registered_models"]
        assert found["name"] == "new name"
    assert door.get("registered-models/search", filter="name LIKE 'old name%'") == {}
    door.ask("DELETE", "registered-models/delete", 404, name="old name")
    found = door.get("model-versions/get-download-uri", name="old name", version="2")
    assert found == {"artifact_uri": "s3://bucket/2"}
    assert door.registry.get("old name", 1).model == "new name"


def test_numbers_count_up_and_are_never_given_twice(door: Door) -> None:
    door.model("counted", 2)
    door.ask("DELETE", "model-versions/delete", name="counted", version="2")
    made = door.ask("POST", "model-versions/create", name="counted", source="s3://b/3")["model_version"]
    assert (made["version"], made["status"], made["current_stage"]) == ("3", "READY", "None")


def test_a_deleted_version_is_gone_with_the_aliases_that_point_to_it(door: Door) -> None:
    door.model("gone", 2)
    door.ask("POST", "registered-models/alias", name="gone", alias="champion", version="2")
    door.ask("DELETE", "model-versions/delete", name="gone", version="2")
    model = door.get("registered-models/get", name="gone")["registered_model"]
    assert "aliases" not in model
    assert [entry["version"] for entry in model["latest_versions"]] == ["1"]
    assert door.get("model-versions/search", filter="name = 'gone'")["model_versions"][0]["version"] == "1"


def test_a_version_that_is_deployed_is_not_deleted(door: Door) -> None:
    door.model("served", 1)
    door.registry.tell_users(lambda model, version: ["deployments/served"] if model == "served" else [])
    refused = door.ask("DELETE", "model-versions/delete", 400, name="served", version="1")
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "deployments/served" in refused["message"]
    door.ask("DELETE", "registered-models/delete", 400, name="served")
    door.registry.tell_users(lambda model, version: [])
    door.ask("DELETE", "registered-models/delete", name="served")


def test_an_alias_moves_and_its_deletion_is_idempotent(door: Door) -> None:
    door.model("aliased", 2)
    for version in ("1", "2", "2"):
        door.ask("POST", "registered-models/alias", name="aliased", alias="champion", version=version)
    assert door.get("registered-models/alias", name="aliased", alias="champion")["model_version"]["version"] == "2"
    assert door.version("aliased", 2)["aliases"] == ["champion"]
    assert "aliases" not in door.version("aliased", 1)
    for _ in range(2):
        door.ask("DELETE", "registered-models/alias", name="aliased", alias="champion")
    unknown = door.get("registered-models/alias", 400, name="aliased", alias="champion")
    assert unknown["error_code"] == "INVALID_PARAMETER_VALUE"
    assert door.get("registered-models/alias", name="aliased", alias="Latest")["model_version"]["version"] == "2"


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V23", "a b", "a.b", "a/b", "", "x" * 256])
def test_a_reserved_or_malformed_alias_is_refused(door: Door, alias: str) -> None:
    if "named" not in {model.name for model in door.registry.models(limit=1000)}:
        door.model("named", 1)
    refused = door.ask("POST", "registered-models/alias", 400, name="named", alias=alias, version="1")
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"


def test_stages_come_in_any_case_and_go_out_as_they_are_called(door: Door) -> None:
    door.model("staged", 3)
    move = "model-versions/transition-stage"
    door.ask("POST", move, name="staged", version="1", stage="production")
    moved = door.ask("POST", move, name="staged", version="2", stage="PRODUCTION", archive_existing_versions=True)
    assert moved["model_version"]["current_stage"] == "Production"
    assert door.version("staged", 1)["current_stage"] == "Archived"
    newest = door.ask("POST", "registered-models/get-latest-versions", name="staged")["model_versions"]
    assert {(entry["current_stage"], entry["version"]) for entry in newest} == {
        ("Archived", "1"),
        ("Production", "2"),
        ("None", "3"),
    }
    one = door.ask("POST", "registered-models/get-latest-versions", name="staged", stages=["production", "staging"])
    assert [entry["version"] for entry in one["model_versions"]] == ["2"]
    door.ask("POST", move, 400, name="staged", version="1", stage="live")
    door.ask("POST", move, 400, name="staged", version="1", stage="Archived", archive_existing_versions=True)


def test_tags_are_set_again_and_deleted_again_without_complaint(door: Door) -> None:
    door.model("tagged", 1)
    for _ in range(2):
        door.ask("POST", "registered-models/set-tag", name="tagged", key="k", value="v")
        door.ask("POST", "model-versions/set-tag", name="tagged", version="1", key="k", value="v")
    assert door.version("tagged", 1)["tags"] == [{"key": "k", "value": "v"}]
    for _ in range(2):
        door.ask("DELETE", "registered-models/delete-tag", name="tagged", key="k")
        door.ask("DELETE", "model-versions/delete-tag", name="tagged", version="1", key="k")
    assert "tags" not in door.version("tagged", 1)
    door.ask("POST", "registered-models/set-tag", 400, name="tagged", key="k" * 251, value="v")
    door.ask("POST", "model-versions/set-tag", 400, name="tagged", version="1", key="k", value="v" * 100_001)


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "relative/path",
        "file:///etc/passwd",
        "s3://bucket/../other",
        "https://host/%2e%2e/x",
        "mlflow-artifacts:/..%2f..%2fx",
        "mlflow-artifacts:/0/somewhere",
        "http://host/api/2.0/mlflow-artifacts/artifacts/0/x",
        "runs:/0123456789abcdef0123456789abcdef/model",
        "runs://host/0123/model",
        "models:/m-0123456789abcdef0123456789abcdef",
        "models://host/name/1",
    ],
)
def test_a_source_that_a_client_could_not_read_itself_is_refused(door: Door, source: str) -> None:
    if "sourced" not in {model.name for model in door.registry.models(limit=1000)}:
        door.model("sourced")
    refused = door.ask("POST", "model-versions/create", 400, name="sourced", source=source)
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"


def _logged_folder(door: Door, folder: str) -> None:
    files = door.house.get(Files)
    files.put(f"{folder}MLmodel", MLMODEL)
    files.put(f"{folder}model.pkl", b"\x80\x04N.")
    files.put(f"{folder}code/lib.py", b"print('never run')")


def test_a_model_folder_of_a_run_becomes_a_package_that_lists_every_file(door: Door) -> None:
    door.model("foldered")
    run = door.house.get(Tracking).create_run("Default")
    _logged_folder(door, f"{run.folder}model/")
    source = f"mlflow-artifacts:/{run.folder}model"
    made = door.ask("POST", "model-versions/create", name="foldered", source=source, run_id=run.id)["model_version"]
    assert (made["source"], made["run_id"], made["version"]) == (source, run.id, "1")
    found = door.registry.get("foldered", 1)
    assert [field.name for field in found.inputs] == ["x", "n"]
    assert [field.dtype for field in found.outputs] == ["int64"]
    assert (found.flavour, found.environment["sklearn"]) == ("mlflow", "1.9.1")
    assert [entry.path for entry in door.registry.files("foldered", 1)] == [
        "manifest.json",
        "model/MLmodel",
        "model/code/lib.py",
        "model/model.pkl",
    ]
    assert door.registry.verify("foldered", 1).digest == found.digest
    assert door.get("model-versions/get-download-uri", name="foldered", version="1")["artifact_uri"] == source


ODD_FOLDERS = {
    "no-signature": {"MLmodel": b"flavors: {python_function: {loader_module: mlflow.sklearn}}"},
    "tensors": {
        "MLmodel": b'flavors: {}\nsignature: {inputs: \'[{"type": "tensor", "tensor-spec": '
        b'{"dtype": "float64", "shape": [-1, 4]}}]\'}'
    },
    "no-example": {"MLmodel": MLMODEL},
    "example": {
        "MLmodel": MLMODEL + b"saved_input_example_info: {artifact_path: e.json, type: dataframe}",
        "e.json": b'{"columns": ["n", "x"], "data": [[1, NaN], [null, 2.5]]}',
    },
    "no-yaml": {"MLmodel": b"{{{"},
    "no-mlmodel": {"weights.bin": b"1"},
}


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_whatever_a_client_logged_the_pages_of_its_version_are_whole(door: Door, name: str) -> None:
    door.model(f"odd {name}")
    run = door.house.get(Tracking).create_run("Default")
    for path, data in ODD_FOLDERS[name].items():
        door.house.get(Files).put(f"{run.folder}m/{path}", data)
    source = f"mlflow-artifacts:/{run.folder}m"
    door.ask("POST", "model-versions/create", name=f"odd {name}", source=source, run_id=run.id)
    for path in ("models", f"models/odd {name}", f"models/odd {name}/1"):
        page = door.client.get(f"/{path}", headers={"Accept": "text/html"})
        assert (page.status_code, f"odd {name}" in page.text) == (200, True), page.text
    has = door.registry.get(f"odd {name}", 1).signature is not None
    assert has == ("No signature" not in page.text) == (name in ("example", "no-example"))
    assert ("2.5" in page.text) == (name == "example")


def test_a_folder_of_another_run_is_refused(door: Door) -> None:
    door.model("stolen")
    tracking = door.house.get(Tracking)
    mine, other = tracking.create_run("Default"), tracking.create_run("Default")
    source = f"mlflow-artifacts:/{other.folder}model"
    door.ask("POST", "model-versions/create", 400, name="stolen", source=source, run_id=mine.id)
    door.ask("POST", "model-versions/create", 400, name="stolen", source=source)
    door.ask("POST", "model-versions/create", name="stolen", source=source, run_id=other.id)


def test_a_logged_model_gets_a_version_and_knows_it(door: Door) -> None:
    door.model("from-model")
    models = door.house.get(LoggedModels)
    run = door.house.get(Tracking).create_run("Default")
    logged = models.create("0", name="m", run_id=run.id)
    _logged_folder(door, logged.folder)
    for number in ("1", "2"):
        made = door.ask(
            "POST", "model-versions/create", name="from-model", source=f"models:/{logged.id}", model_id=logged.id
        )["model_version"]
        assert (made["version"], made["run_id"], made["model_id"]) == (number, run.id, logged.id)
    assert door.registry.get("from-model", 1).digest
    where = door.get("model-versions/get-download-uri", name="from-model", version="1")["artifact_uri"]
    assert where == f"mlflow-artifacts:/0/models/{logged.id}/artifacts"
    noted = models.get(logged.id).tags["mlflow.modelVersions"]
    assert noted == '[{"name": "from-model", "version": "1"}, {"name": "from-model", "version": "2"}]'


def test_a_copied_version_has_the_package_of_the_first(door: Door) -> None:
    run = door.house.get(Tracking).create_run("Default")
    door.model("first-home")
    door.model("second-home")
    _logged_folder(door, f"{run.folder}model/")
    door.ask("POST", "model-versions/create", name="first-home", source=f"runs:/{run.id}/model", run_id=run.id)
    door.ask("POST", "model-versions/create", name="second-home", source="models:/first-home/1")
    first, second = door.registry.get("first-home", 1), door.registry.get("second-home", 1)
    assert (second.source, second.digest, second.run_id) == ("models:/first-home/1", first.digest, run.id)
    door.ask("POST", "model-versions/create", 400, name="second-home", source="models:/first-home/1", run_id="f" * 32)


def test_prompts_are_kept_apart_from_models(door: Door) -> None:
    mark = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    door.ask("POST", "registered-models/create", name="greeting", tags=[mark])
    text = {"key": "mlflow.prompt.text", "value": "Hi {{name}}"}
    door.ask("POST", "model-versions/create", name="greeting", source="dummy-source", tags=[mark, text])
    door.ask("POST", "model-versions/create", 400, name="greeting", source="s3://b/m", tags=[mark])
    shown = {
        entry["name"] for entry in door.get("registered-models/search", max_results="1000").get("registered_models", [])
    }
    assert "greeting" not in shown
    only = door.get("registered-models/search", filter="tags.`mlflow.prompt.is_prompt` = 'true'")
    assert [entry["name"] for entry in only["registered_models"]] == ["greeting"]
    none = door.get("registered-models/search", filter="name = 'greeting' AND tags.`mlflow.prompt.is_prompt` != 'true'")
    assert none == {}
    assert door.get("model-versions/search", filter="name = 'greeting'") == {}
    assert "greeting" not in {model.name for model in door.registry.models(limit=1000)}
    door.ask("POST", "model-versions/create", 400, name="greeting", source="models:/greeting/1")


def test_a_search_comes_in_pages_that_leave_nothing_out(door: Door) -> None:
    for number in range(5):
        door.model(f"paged-{number}")
    found: list[str] = []
    query = {"filter": "name LIKE 'paged-%'", "max_results": "2", "order_by": "name DESC"}
    while True:
        page = door.get("registered-models/search", **query)
        found += [entry["name"] for entry in page["registered_models"]]
        if "next_page_token" not in page:
            break
        query["page_token"] = page["next_page_token"]
    assert found == [f"paged-{number}" for number in (4, 3, 2, 1, 0)]


def test_versions_are_found_by_run_source_number_and_tag(door: Door) -> None:
    door.model("sought", 3)
    door.ask("POST", "model-versions/set-tag", name="sought", version="2", key="good one", value="Yes")

    def numbers(text: str, **more: str) -> list[str]:
        page = door.get("model-versions/search", filter=f"name = 'sought' AND {text}", **more)
        return [entry["version"] for entry in page.get("model_versions", [])]

    assert numbers("version_number >= 2", order_by="version_number ASC") == ["2", "3"]
    assert numbers("tags.`good one` ILIKE 'yes'") == ["2"]
    assert numbers("tags.`good one` != 'x'") == ["2"]
    assert numbers("source_path = 's3://bucket/3'") == ["3"]
    assert numbers("run_id IN ('a', 'b')") == []
    assert numbers("run_id != 'x'") == []


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "name = 'a' OR name = 'b'"},
        {"filter": "nonsense"},
        {"filter": "params.x = 'y'"},
        {"max_results": "1001"},
        {"max_results": "0"},
        {"page_token": "rubbish"},
        {"order_by": "description ASC"},
        {"order_by": "name SIDEWAYS"},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(door: Door, query: dict[str, str]) -> None:
    assert door.get("registered-models/search", 400, **query)["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_token_of_another_search_is_refused(door: Door) -> None:
    for name in ("tok-a", "tok-b"):
        door.model(name)
    page = door.get("registered-models/search", max_results="1", filter="name LIKE 'tok-%'")
    door.get("registered-models/search", 400, max_results="1", page_token=page["next_page_token"])


def test_webhooks_are_kept_without_their_secret_and_changed_in_part(door: Door) -> None:
    events = [{"entity": "MODEL_VERSION", "action": "CREATED"}]
    address = "http://127.0.0.1:9/hook"
    made = door.ask("POST", "webhooks", name="hook", url=address, events=events, secret="open sesame")["webhook"]
    assert (made["status"], made["events"]) == ("ACTIVE", events)
    assert "secret" not in made
    path = f"webhooks/{made['webhook_id']}"
    changed = door.ask("PATCH", path, status="DISABLED", description="quiet")["webhook"]
    assert (changed["status"], changed["description"], changed["url"]) == ("DISABLED", "quiet", address)
    assert door.get(path)["webhook"] == changed
    assert changed in door.get("webhooks", max_results="5")["webhooks"]
    tested = door.ask("POST", f"{path}/test")["result"]
    assert tested["success"] is False
    assert "Failed to test webhook" in tested["error_message"]
    door.ask("DELETE", path)
    door.get(path, 404)


@pytest.mark.parametrize(
    "changes",
    [
        {"events": []},
        {"events": [{"entity": "MODEL_VERSION", "action": "UPDATED"}]},
        {"url": "ftp://x"},
        {"name": "a b"},
        {"status": "asleep"},
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused(door: Door, changes: Plain) -> None:
    fine = {"name": "w", "url": "https://e.org/", "events": [{"entity": "PROMPT", "action": "CREATED"}]}
    assert door.ask("POST", "webhooks", 400, **{**fine, **changes})["error_code"] == "INVALID_PARAMETER_VALUE"
