"""The shortcut for calls that come often answers like the framework behind it, and leaves to that what is unusual."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send
from tests.straight import Answer, Straight

from mainspring.access import Access
from mainspring.access.model import ANONYMOUS
from mainspring.access.rules import own_hosts
from mainspring.core.errors import NoRoom, Overloaded
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.mlflow import logging
from mainspring.server.app import create_app
from mainspring.server.door import Door
from mainspring.server.errors import answered
from mainspring.server.house import open_house
from mainspring.server.shortcut import Shortcut
from mainspring.tracking import Tracking
from mainspring.tracking.lifecycle import Runs

BASE = "/api/2.0/mlflow/runs"
SHORT, LONG = "application/json", "application/json; charset=utf-8"
POINT = '{"key": "loss", "value": 0.5, "timestamp": 1, "step": 3}'
BODIES = [
    "",
    "{}",
    "[]",
    "{",
    "\x00",
    '{"run_id": "RUN"}',
    f'{{"run_id": "RUN", "metrics": [{POINT}]}}',
    f'{{"run_id": "RUN", "metrics": [{POINT}, {POINT}], "params": [{{"key": "p", "value": "1"}}]}}',
    '{"run_id": "RUN", "params": [{"key": "p", "value": "1"}, {"key": "p", "value": "2"}]}',
    '{"run_id": "RUN", "params": [{"key": "p", "value": "another"}]}',
    '{"run_id": "RUN", "tags": [{"key": "mlflow.runName", "value": "named"}], "unknown": {"a": 1}}',
    '{"runId": "RUN", "metrics": [{"key": "x", "value": "NaN", "timestamp": 1, "modelId": "m-1"}]}',
    '{"run_uuid": "RUN", "key": "k", "value": "1", "timestamp": 5}',
    '{"run_id": "RUN", "runId": "RUN"}',
    '{"run_id": "RUN", "key": "k", "value": 2, "timestamp": 5, "step": null}',
    '{"run_id": "RUN", "key": "a\\u0000b", "value": "1", "timestamp": 5}',
    '{"run_id": "RUN", "key": "../k", "value": "1", "timestamp": -5}',
    '{"run_id": "0123", "key": "k", "value": "1", "timestamp": 5}',
    '{"run_id": "DELETED", "key": "k", "value": "1", "timestamp": 5}',
    f'{{"run_id": "RUN", "metrics": [{", ".join([POINT] * 1001)}]}}',
    "[" * 100_000,
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    house = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    yield house
    house.close()


@pytest.fixture(scope="module")
def client(house: Wiring) -> Iterator[Straight]:
    with Straight(create_app(house), "http://127.0.0.1:7600") as made:
        yield made


@pytest.fixture(scope="module")
def ids(house: Wiring) -> dict[str, str]:
    tracking = house.get(Tracking)
    made = {name: tracking.create_run("flights").id for name in ("RUN", "DELETED")}
    house.get(Runs).delete(made["DELETED"])
    return made


def asked(client: Straight, call: str, body: str, kind: str) -> Answer:
    return client.request("POST", f"{BASE}/{call}", content=body, headers={"content-type": kind})


def told(found: Answer) -> tuple[int, object, dict[str, str]]:
    return found.status_code, found.json(), {k: v for k, v in found.headers.items() if k != "x-request-id"}


@pytest.mark.parametrize("call", [one.path.rpartition("/")[2] for one in logging.calls])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_whatever_is_sent_is_answered_as_by_the_framework(
    client: Straight, ids: dict[str, str], call: str, body: str
) -> None:
    for name, run_id in ids.items():
        body = body.replace(name, run_id)
    assert told(asked(client, call, body, SHORT)) == told(asked(client, call, body, LONG))
    assert client.get(f"{BASE}/get?run_id={ids['RUN']}").status_code == 200


class Behind:
    """What is behind the shortcut: notes the addresses it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def short(house: Wiring, behind: Behind) -> Iterator[Straight]:
    access = Access()
    made = Shortcut(behind, logging.calls, access=access, wiring=house, longest=1000, answered=answered)
    with Straight(Door(made, access=access, hosts=own_hosts(7600), project="default"), "http://127.0.0.1:7600") as one:
        yield one


@pytest.mark.parametrize("base", [BASE, "/ajax-api/2.0/mlflow/runs", "/api/3.0/mlflow/runs"])
def test_a_usual_request_never_reaches_the_framework(
    short: Straight, behind: Behind, ids: dict[str, str], base: str
) -> None:
    body = json.dumps({"run_id": ids["RUN"], "metrics": [{"key": "a", "value": 1, "timestamp": 2}]})
    found = short.request("POST", f"{base}/log-batch", content=body, headers={"content-type": SHORT})
    assert (found.status_code, found.json(), behind.asked) == (200, {}, [])


@pytest.mark.parametrize(
    ("method", "address", "more"),
    [
        ("GET", "log-batch", {}),
        ("PUT", "log-batch", {}),
        ("POST", "log-batch?run_id=x", {}),
        ("POST", "log-batch/", {}),
        ("POST", "get", {}),
        ("POST", "log-batch", {"content-type": LONG}),
        ("POST", "log-batch", {"content-type": "text/plain"}),
        ("POST", "log-batch", {"content-length": "1001"}),
        ("POST", "log-batch", {"content-length": "-1"}),
        ("POST", "log-batch", {"transfer-encoding": "chunked"}),
    ],
)
def test_an_unusual_request_goes_to_the_framework(
    short: Straight, behind: Behind, method: str, address: str, more: dict[str, str]
) -> None:
    found = short.request(method, f"{BASE}/{address}", content="{}", headers={"content-type": SHORT, **more})
    assert (found.status_code, len(behind.asked)) == (299, 1)


@pytest.mark.parametrize("kind", [SHORT, LONG])
def test_who_may_not_write_is_refused(house: Wiring, ids: dict[str, str], kind: str) -> None:
    with Straight(create_app(house, access=Access(ANONYMOUS)), "http://127.0.0.1:7600") as client:
        found = asked(client, "set-tag", json.dumps({"run_id": ids["RUN"], "key": "k", "value": "v"}), kind)
    assert (found.status_code, found.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("reason", "status"), [(Overloaded("too many wait"), 503), (NoRoom("the disk is full"), 507), (KeyError("x"), 500)]
)
def test_what_the_server_has_to_say_is_said_alike(
    client: Straight, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch, reason: Exception, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise reason

    monkeypatch.setattr(Tracking, "submit_rows", fail)
    body = json.dumps({"run_id": ids["RUN"], "key": "k", "value": "v"})
    found = [asked(client, "set-tag", body, kind) for kind in (SHORT, LONG)]
    assert [one.status_code for one in found] == [status, status]
    assert len({re.sub(r"request [0-9a-f]+", "request", one.text) for one in found}) == 1
    assert [one.headers.get("retry-after") for one in found] == (["1", "1"] if status == 503 else [None, None])


def test_half_a_body_is_the_clients_fault(house: Wiring) -> None:
    told: list[Any] = []

    async def receive() -> Any:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        told.append(message)

    arriving = [{"type": "http.request", "body": b'{"run_id"', "more_body": True}, {"type": "http.disconnect"}]
    headers = [(b"host", b"127.0.0.1:7600"), (b"content-type", b"application/json"), (b"content-length", b"50")]
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": f"{BASE}/log-batch",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 5),
    }
    asyncio.run(create_app(house)(scope, receive, send))
    assert told[0]["status"] == 400
    assert "the client went away" in json.loads(told[1]["body"])["message"]
