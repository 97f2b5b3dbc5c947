"""Every route by the fuzzer: requests made from our own OpenAPI document and from the messages of MLflow's protocol.

Some fit what the document says and some do not. Whatever comes, the answer is no server error; one that refuses says
why and leaves nothing written. The requests are the same in each run; `--fuzz 200` makes
more of them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.mlflow.calls import Call
from mainspring.mlflow.routes import PARTS
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage import FILE
from mainspring.tracking import Tracking

schemathesis = pytest.importorskip("schemathesis")
requests = pytest.importorskip("requests")

BASE = "http://127.0.0.1:7600"
CALLS = [made for part in PARTS for made in part.calls]
ENDLESS = ("/api/v1/events/stream", "/api/v1/runs/{run_id}/stream")
MODES = ("positive", "negative")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[Wiring]:
    made = open_house(load(folder, environ={}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(house: Wiring) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(house), base_url=BASE, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def known(client: TestClient[Any], house: Wiring) -> dict[str, str]:
    """Names of things that are there, by what they are called in addresses and messages."""
    run = house.get(Tracking).create_run("flights", name="first").id
    assert client.post("/api/v1/models", json={"name": "churn"}).status_code == 201
    return {"run_id": run, "run_uuid": run, "experiment_id": "0", "name": "churn", "version": "1", "metric_key": "loss"}


class Watched:
    """Tells whether anything was committed to the database since it was asked last."""

    def __init__(self, file: Path) -> None:
        self._conn = sqlite3.connect(file)
        self._seen = self._version()

    def moved(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def close(self) -> None:
        self._conn.close()

    def _version(self) -> int:
        return int(self._conn.execute("pragma data_version").fetchone()[0])


@pytest.fixture
def watched(house: Wiring, folder: Path) -> Iterator[Watched]:
    made = Watched(folder / ".mainspring" / FILE)
    yield made
    made.close()


def test_what_is_written_is_seen(client: TestClient[Any], watched: Watched) -> None:
    assert client.get("/api/v1/models").status_code == 200
    assert not watched.moved()
    assert client.post("/api/v1/models", json={"name": "seen"}).status_code == 201
    assert watched.moved()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_request_to_a_route_of_ours_makes_it_fail(
    request: pytest.FixtureRequest, client: TestClient[Any], known: dict[str, str], watched: Watched, mode: str
) -> None:
    document = client.app.openapi_schema.to_schema()
    assert _faults(request, client, document, known, watched, mode) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_message_of_mlflows_protocol_makes_a_call_fail(
    request: pytest.FixtureRequest, client: TestClient[Any], known: dict[str, str], watched: Watched, mode: str
) -> None:
    assert _faults(request, client, _mlflow_document(), known, watched, mode) == []


def _faults(
    request: pytest.FixtureRequest,
    client: TestClient[Any],
    document: dict[str, object],
    known: dict[str, str],
    watched: Watched,
    mode: str,
) -> list[str]:
    """What was wrong with answers, one line for each; the first of each route."""
    kind = schemathesis.GenerationMode(mode)
    found: list[str] = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()
        if operation.path in ENDLESS or (mode == "negative" and not (operation.body or operation.query)):
            continue
        cases = _cases(operation.as_strategy(generation_mode=kind), request.config.getoption("--fuzz"))
        faults = (_fault(client, case, filled, watched) for case in cases for filled in ({}, known))
        found += [fault for fault in faults if fault][:1]
    return found


def _cases(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(case: Any) -> None:
        found.append(case)

    keep()
    return found


def _fault(client: TestClient[Any], case: Any, known: dict[str, str], watched: Watched) -> str:
    """What is wrong with the answer to a request; "" when nothing is."""
    case.path_parameters = {**case.path_parameters, **{k: v for k, v in known.items() if k in case.path_parameters}}
    for part in (case.body, case.query):
        if isinstance(part, dict):
            part.update({name: value for name, value in known.items() if isinstance(part.get(name), str)})
    made = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
    asked = {"content": made.body, "headers": dict(made.headers)}
    watched.moved()
    try:
        answer = client.request(made.method, made.url, **asked)
    except (ValueError, UnicodeError):
        return ""  # what no client can send is not sent
    what = f"{made.method} {made.url[len(BASE) :][:200]} {(made.body or b'')[:300]!r} -> {answer.status_code}"
    if answer.status_code >= 500 and '"code":"unavailable"' not in answer.text:  # as when no model server runs
        return f"{what} {answer.text[:300]}"
    if answer.status_code < 400:
        return ""
    # the server writes by itself now and then, but hardly during each of three requests
    if watched.moved() and all(
        client.request(made.method, made.url, **asked) is not None and watched.moved() for _ in range(2)
    ):
        return f"{what}, and something was written"
    try:
        said = answer.json()
    except ValueError:
        return f"{what} without a reason: {answer.text[:200]}"
    named = said.get("message") if "error_code" in said else said.get("code") and said.get("what")
    return "" if named else f"{what} without a reason: {answer.text[:200]}"


def _mlflow_document() -> dict[str, object]:
    """The calls of MLflow's protocol as an OpenAPI document: what they take, as their messages say."""
    kinds = [made.parameters()[0] for made in CALLS]
    schemas, parts = msgspec.json.schema_components(
        kinds, schema_hook=lambda kind: {"title": "anything"}, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, object]] = {}
    for made, kind, schema in zip(CALLS, kinds, schemas, strict=True):
        path = re.sub(r":\w+\}", "}", made.path)
        for method in made.methods:
            paths.setdefault(path, {})[method.lower()] = _operation(made, method, path, kind, schema)
    return {"openapi": "3.1.0", "info": {"title": "", "version": "1"}, "paths": paths, "components": {"schemas": parts}}


def _operation(made: Call, method: str, path: str, kind: type, schema: dict[str, Any]) -> dict[str, object]:
    inside = re.findall(r"\{(\w+)\}", path)
    asked: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in inside
    ]
    answers = {"200": {"description": "done"}}
    if method == "GET":
        names = [name for name in cast("Any", kind).__struct_fields__ if name not in inside]
        asked += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
        return {"parameters": asked, "responses": answers}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"parameters": asked, "requestBody": body, "responses": answers}
