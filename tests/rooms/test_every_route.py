"""Every route of every room, whatever is added: declared, closed to strangers, and never at a loss for an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from litestar import Litestar
from tests.straight import Straight

from mainspring.access import Access, Identity
from mainspring.access.model import ANONYMOUS, PUBLIC
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.house import open_house

BASE = "http://127.0.0.1:7600"
BODIES = [b"", b"{", b"[]", b"null", b"5", b"\xff\xfe", b'{"x": NaN}', b"[" * 3000, b'{"name": "\\u0000"}', b"{}"]
ODD = ["x", "0", "-1", "99999999999999999999", "a b", "..", "%2e%2e", "%00", "%ff", "é", "'\"", "x" * 300, "*"]
STREAM = "/api/v1/events/stream"
NO_PAGES = ("/metrics", "/api/", "/schema", "/health", "/version", "/get-artifact", "/model-versions/")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    """Every service over an empty folder."""
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(house: Wiring) -> Litestar:
    return create_app(house)


@pytest.fixture(scope="module")
def client(app: Litestar) -> Iterator[Straight]:
    with Straight(app, BASE) as made:
        yield made


def _operations(app: Litestar) -> list[tuple[str, str, str]]:
    """Method, path with its parameters, and permission of every operation but the endless stream."""
    return [
        (method, route.path, str(handler.opt["permission"]))
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in sorted(handler.http_methods - {"OPTIONS"})
        if route.path != STREAM
    ]


def _filled(path: str, value: str) -> str:
    return re.sub(r"\{[^}]*\}", value, path)


def _is_fine(status: int) -> bool:
    """Whether an answer is no failure of the server; 501 is how MLflow's protocol says that it does not do a thing."""
    return status < 500 or status == 501


def _reason(method: str, path: str, text: str) -> str:
    return f"{method} {path}: {text[:300]}"


def test_there_are_routes_of_every_room(app: Litestar) -> None:
    nouns = {path.split("/")[3] for _, path, _ in _operations(app) if path.startswith("/api/v1/")}
    assert nouns >= {"events", "audit", "datasets", "runs", "models", "gates", "deployments", "monitors", "policies"}


def test_every_write_needs_a_permission_to_write(app: Litestar) -> None:
    for method, path, permission in _operations(app):
        if method != "GET" and not path.endswith(
            ("/search", "/search-datasets", "/get-latest-versions", "/presigned-download-url", "/batchGetInfos")
        ):  # a POST that only asks
            assert permission.endswith(":write"), f"{method} {path} needs only {permission}"


@pytest.mark.parametrize("identity", [ANONYMOUS, Identity("ada", "viewer")], ids=["stranger", "viewer"])
def test_nobody_gets_in_without_the_permission(house: Wiring, identity: Identity) -> None:
    app = create_app(house, access=Access(identity))
    with Straight(app, BASE) as client:
        for method, path, permission in _operations(app):
            if permission == PUBLIC or (identity.role == "viewer" and permission.endswith(":read")):
                continue
            answer = client.request(method, _filled(path, "1"))
            assert answer.status_code == (401 if identity == ANONYMOUS else 403), _reason(method, path, answer.text)


def test_a_foreign_host_gets_nothing_from_any_route(app: Litestar, client: Straight) -> None:
    for method, path, _ in _operations(app):
        answer = client.request(method, _filled(path, "1"), headers={"Host": "rebound.example:7600"})
        assert answer.status_code == 403, _reason(method, path, answer.text)


def test_a_foreign_page_changes_nothing_through_any_route(app: Litestar, client: Straight) -> None:
    for method, path, _ in _operations(app):
        if method != "GET":
            answer = client.request(method, _filled(path, "1"), headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403, _reason(method, path, answer.text)


@pytest.mark.parametrize("body", BODIES, ids=[str(n) for n in range(len(BODIES))])
def test_no_body_makes_any_route_fail(app: Litestar, client: Straight, body: bytes) -> None:
    for method, path, _ in _operations(app):
        if method in ("POST", "PUT", "PATCH"):
            headers = {"Content-Type": "application/json"}
            answer = client.request(method, _filled(path, "1"), content=body, headers=headers)
            assert _is_fine(answer.status_code), _reason(method, path, answer.text)


@pytest.mark.parametrize("value", ODD)
def test_no_name_or_number_in_the_address_makes_any_route_fail(app: Litestar, client: Straight, value: str) -> None:
    for method, path, _ in _operations(app):
        if "{" in path:
            answer = client.request(method, _filled(path, value))
            assert _is_fine(answer.status_code), _reason(method, path, answer.text)


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "99999999999999999999", "%00", "%ff", "1e9", "'", "nan"])
def test_no_query_makes_any_route_fail(app: Litestar, client: Straight, value: str) -> None:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            names = set(handler.parsed_fn_signature.parameters) if hasattr(handler, "parsed_fn_signature") else set()
            if route.path == STREAM or "GET" not in handler.http_methods:
                continue
            for name in names - set(handler.resolve_dependencies()):
                answer = client.get(f"{_filled(route.path, '1')}?{name}={value}")
                assert _is_fine(answer.status_code), _reason("GET", f"{route.path}?{name}={value}", answer.text)


def test_every_page_of_an_empty_project_is_there_and_says_what_to_do(app: Litestar, client: Straight) -> None:
    for method, path, _ in _operations(app):
        if method == "GET" and "{" not in path and not path.startswith(NO_PAGES):
            page = client.request("GET", path, headers={"Accept": "text/html", "X-Mainspring-Project": "empty"})
            assert page.status_code == 200, _reason(method, path, page.text)
            assert "<code>" in page.text, f"{path} does not say how it is filled"
