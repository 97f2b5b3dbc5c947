"""Connections: how many there may be, how long one may take to send a request or to read its answer.

A client that is slow costs a place, not a thread. When all places are taken, a new client gets that of the one that has
been sending its request the longest, then of the one that has been idle the longest; it is refused when all the others
wait for answers. So neither a flood of connections nor one of half requests keeps the rest away.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mainspring.serving.modelserver.batching import LINE, Line

if TYPE_CHECKING:
    from uvicorn import Config

    from mainspring.serving.modelserver.plan import Limits

_SLOW_S = 1.0
"""A request that is longer than this on its way may lose its place to a new client."""
_SWEEP_S = 0.25
_SPARE_FILES = 128
_MAX_HEAD_BYTES = 64 * 1024
_REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class Crowd(ServerState):
    """All connections of a worker, by what they do. Times are those of the loop.

    Args:
        limits: `max_connections`, `read_s`, `write_s` and `min_bytes_s` count here.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.places = _places(limits.max_connections)
        self.sending: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self.stuck: dict[Connection, float] = {}
        self.refused = 0
        self.ended = 0

    def enter(self, new: Connection, now: float) -> None:
        """A client came; make room for it, or refuse it."""
        if len(self.connections) > self.places and not self._make_room(now):
            self.refused += 1
            new.line.refused = True
            if len(self.connections) > 2 * self.places:
                new.transport.abort()
        self.sending[new] = now

    def _make_room(self, now: float) -> bool:
        slow = next((other for other, since in self.sending.items() if now - since > _SLOW_S), None)
        last = slow or next(iter(self.idle), None) or next(iter(self.sending), None)
        if last is None:
            return False
        self.leave(last)
        self.ended += 1
        last.transport.abort()
        return True

    def leave(self, gone: Connection) -> None:
        """Forget a connection."""
        for group in (self.sending, self.idle, self.stuck):
            group.pop(gone, None)
        self.connections.discard(gone)

    async def sweep_on(self) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """End connections that take too long."""
        limits = self.limits
        for slow in [c for c, since in self.sending.items() if now > since + c.may_take_s(limits)]:
            self.ended += 1
            slow.refuse(408, f"the request did not come within {limits.read_s:g} s")
        for stuck in [c for c, since in self.stuck.items() if now > since + limits.write_s]:
            self.ended += 1
            stuck.transport.abort()


class Connection(HttpToolsProtocol):
    """One connection of a client, known to the `Crowd`."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object], _loop: object = None):
        super().__init__(config, server_state, app_state, cast("asyncio.AbstractEventLoop | None", _loop))
        self._crowd = cast(Crowd, server_state)
        self.line = Line()
        self._in_head = False
        self._in_message = False
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._crowd.enter(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """The client hung up, or was made to."""
        self.line.gone = True
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; a head is read up to its limit."""
        super().data_received(data)
        if self._in_head:
            self._received += len(data)
            if self._received > _MAX_HEAD_BYTES:
                self.refuse(431, f"the headers are over {_MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        cast(dict[str, object], self.scope)[LINE] = self.line
        self._in_head = self._in_message = True
        self._received = 0
        if self._crowd.idle.pop(self, None) is not None:
            self._crowd.sending[self] = self.loop.time()

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._in_head = False
        self._received = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole: from now on the client waits, not we."""
        self._in_message = False
        self._crowd.sending.pop(self, None)
        if self.cycle.response_complete:
            self._crowd.idle[self] = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written: the client may ask again, or is asking already."""
        if not self._in_message and not self.pipeline and not self.transport.is_closing():
            self._crowd.idle[self] = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        self._crowd.stuck[self] = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads on."""
        self._crowd.stuck.pop(self, None)
        super().resume_writing()

    def may_take_s(self, limits: Limits) -> float:
        """How long the request that is coming may take, by what came of its body."""
        return limits.read_s + (0 if self._in_head else self._received / limits.min_bytes_s)

    def refuse(self, status: int, why: str) -> None:
        """Answer a request that will not be read to its end, and hang up."""
        if self.transport.is_closing():
            return
        if self._in_message and not (self.cycle and self.cycle.response_started):
            body = msgspec.json.encode({"error": why})
            head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._in_message = True
        self.refuse(400, msg)


def _places(wanted: int) -> int:
    """As many connections as are wanted and files may be open; the limit of open files is raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(16, min(wanted, soft - _SPARE_FILES)) if soft != resource.RLIM_INFINITY else wanted
