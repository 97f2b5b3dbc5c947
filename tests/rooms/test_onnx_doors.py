"""Versions as ONNX from a server: by API and page, made by its worker in another process, and never in the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightgbm import LGBMClassifier
from litestar.testing import TestClient
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from tests.rooms.test_onnx_versions import frame, registered, truth

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.pipelines.worker import Worker
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Queue, Tables

ASKED = """
import json, sys
from litestar.testing import TestClient
from mainspring.pipelines.worker import Worker
from mainspring.server.app import create_app
from mainspring.server.house import open_house

house = open_house()
with TestClient(create_app(house), base_url="http://127.0.0.1:7600") as http:
    asked = http.post("/api/v1/models/m/versions/1/onnx", json={})
    assert house.get(Worker).run_one()
    became = http.get("/api/v1/models/m/versions/1/onnx").json()
    page = http.get("/models/m/1").status_code
house.close()
heavy = {"numpy", "polars", "sklearn", "skops", "scipy", "onnx", "onnxruntime", "skl2onnx", "deltalake"}
print(json.dumps([asked.status_code, became["state"], became["version"], page, sorted(heavy & set(sys.modules))]))
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wiring]:
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "default"\n')
    environ = {}
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    made = open_house(load(tmp_path, environ=environ))
    made.get(Data).ingest("flights", frame())
    yield made
    made.close()


@pytest.fixture
def client(house: Wiring) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(house, rooms=("registry",)), base_url="http://127.0.0.1:7600") as made:
        yield made


def test_a_version_is_asked_for_made_by_the_worker_and_shown(house: Wiring, client: TestClient[Any]) -> None:
    registered(house, "m", RandomForestClassifier(10, random_state=0), truth(frame()))
    place = "/api/v1/models/m/versions/1/onnx"
    assert client.get(place).status_code == 404
    assert "Keep as ONNX, too" in client.get("/models/m/1").text
    asked = client.post(place, json={})
    assert asked.status_code == 202
    assert (asked.json()["state"], asked.json()["data"], asked.json()["version"]) == (
        "queued",
        "datasets/flights/1",
        None,
    )
    page = client.post("/models/m/1/onnx", follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/models/m/1#onnx")
    assert "It is being converted" in client.get("/models/m/1").text
    assert house.get(Registry).get("m").number == 1, "the server makes nothing itself"
    assert house.get(Worker).run_one(), "in a process of its own"
    assert not house.get(Worker).run_one(), "asked twice, it is done once"
    became = client.get(place).json()
    assert (became["job"], became["state"], became["version"]) == (asked.json()["job"], "made", 2)
    made = house.get(Registry).get("m", 2)
    assert (made.flavour, made.description) == ("onnx", "models/m/1 as ONNX")
    assert 'href="/models/m/2">Version 2</a> is this one as ONNX' in client.get("/models/m/1").text
    assert "over 600 rows of datasets/flights/1" in client.get("/models/m/2").text


def test_a_version_that_says_something_else_as_onnx_is_refused_with_what_was_found(
    house: Wiring, client: TestClient[Any]
) -> None:
    registered(house, "hist", HistGradientBoostingClassifier(max_iter=5), truth(frame()))
    assert client.post("/api/v1/models/hist/versions/1/onnx", json={}).status_code == 202
    assert house.get(Worker).run_one()
    became = client.get("/api/v1/models/hist/versions/1/onnx").json()
    assert (became["state"], became["version"]) == ("refused", None)
    assert "does not answer the same as ONNX" in became["why"]
    assert "The conversion was refused: it does not answer the same as ONNX" in client.get("/models/hist/1").text
    [job] = house.get(Queue).find(queue="models")  # type: ignore[type-abstract]  # a port by its name
    assert (job.state, job.attempt) == ("finished", 1), "a refusal is no failure, and is not tried again"


def test_a_conversion_whose_process_failed_says_so_and_can_be_asked_for_again(
    house: Wiring, client: TestClient[Any]
) -> None:
    registered(house, "m", LogisticRegression(), truth(frame()))
    queue, tables = house.get(Queue), house.get(Tables)  # type: ignore[type-abstract]  # likewise
    client.post("/api/v1/models/m/versions/1/onnx", json={})
    lease = queue.lease("somebody", ["models"])
    assert lease is not None
    with tables.write() as conn:
        queue.fail(conn, lease, "the child process was killed", retry_in_s=None)
    assert client.get("/api/v1/models/m/versions/1/onnx").json()["state"] == "failed"
    assert "The conversion failed: the child process was killed" in client.get("/models/m/1").text
    assert client.post("/api/v1/models/m/versions/1/onnx", json={}).json()["state"] == "queued"


def test_what_can_not_be_converted_is_refused_before_there_is_a_job(house: Wiring, client: TestClient[Any]) -> None:
    registered(house, "trees", LGBMClassifier(n_estimators=3, verbose=-1), truth(frame()))
    registered(house, "lone", LogisticRegression(), truth(frame()), reference="")
    for name, why in (("trees", "format lightgbm is not converted"), ("lone", "no reference dataset")):
        refused = client.post(f"/api/v1/models/{name}/versions/1/onnx", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "refused")
        assert why in refused.text
    assert "As ONNX" not in client.get("/models/trees/1").text
    assert client.post("/api/v1/models/lone/versions/1/onnx", json={"dataset": "nowhere"}).status_code == 404
    assert client.post("/api/v1/models/lone/versions/1/onnx", json={"dataset": "flights"}).status_code == 202
    assert not house.get(Queue).find(queue="models")[1:]  # type: ignore[type-abstract]  # likewise


def test_the_server_loads_no_model_and_no_package_of_one_meanwhile(tmp_path: Path) -> None:
    made = open_house(load(tmp_path, environ={}))
    made.get(Data).ingest("flights", frame())
    registered(made, "m", RandomForestClassifier(10, random_state=0), truth(frame()))
    made.close()
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == [202, "made", 2, 200, []]
