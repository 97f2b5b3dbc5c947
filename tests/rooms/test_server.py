"""The server: one guard, one door and one error table for whatever the rooms serve."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from litestar import Litestar, get, post
from litestar.di import Provide
from litestar.exceptions import LitestarDeprecationWarning
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient

from mainspring.access import Access, Audit, EventLog, Identity
from mainspring.access.model import ANONYMOUS, PUBLIC
from mainspring.core.caller import caller
from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, MainspringError, Overloaded, Refused, error_codes
from mainspring.core.events import Fact
from mainspring.core.wiring import Wiring
from mainspring.server.app import check_routes, create_app
from mainspring.server.errors import STATUS
from mainspring.server.run import serve, take_port
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables

BASE = "http://127.0.0.1:7600"
FLOOR = ("access", "ui")
VIEWER = Identity("ada", "viewer")


@dataclass(frozen=True, kw_only=True)
class BellRung(Fact):
    kind: ClassVar[str] = "testing.bell_rung"
    loud: bool = True


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Wiring:
    """The services of the floor."""
    made = Wiring()
    journal = SqlJournal(sqlite_tables)
    audit = Audit(tables=sqlite_tables, journal=journal, clock=SystemClock(), folder=tmp_path / "audit")
    made.add(Tables, lambda _: sqlite_tables)  # type: ignore[type-abstract]
    made.add(Journal, lambda _: journal)  # type: ignore[type-abstract]
    made.add(EventLog, lambda _: EventLog(tables=sqlite_tables))
    made.add(Audit, lambda _: audit)
    return made


@pytest.fixture
def client(wiring: Wiring) -> Iterator[TestClient[Litestar]]:
    app = _app_with_bell(wiring)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as made:
        yield made


def _app_with_bell(wiring: Wiring) -> Litestar:
    app = create_app(wiring, rooms=FLOOR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        bell = copy(ring)
        bell.dependencies = {
            "journal": Provide(lambda: wiring.get(Journal), sync_to_thread=False),  # type: ignore[type-abstract]
            "tables": Provide(lambda: wiring.get(Tables), sync_to_thread=False),  # type: ignore[type-abstract]
        }
        app.register(bell)
    return app


@dataclass(frozen=True)
class Order:
    kind: str
    loud: bool = False


@post("/api/v1/testing/bell/{number:int}", opt={"permission": "bells:write"}, sync_to_thread=True)
def ring(number: int, data: Order, journal: Journal, tables: Tables) -> str:
    """A route that fails in every way there is."""
    if data.kind == "crash":
        raise RuntimeError("the clapper fell off /secret/path")
    if data.kind in error_codes():
        raise error_codes()[data.kind]("the bell is cracked", where="belfry", hint="ring another")
    with tables.write() as conn:
        journal.append(conn, BellRung(subject=f"bells/{number}", loud=data.loud))
    who = caller()
    return f"{who.actor} {who.project} {who.request_id}"


def _ring(client: TestClient[Litestar], kind: str = "", **headers: str) -> httpx.Response:
    return client.post("/api/v1/testing/bell/1", json={"kind": kind}, headers=headers)


def test_health_answers_without_a_permission(client: TestClient[Litestar]) -> None:
    assert client.get("/health").text == "OK"


def test_a_route_without_a_permission_stops_the_start() -> None:
    @get("/naked", sync_to_thread=False)
    def naked() -> None:
        return None

    with pytest.raises(MainspringError, match="/naked declares no permission"):
        check_routes(Litestar([naked], openapi_config=None))


def test_two_handlers_of_one_path_and_method_stop_the_start(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.access.routes.handlers", [ring, ring])
    with pytest.raises(MainspringError, match=r"POST /api/v1/testing/bell/\{number:int\} has two handlers"):
        create_app(wiring, rooms=FLOOR)


def test_a_public_route_besides_health_stops_the_start() -> None:
    @get("/open", sync_to_thread=False, opt={"permission": PUBLIC})
    def open_to_all() -> None:
        return None

    with pytest.raises(MainspringError, match="/open is public"):
        check_routes(Litestar([open_to_all], openapi_config=None))


@pytest.mark.parametrize(
    ("identity", "method", "status"),
    [(VIEWER, "GET", 200), (VIEWER, "POST", 403), (ANONYMOUS, "GET", 401), (ANONYMOUS, "POST", 401)],
)
def test_the_guard_asks_access(wiring: Wiring, identity: Identity, method: str, status: int) -> None:
    app = create_app(wiring, access=Access(identity), rooms=FLOOR)
    path = "/api/v1/events" if method == "GET" else "/api/v1/audit/seal"
    with TestClient(app, base_url=BASE) as client:
        assert client.request(method, path).status_code == status
        assert client.get("/health").status_code == 200


def test_every_route_is_closed_to_somebody_unknown(wiring: Wiring) -> None:
    app = create_app(wiring, access=Access(ANONYMOUS), rooms=FLOOR)
    with TestClient(app, base_url=BASE) as client:
        for method, path in _routes(app):
            if path != "/health":
                assert client.request(method, path).status_code == 401, path


def test_a_request_carries_its_caller(client: TestClient[Litestar], wiring: Wiring) -> None:
    answer = _ring(client, **{"X-Mainspring-Project": "towers"})
    actor, project, request_id = answer.text.split()
    assert (actor, project, request_id) == ("owner", "towers", answer.headers["x-request-id"])
    (event,) = wiring.get(Journal).read()  # type: ignore[type-abstract]
    assert (event.actor, event.project, event.request_id) == ("owner", "towers", request_id)


def test_a_project_that_is_no_name_is_refused(client: TestClient[Litestar]) -> None:
    assert client.get("/api/v1/events", headers={"X-Mainspring-Project": "../x"}).status_code == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7600", "127.0.0.1:1", ""])
@pytest.mark.parametrize("path", ["/", "/health", "/api/v1/events", "/nothing"])
def test_a_foreign_host_is_refused_everywhere(client: TestClient[Litestar], host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["where"] == "Host"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_changes_nothing(client: TestClient[Litestar], wiring: Wiring, headers: dict[str, str]) -> None:
    assert _ring(client, **headers).status_code == 403
    assert wiring.get(Journal).last() == 0  # type: ignore[type-abstract]


def test_our_own_page_may_change_something(client: TestClient[Litestar]) -> None:
    assert _ring(client, Origin=BASE, **{"Sec-Fetch-Site": "same-origin"}).status_code == 201


def test_no_other_origin_is_told_what_it_may_do(client: TestClient[Litestar]) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.request("OPTIONS", "/api/v1/events", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/health", "/nothing", "/api/v1/events?limit=x", "/events"])
def test_every_answer_carries_the_security_headers(client: TestClient[Litestar], path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert len(headers["x-request-id"]) == 32


def test_every_error_code_has_a_status() -> None:
    assert set(error_codes()) <= set(STATUS)


@pytest.mark.parametrize("code", sorted(error_codes()))
def test_an_error_becomes_its_status_with_its_words(client: TestClient[Litestar], code: str) -> None:
    answer = _ring(client, code)
    assert answer.status_code == STATUS[code]
    body = answer.json()
    assert (body["code"], body["what"], body["where"]) == (code, "the bell is cracked", "belfry")
    assert body["hint"] == "ring another"
    assert ("retry-after" in answer.headers) == (code == Overloaded.code)


def test_a_crash_is_logged_with_its_request_and_tells_nothing(
    client: TestClient[Litestar], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="mainspring.server.errors"):
        answer = _ring(client, "crash")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    (record,) = [r for r in caplog.records if r.name == "mainspring.server.errors"]
    assert record.__dict__["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"kind": 5}', b'{"loud": true}', b"{" * 5000, b'{"kind": NaN}'],
)
def test_a_malformed_body_is_the_clients_fault(client: TestClient[Litestar], body: bytes) -> None:
    answer = client.post("/api/v1/testing/bell/1", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid"


def test_a_body_over_the_limit_is_refused(wiring: Wiring) -> None:
    app = _app_with_bell(wiring)
    with TestClient(app, base_url=BASE) as client:
        headers = {"Content-Type": "application/json", "Content-Length": str(10**12)}
        assert client.post("/api/v1/testing/bell/1", content=b"{}", headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/events?limit=x",
        "/api/v1/events?limit=0",
        "/api/v1/events?before=99999999999999999999",
        "/api/v1/events?before=-99999999999999999999",
        "/api/v1/events?before=" + "9" * 5000,
        "/api/v1/events?kind=%00",
        "/api/v1/events?limit=1e99",
        "/events?before=x",
    ],
)
def test_a_malformed_query_is_the_clients_fault(client: TestClient[Litestar], path: str) -> None:
    assert client.get(path).status_code == 400


@pytest.mark.parametrize("number", ["x", "1.5", "99999999999999999999", "%00", "%ff", "-" + "9" * 30])
def test_a_malformed_number_in_the_path_is_the_clients_fault(client: TestClient[Litestar], number: str) -> None:
    assert client.post(f"/api/v1/testing/bell/{number}", json={"kind": ""}).status_code in (400, 404)


def test_a_wrong_method_is_said_to_be_wrong(client: TestClient[Litestar]) -> None:
    assert client.delete("/api/v1/events").json()["code"] == "method_not_allowed"


def test_people_get_a_page_and_programs_json(client: TestClient[Litestar]) -> None:
    page = client.get("/nothing", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/nothing").json()["code"] == "not_found"
    assert client.get("/api/v1/nothing", headers={"Accept": "text/html"}).json()["code"] == "not_found"


def test_an_error_page_escapes_what_it_repeats(client: TestClient[Litestar]) -> None:
    page = client.get("/files/x/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert "<script>alert" not in page.text


def test_files_may_be_kept_under_the_address_of_their_content(client: TestClient[Litestar]) -> None:
    page = client.get("/events").text
    addresses = re.findall(r'"(/files/[^"]+)"', page)
    assert len(addresses) == 3
    for address in addresses:
        assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/files/0/style.css").headers["cache-control"] == "no-cache"
    assert client.get("/files/0/pages.py").status_code == 404


def test_the_description_of_the_api_is_openapi_3_1(client: TestClient[Litestar]) -> None:
    described = client.get("/schema").json()
    assert described["openapi"].startswith("3.1")
    assert described["paths"]["/api/v1/events"]["get"]["summary"] == "Events of the project, newest first"
    assert not [path for path in described["paths"] if not path.startswith("/api/") and path != "/health"]


def test_the_events_page_shows_filters_and_pages(client: TestClient[Litestar]) -> None:
    for _ in range(3):
        _ring(client)
    assert "testing.bell_rung" in client.get("/events").text
    assert "No event matches" in client.get("/events?subject=bells/2").text
    assert client.get("/events?kind=testing.&subject=bells").text.count("bells/1</a>") == 3


def test_sealing_and_verifying_over_http(client: TestClient[Litestar]) -> None:
    _ring(client)
    assert [c["count"] for c in client.post("/api/v1/audit/seal").json()] == [1]
    assert client.get("/api/v1/audit/report").json()["faults"] == []
    assert '<td class="num">1–1</td>' in client.get("/audit").text


def _routes(app: Litestar) -> Iterator[tuple[str, str]]:
    """Every method and address, with something in the place of the parameters."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            assert isinstance(handler, HTTPRouteHandler)
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield method, re.sub(r"\{[^}]*int\}", "1", re.sub(r"\{[^}]*(str|path)\}", "x", route.path))


# A real server in a process of its own.

SERVER = """
import sys, pathlib
from mainspring.access import Audit, EventLog
from mainspring.core.clock import SystemClock
from mainspring.core.wiring import Wiring
from mainspring.server import app, run
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables
import functools
wiring = Wiring()
tables = open_tables("", pathlib.Path(sys.argv[1]))
wiring.add(Tables, lambda _: tables)
wiring.add(Journal, lambda w: SqlJournal(tables))
wiring.add(EventLog, lambda w: EventLog(tables=tables))
run.create_app = functools.partial(app.create_app, rooms=("access", "ui"))
say = lambda line: print(line, flush=True)
run.serve(wiring, port=int(sys.argv[2]), on_start=[lambda: say("started")], on_stop=[lambda: say("stopped")])
say("closed")
"""


@pytest.fixture
def server(sqlite_tables: Tables, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, with its address, once it said that it is ready."""
    command = [sys.executable, "-c", SERVER, str(tmp_path / "tables"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            address = process.stdout.readline().split()[-1]
            assert process.stdout.readline() == "ready\n"
            yield process, address
        finally:
            process.kill()


def test_a_server_stops_cleanly_on_a_signal_while_a_page_listens(
    server: tuple[subprocess.Popen[str], str], sqlite_tables: Tables
) -> None:
    process, address = server
    with httpx.stream("GET", f"{address}/api/v1/events/stream", params={"after": 0}, timeout=60) as answer:
        lines = answer.iter_lines()
        with sqlite_tables.write() as conn:
            SqlJournal(sqlite_tables).append(conn, BellRung(subject="bells/7"))
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: "))["subject"] == "bells/7"
        process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line.startswith("data: ")] == []
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest.split()) == (0, ["stopped", "closed"])


def test_a_stream_goes_on_after_the_last_event_that_was_seen(
    server: tuple[subprocess.Popen[str], str], sqlite_tables: Tables
) -> None:
    _, address = server
    with sqlite_tables.write() as conn:
        SqlJournal(sqlite_tables).append(conn, *(BellRung(subject=f"bells/{n}") for n in (1, 2, 3)))
    headers = {"Last-Event-ID": "2"}
    with httpx.stream("GET", f"{address}/api/v1/events/stream", headers=headers, timeout=60) as answer:
        seen = next(line for line in answer.iter_lines() if line.startswith("id: "))
    assert seen == "id: 3"


def test_a_port_that_is_taken_is_said_so_before_anything_starts(wiring: Wiring) -> None:
    started: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken"):
            serve(wiring, port=port, on_start=[lambda: started.append("x")])
    assert started == []


def test_listening_beyond_this_machine_is_refused(wiring: Wiring) -> None:
    with pytest.raises(Refused, match="other machines"):
        serve(wiring, host="0.0.0.0")


def test_a_taken_port_is_given_back(wiring: Wiring) -> None:
    first = take_port("127.0.0.1", 0)
    port = first.getsockname()[1]
    first.close()
    take_port("127.0.0.1", port).close()


def test_what_was_started_is_stopped_when_the_start_fails(wiring: Wiring) -> None:
    done: list[str] = []

    def fail() -> None:
        raise Overloaded("no more")

    with pytest.raises(Overloaded):
        serve(wiring, port=0, on_start=[fail], on_stop=[lambda: done.append("a"), lambda: done.append("b")])
    assert done == ["a", "b"]


def test_a_server_that_watches_nothing_starts_without_arrays_frames_and_foreign_frameworks(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mainspring.server.house import open_house\nfrom mainspring.server.app import create_app\n"
        "from mainspring.server.background import Background\n"
        "house = open_house(); create_app(house); Background(house); house.close()\n"
        "print(sorted({'numpy', 'polars', 'pydantic', 'deltalake', 'sklearn'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert out.stdout == "[]\n"
