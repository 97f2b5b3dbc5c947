"""Uploads that end badly: the client hangs up, or the disk is full."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from litestar.types import HTTPScope, Message, ReceiveMessage
from tests.disks import files_up_to

from mainspring.core.errors import Invalid
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Files, Tracking

BASE = "http://127.0.0.1:7600"
MIB = 1 << 20


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    made = open_house(load(tmp_path, environ={}))
    yield made
    made.close()


@pytest.fixture
def app(house: Wiring) -> Litestar:
    return create_app(house, rooms=("tracking", "mlflow"))


@pytest.fixture
def places(house: Wiring) -> list[str]:
    """Where a file of a run is put: by our door, and by that of MLflow's clients."""
    run = house.get(Tracking).create_run("first")
    return [f"/api/v1/runs/{run.id}/artifacts/a.bin", f"/api/2.0/mlflow-artifacts/artifacts/{run.folder}a.bin"]


@pytest.fixture
def scratch(house: Wiring, tmp_path: Path) -> Iterator[Path]:
    """Nothing is left in it, and no file has a name, whatever happened."""
    yield tmp_path / ".mainspring" / "uploads"
    assert not list((tmp_path / ".mainspring" / "uploads").glob("*"))
    assert house.get(Files).below("") == []


def hang_up(app: Litestar, path: str, sent: int) -> list[Message]:
    """What is answered to a client that announces more than it sends, and goes away."""
    scope: HTTPScope = {  # type: ignore[typeddict-item]  # what a web server fills in
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:7600"), (b"content-length", str(4 * MIB - 1).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7600),
        "app": app,
        "litestar_app": app,
        "state": {},
    }
    incoming: list[ReceiveMessage] = [
        {"type": "http.request", "body": bytes(sent), "more_body": True},
        {"type": "http.disconnect"},
    ]
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> ReceiveMessage:
        return incoming.pop(0)

    asyncio.run(app(scope, receive, send))
    return told


@pytest.mark.parametrize("sent", [0, 3 * MIB])
def test_a_client_that_hangs_up_is_no_crash(
    app: Litestar, places: list[str], scratch: Path, sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    for place in places:
        told = hang_up(app, place, sent)
        assert told[0]["status"] == 400  # type: ignore[typeddict-item]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("hard", [False, True])
def test_a_client_that_hangs_up_while_the_kernel_moves_its_bytes_is_said(
    house: Wiring, scratch: Path, hard: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        client = socket.create_connection(door.getsockname())
        line, _ = door.accept()
    client.sendall(bytes(1000))
    if hard:  # a reset instead of an end, as of a client that was killed
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with line, house.get(Files).receive("a.bin") as upload, pytest.raises(Invalid, match="went away"):
        upload.drain(line.detach(), b"", 5 * MIB)


def test_an_upload_to_a_full_disk_says_so(
    app: Litestar, places: list[str], scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        with files_up_to(2 * MIB):
            own, mlflow = (client.put(place, content=bytes(5 * MIB)) for place in places)
        assert (own.status_code, own.json()["code"]) == (507, "no_room")
        assert (own.json()["what"], own.json()["hint"]) == (
            "the disk is full; nothing was stored",
            "free some space, then run it again",
        )
        assert (mlflow.status_code, mlflow.json()["error_code"]) == (507, "INTERNAL_ERROR")
        assert "the disk is full" in mlflow.json()["message"]
    assert len([record for record in caplog.records if record.msg.startswith("disk.full")]) == 2
