"""Logged models and artifacts over the MLflow protocol, in a whole house: SQLite with files, Postgres with S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core.ids import new_id
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.testing.postgres import PostgresServer
from mainspring.testing.s3 import KEYS, S3Server

BASE = "http://127.0.0.1:7600"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
Plain = dict[str, Any]


PAIRS = ["sqlite-files", pytest.param("postgres-s3", marks=[pytest.mark.postgres, pytest.mark.s3])]


@pytest.fixture(scope="module", params=PAIRS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    """Every service, over each pair of storages in turn."""
    flags: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as environ:
        if request.param == "postgres-s3":
            for name, value in KEYS.items():
                environ.setenv(name, value)
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            s3: S3Server = request.getfixturevalue("s3_server")
            database = postgres.url(postgres.make_database())
            flags = {"storage.db": database, "storage.blobs": s3.url("mlflow-models", new_id())}
        made = open_house(load(tmp_path_factory.mktemp("house"), environ={}, flags=flags))
        yield made
        made.close()


@pytest.fixture(scope="module")
def server(house: Wiring) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(house), base_url=BASE, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def client(server: TestClient[Any]) -> TestClient[Any]:
    """Each test works in a project of its own."""
    server.headers["X-Mainspring-Project"] = f"p{new_id()}"
    return server


def ask(client: TestClient[Any], method: str, call: str, status: int = 200, /, **body: Any) -> Plain:
    """The answer to a call."""
    if method == "GET":
        answer = client.get(f"/api/2.0/mlflow/{call}", params=body)
    else:
        answer = client.request(method, f"/api/2.0/mlflow/{call}", json=body)
    assert answer.status_code == status, answer.text
    found: Plain = answer.json()
    return found


def new_run(client: TestClient[Any]) -> Plain:
    found: Plain = ask(client, "POST", "runs/create", experiment_id="0")["run"]["info"]
    return found


def new_model(client: TestClient[Any], **fields: object) -> Plain:
    found: Plain = ask(client, "POST", "logged-models", **{"experiment_id": "0", "name": "clf", **fields})["model"]
    return found


def test_a_model_goes_from_pending_to_ready_with_all_that_was_said_of_it(client: TestClient[Any]) -> None:
    run_id = new_run(client)["run_id"]
    tags, params = [{"key": "team", "value": "sea"}], [{"key": "C", "value": "1"}]
    made = new_model(client, model_type="sklearn", source_run_id=run_id, params=params, tags=tags)
    info = made["info"]
    place = f"logged-models/{info['model_id']}"
    assert info["model_id"].startswith("m-")
    assert (info["status"], info["model_type"], info["source_run_id"]) == ("LOGGED_MODEL_PENDING", "sklearn", run_id)
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/models/{info['model_id']}/artifacts"
    assert (info["tags"], made["data"]["params"]) == (tags, params)
    for status in ("LOGGED_MODEL_READY", 2):
        ready = ask(client, "PATCH", place, status=status)["model"]["info"]
        assert ready["status"] == "LOGGED_MODEL_READY"
    point = {"key": "auc", "value": 0.5, "timestamp": 7, "step": 1}
    on = {"model_id": info["model_id"], "dataset_name": "d", "dataset_digest": "9f"}
    for _ in range(2):
        ask(client, "POST", "runs/log-metric", run_id=run_id, **point, **on)
    ask(client, "POST", "runs/outputs", run_id=run_id, models=[{"model_id": info["model_id"], "step": 3}])
    assert ask(client, "GET", place)["model"]["data"]["metrics"] == [{**point, **on, "run_id": run_id}]
    outputs = ask(client, "GET", "runs/get", run_id=run_id)["run"]["outputs"]
    assert outputs == {"model_outputs": [{"model_id": info["model_id"], "step": 3}]}


def test_params_are_written_once_and_tags_change(client: TestClient[Any]) -> None:
    place = f"logged-models/{new_model(client)['info']['model_id']}"
    for _ in range(2):
        ask(client, "POST", f"{place}/params", params=[{"key": "a", "value": "1"}])
    refused = ask(client, "POST", f"{place}/params", 400, params=[{"key": "a", "value": "2"}])
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"
    for value in ("1", "2"):
        ask(client, "PATCH", f"{place}/tags", tags=[{"key": "a/b", "value": value}, {"key": "c", "value": "x"}])
    assert client.delete(f"/api/2.0/mlflow/{place}/tags/a/b").json() == {}
    assert ask(client, "GET", place)["model"]["info"]["tags"] == [{"key": "c", "value": "x"}]
    assert client.delete(f"/api/2.0/mlflow/{place}/tags/a/b").status_code == 404


def test_a_deleted_model_is_only_found_when_asked_for(client: TestClient[Any]) -> None:
    model_id = new_model(client)["info"]["model_id"]
    assert client.delete(f"/api/2.0/mlflow/logged-models/{model_id}").json() == {}
    assert ask(client, "GET", f"logged-models/{model_id}", 404)["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ask(client, "GET", f"logged-models/{model_id}", allow_deleted="true")["model"]["info"]["name"] == "clf"
    assert client.delete(f"/api/2.0/mlflow/logged-models/{model_id}").status_code == 404
    assert ask(client, "POST", "logged-models/search", experiment_ids=["0"]) == {}


def test_models_are_found_by_filter_order_and_page(client: TestClient[Any]) -> None:
    for name in ("a", "b", "c"):
        new_model(client, name=name)
    asked = {"experiment_ids": ["0"], "max_results": 2, "order_by": [{"field_name": "name", "ascending": False}]}
    first = ask(client, "POST", "logged-models/search", **asked)
    rest = ask(client, "POST", "logged-models/search", **asked, page_token=first["next_page_token"])
    assert [model["info"]["name"] for model in [*first["models"], *rest["models"]]] == ["c", "b", "a"]
    assert "next_page_token" not in rest
    (found,) = ask(client, "POST", "logged-models/search", experiment_ids=["0"], filter="name = 'b'")["models"]
    assert found["info"]["name"] == "b"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"experiment_id": "12345"}, 404),
        ({"experiment_id": "0", "name": "a/b"}, 400),
        ({"experiment_id": "0", "name": "x", "source_run_id": "f" * 32}, 404),
    ],
)
def test_a_model_that_cannot_be_is_refused(client: TestClient[Any], body: Plain, status: int) -> None:
    assert client.post("/api/2.0/mlflow/logged-models", json=body).status_code == status


def test_a_file_goes_up_and_down_through_the_proxy(client: TestClient[Any]) -> None:
    data = bytes(range(256)) * 10_000
    assert client.put(f"{PROXY}/0/a%20b/%C3%BC.bin", content=data).json() == {}
    found = client.get(f"{PROXY}/0/a b/ü.bin")
    assert found.content == data
    assert found.headers["content-disposition"] == "attachment; filename=\"_.bin\"; filename*=UTF-8''%C3%BC.bin"
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"] == "default-src 'none'; sandbox"
    listed = client.get(PROXY, params={"path": "0/a b"}).json()
    assert listed == {"files": [{"path": "ü.bin", "is_dir": False, "file_size": len(data)}]}
    assert client.get(PROXY, params={"path": "0"}).json() == {"files": [{"path": "a b", "is_dir": True}]}
    assert client.delete(f"{PROXY}/0/a b").json() == {}
    assert client.get(PROXY, params={"path": "0"}).json() == {}
    assert client.get(f"{PROXY}/0/a b/ü.bin").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=90-", 206, 90, 100),
        ("bytes=-7", 206, 93, 100),
        ("bytes=50-1000", 206, 50, 100),
        ("bytes=0-1,3-4", 200, 0, 100),
        ("lines=1-2", 200, 0, 100),
    ],
)
def test_a_range_of_a_file_is_sent(client: TestClient[Any], asked: str, status: int, start: int, stop: int) -> None:
    data = bytes(range(100))
    client.put(f"{PROXY}/a.bin", content=data)
    found = client.get(f"{PROXY}/a.bin", headers={"Range": asked})
    assert (found.status_code, found.content) == (status, data[start:stop])
    if status == 206:
        assert found.headers["content-range"] == f"bytes {start}-{stop - 1}/100"
    other = client.get(f"{PROXY}/a.bin", headers={"Range": asked, "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, data)


def test_a_range_beyond_the_end_and_a_file_that_is_known_already(client: TestClient[Any]) -> None:
    client.put(f"{PROXY}/a.bin", content=b"0123")
    beyond = client.get(f"{PROXY}/a.bin", headers={"Range": "bytes=4-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */4")
    known = client.get(f"{PROXY}/a.bin", headers={"If-None-Match": client.get(f"{PROXY}/a.bin").headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["%2e%2e/a", "a/%2e%2e/%2e%2e/b", "%2Fetc/passwd", "C:/x", "a%23b", "%252e%252e/a", "a%5Cb"]
)
def test_a_path_that_leaves_the_root_is_refused(client: TestClient[Any], path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        answer = client.request(method, f"{PROXY}/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    assert client.get(f"{PROXY}?path={path}").status_code == 400


def test_runs_and_models_list_their_files_from_their_own_root(client: TestClient[Any]) -> None:
    run, model = new_run(client), new_model(client)["info"]
    for info in (run, model):
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path in ("MLmodel", "data/x.bin"):
            client.put(f"{PROXY}/{root}/{path}", content=b"12")
    top = [{"path": "MLmodel", "is_dir": False, "file_size": 2}, {"path": "data", "is_dir": True}]
    inner = [{"path": "data/x.bin", "is_dir": False, "file_size": 2}]
    listed = ask(client, "GET", "artifacts/list", run_id=run["run_id"])
    assert listed == {"root_uri": run["artifact_uri"], "files": top}
    assert ask(client, "GET", "artifacts/list", run_id=run["run_id"], path="data")["files"] == inner
    place = f"logged-models/{model['model_id']}/artifacts/directories"
    assert ask(client, "GET", place) == {"root_uri": model["artifact_uri"], "files": top}
    assert ask(client, "GET", place, artifact_directory_path="data/")["files"] == inner
    assert ask(client, "GET", "artifacts/list", 404, run_id="f" * 32)["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ask(client, "GET", "artifacts/list", 400, run_id=run["run_id"], path="../x")


def test_what_pages_download_leaves_as_an_attachment(client: TestClient[Any]) -> None:
    run, model = new_run(client), new_model(client)["info"]
    for info in (run, model):
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        client.put(f"{PROXY}/{root}/t.html", content=b"<script>alert(1)</script>")
    for address in (
        f"/get-artifact?run_id={run['run_id']}&path=t.html",
        f"/get-artifact?run_uuid={run['run_id']}&path=t.html",
        f"/ajax-api/2.0/mlflow/logged-models/{model['model_id']}/artifacts/files?artifact_file_path=t.html",
    ):
        found = client.get(address)
        assert found.content == b"<script>alert(1)</script>"
        assert found.headers["content-type"] == "application/octet-stream"
        assert found.headers["content-disposition"].startswith("attachment;")
    assert client.get(f"/get-artifact?run_id={run['run_id']}").status_code == 400
    assert client.get(f"/get-artifact?run_id={run['run_id']}&path=../t.html").status_code == 400


def test_a_file_of_a_version_leaves_as_an_attachment(client: TestClient[Any]) -> None:
    model = new_model(client)["info"]
    root = model["artifact_uri"].removeprefix("mlflow-artifacts:/")
    client.put(f"{PROXY}/{root}/t.html", content=b"<b/>")
    ask(client, "POST", "registered-models/create", name="clf")
    source = {"source": f"models:/{model['model_id']}", "model_id": model["model_id"]}
    ask(client, "POST", "model-versions/create", name="clf", **source)
    found = client.get("/model-versions/get-artifact", params={"name": "clf", "version": "1", "path": "t.html"})
    assert (found.content, found.headers["content-type"]) == (b"<b/>", "application/octet-stream")
    for query, status in ({"path": "x"}, 404), ({"path": "../t.html"}, 400), ({"path": "t.html", "version": "2"}, 404):
        asked = {"name": "clf", "version": "1", **query}
        refused = client.get("/model-versions/get-artifact", params=asked)
        assert refused.status_code == status, refused.text


def test_a_file_of_either_door_is_the_same_file(client: TestClient[Any]) -> None:
    run = new_run(client)
    client.put(f"/api/v1/runs/{run['run_id']}/artifacts/plots/a.svg", content=b"<svg/>")
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert client.get(f"{PROXY}/{root}/plots/a.svg").content == b"<svg/>"
    client.put(f"{PROXY}/{root}/plots/b.svg", content=b"<b/>")
    assert client.get(f"/api/v1/runs/{run['run_id']}/artifacts/plots/b.svg").content == b"<b/>"
