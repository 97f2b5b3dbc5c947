"""A data folder, opened, a server before it, and sessions that log into it either way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Overloaded
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.sdk import Session
from mainspring.sdk.sinks import EmbeddedSink, HttpSink
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Files, Run, Search, Tracking


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    """A data folder, opened; children of the test open the same one."""
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAINSPRING_STORAGE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    kept = dict(os.environ)
    wiring = open_house(load(flags={"storage.data": str(tmp_path / "data")}))
    yield wiring
    wiring.close()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def tracking(house: Wiring) -> Tracking:
    return house.get(Tracking)


@pytest.fixture
def files(house: Wiring) -> Files:
    return house.get(Files)


@pytest.fixture
def url(house: Wiring) -> Iterator[str]:
    """A real server over the house, on a port of its own."""
    config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    socket = config.bind_socket()
    socket.listen(128)  # so that who asks before the server's thread runs waits for it
    port = int(socket.getsockname()[1])
    app = create_app(house, port=port, rooms=("tracking", "registry"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    socket.close()


@pytest.fixture(params=["embedded", "http"])
def session(request: pytest.FixtureRequest, tracking: Tracking, files: Files, tmp_path: Path) -> Iterator[Session]:
    """A session of each kind in turn."""
    if request.param == "embedded":
        made = Session(EmbeddedSink(tracking, files), tmp_path / "spool")
    else:
        made = Session(HttpSink(request.getfixturevalue("url")), tmp_path / "spool")
    yield made
    made.close()


def only(tracking: Tracking) -> Run:
    (run,) = every_run(tracking)
    return tracking.get(run.id)


def every_run(tracking: Tracking) -> list[Run]:
    """The newest first."""
    return list(Search(tables=tracking._tables, clock=SystemClock()).runs(None).items)


def wait_until(there: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


class Slow(EmbeddedSink):
    """Takes nothing until it is let go; counts what it turned away."""

    def __init__(self, tracking: Tracking, files: Files) -> None:
        super().__init__(tracking, files)
        self.open = threading.Event()
        self.turned_away = 0

    def log(self, run_id: str, batch: bytes) -> None:
        if not self.open.is_set():
            self.turned_away += 1
            raise Overloaded("full")
        super().log(run_id, batch)
