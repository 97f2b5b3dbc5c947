"""Run the server: take the port before anything starts, say when it is ready, and stop cleanly on a signal."""

from __future__ import annotations

import contextlib
import errno
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from litestar import Litestar

from mainspring.access.service import check_binding
from mainspring.core.errors import Conflict, Invalid
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.straight import StraightProtocol

GRACE_S = 10
"""How long requests in flight may take after a signal."""

Hook = Callable[[], None]


def serve(
    wiring: Wiring,
    *,
    host: str = "127.0.0.1",
    port: int = 7600,
    project: str = "default",
    on_listen: Sequence[Hook] = (),
    on_start: Sequence[Hook] = (),
    on_stop: Sequence[Hook] = (),
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight and return.

    Args:
        wiring: The house; it is not closed here.
        host: A loopback address.
        port: 0 takes a free one.
        project: The project of requests that name none.
        on_listen: Called in order once the port is taken, before the app is built: what can go on beside that.
        on_start: Called in order once the app is built and before the first request is answered.
        on_stop: Called in order after the last request; each is called even when one before it fails.
        say: Gets the address and a line "ready"; standard output by default.
    Raises:
        Refused: `host` can be reached from other machines.
        Conflict: The port is taken.
    """
    check_binding(host)
    taken = take_port(host, port)
    try:
        with _signals_return() as running, contextlib.ExitStack() as stops:
            for hook in reversed(on_stop):
                stops.callback(hook)
            for hook in on_listen:
                hook()
            app = create_app(wiring, port=taken.getsockname()[1], project=project)
            for hook in on_start:
                hook()
            running()
            _Server(app, taken, say or _print).run(sockets=[taken])
    finally:
        taken.close()


def take_port(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        Conflict: Somebody else listens there.
        Invalid: There is no such address on this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host.strip("[]"), port))
        taken.listen(1024)
    except OSError as reason:
        taken.close()
        if reason.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} is taken", where=f"{host}:{port}", hint=f"mainspring up --port {port + 2}"
            ) from None
        raise Invalid(f"cannot listen on {host}:{port}: {reason.strerror}", where="server.host") from None
    return taken


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, and ends the live streams before it waits for requests to finish."""

    def __init__(self, app: Litestar, taken: socket.socket, say: Callable[[str], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=StraightProtocol,
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._app = app
        self._taken = taken
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        name, number = self._taken.getsockname()[:2]
        await super().startup(sockets)
        gc.freeze()  # what is there now stays, so that no collection in the middle of a request looks through it
        gc.enable()
        self._say(f"Mainspring is at http://{f'[{name}]' if ':' in name else name}:{number}")
        self._say("ready")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.end_streams()
        await super().shutdown(sockets)


@contextlib.contextmanager
def _signals_return() -> Iterator[Hook]:
    """Let `serve` return after a signal, also while it starts.

    Yields: To be called when the server runs: it looks after signals from then on, and when it is done it sends the one
        it got once more to whoever had it before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _leave) for number in handled}
    try:
        yield lambda: _ignore(handled)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _ignore(numbers: Sequence[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, lambda *_: None)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
