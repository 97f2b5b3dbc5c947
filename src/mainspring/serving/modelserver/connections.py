"""Connections: HTTP/1.1 as model servers need it, how many there may be, how long one may take to send or to read.

A client that is slow costs a place, not a thread. When all places are taken, a new client gets that of the one that has
been sending its request the longest, then of the one that has been idle the longest; it is refused when all the others
wait for answers. So neither a flood of connections nor one of half requests keeps the rest away.

The protocol is spoken here, over the parser of httptools, since a general server costs more than all else that is done
for a small prediction.
"""

from __future__ import annotations

import asyncio
import re
import resource
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools
import msgspec

from mainspring.serving.modelserver.batching import HungUp, Line
from mainspring.serving.modelserver.exchange import Reply

if TYPE_CHECKING:
    from mainspring.serving.modelserver.plan import Limits

_SLOW_S = 1.0
"""A request that is longer than this on its way may lose its place to a new client."""
_KEEP_S = 75.0
_SWEEP_S = 0.25
_SPARE_FILES = 128
_MAX_HEAD_BYTES = 64 * 1024
_HELD_BYTES = 64 * 1024
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
Answer = Callable[["Message", Line], Awaitable[Reply | None]]


class Crowd:
    """All connections of a worker, by what they do. Times are those of the loop.

    Args:
        limits: `max_connections`, `read_s`, `write_s` and `min_bytes_s` count here.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.places = _places(limits.max_connections)
        self.connections: set[Connection] = set()
        self.sending: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self.stuck: dict[Connection, float] = {}
        self.refused = 0
        self.ended = 0
        self.date = _date()

    def enter(self, new: Connection, now: float) -> None:
        """A client came; make room for it, or refuse it."""
        self.connections.add(new)
        if len(self.connections) > self.places and not self._make_room(now):
            self.refused += 1
            new.line.refused = True
            if len(self.connections) > 2 * self.places:
                new.abort()
        self.sending[new] = now

    def _make_room(self, now: float) -> bool:
        slow = next((other for other, since in self.sending.items() if now - since > _SLOW_S), None)
        last = slow or next(iter(self.idle), None) or next(iter(self.sending), None)
        if last is None:
            return False
        self.leave(last)
        self.ended += 1
        last.abort()
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
        self.date = _date()
        for slow in [c for c, since in self.sending.items() if now > since + c.may_take_s(limits)]:
            self.ended += 1
            slow.refuse(408, f"the request did not come within {limits.read_s:g} s")
        for stuck in [c for c, since in self.stuck.items() if now > since + limits.write_s]:
            self.ended += 1
            stuck.abort()
        for idle in [c for c, since in self.idle.items() if now > since + _KEEP_S]:
            idle.finish()

    async def close(self, within_s: float) -> None:
        """Let every client have the answer it waits for, and no further one."""
        for connection in list(self.connections):
            connection.finish()
        until = asyncio.get_running_loop().time() + within_s
        while self.connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


class Message:
    """One request on its way in: its head, and its body in parts."""

    __slots__ = ("_connection", "_more", "gone", "headers", "keep_alive", "method", "parts", "target", "whole")

    def __init__(self, connection: Connection | None, method: str, target: bytes, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.keep_alive = True
        self.parts: list[bytes] = []
        self.whole = False
        self.gone = False
        self._connection = connection
        self._more: asyncio.Future[None] | None = None

    async def part(self) -> bytes:
        """What came of the body since the last call; wait for some if nothing did and more is to come.

        Raises: HungUp: The client went away.
        """
        while not self.parts and not self.whole and not self.gone:
            if self._connection is not None:
                self._connection.read_on()
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        if self.gone:
            raise HungUp
        found = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = []
        return found

    def came(self) -> None:
        """Tell who waits that there is more, or that there will be no more."""
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


class Connection(asyncio.Protocol):
    """One connection of a client, known to the `Crowd`. Requests are answered one after another.

    Args:
        answer: Makes a reply of a message; None hangs up.
        crowd: Where it is known.
    """

    def __init__(self, answer: Answer, crowd: Crowd) -> None:
        self.line = Line()
        self._answer = answer
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport = cast(asyncio.Transport, None)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_head = self._in_message = False
        self._received = 0
        self._coming: Message | None = None
        self._waiting: deque[Message] = deque()
        self._now: Message | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = self._paused = self._held = False
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._crowd.enter(self, self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """The client hung up, or was made to."""
        self.line.gone = True
        self._crowd.leave(self)
        self._waiting.clear()
        for message in (self._coming, self._now):
            if message is not None:
                message.gone = True
                message.came()

    def data_received(self, data: bytes) -> None:
        """Bytes came; a head is read up to its limit."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last = True  # another protocol was offered: this one answers, and what follows is not read
        except httptools.HttpParserError:
            self._in_message = True
            self.refuse(400, "what came is no HTTP/1.1 request")
            return
        if self._in_message:
            self._not_yet_whole(len(data))

    def _not_yet_whole(self, size: int) -> None:
        if self not in self._crowd.sending:
            self._crowd.idle.pop(self, None)
            self._crowd.sending[self] = self._loop.time()
        coming = self._coming
        if self._in_head:
            self._received += size
            if self._received > _MAX_HEAD_BYTES:
                self.refuse(431, f"the headers are over {_MAX_HEAD_BYTES} bytes")
        elif coming is not None and (self._now is not coming or sum(map(len, coming.parts)) > _HELD_BYTES):
            self._hold()
        self._next()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = self._in_message = True
        self._target = b""
        self._headers = {}
        self._received = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target of the request."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what follows a body is not read."""
        if self._in_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._in_head = False
        self._received = 0
        parser, headers = self._parser, self._headers
        message = self._coming = Message(self, parser.get_method().decode("ascii"), self._target, headers)
        if not parser.should_keep_alive() or (b"connection" in headers and parser.get_http_version() == "1.0"):
            message.keep_alive = False
        self._waiting.append(message)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._received += len(body)
        message = self._coming
        if message is not None:
            message.parts.append(body)
            message.came()

    def on_message_complete(self) -> None:
        """A request is whole: from now on the client waits, not we."""
        self._in_message = False
        self._crowd.sending.pop(self, None)
        self._crowd.idle.pop(self, None)
        message, self._coming = self._coming, None
        if message is not None:
            message.whole = True
            message.came()
        self._next()
        if self._waiting:
            self._hold()

    def _next(self) -> None:
        """Answer the next request, if the one before is answered and the client reads what it is sent."""
        if self._now is not None or self._paused or not self._waiting:
            return
        self._now = self._waiting.popleft()
        self._started = False
        self._task = self._loop.create_task(self._serve(self._now))

    async def _serve(self, message: Message) -> None:
        reply = await self._answer(message, self.line)
        if reply is None or self.line.gone:
            self.abort()
            return
        self._write(message, reply)
        self._now = None
        if self._transport.is_closing():
            return
        if not self._waiting:
            self.read_on()
            if not self._in_message:
                self._crowd.idle[self] = self._loop.time()
        self._next()

    def _write(self, message: Message, reply: Reply) -> None:
        status, kind, body, more = reply
        parts = [_LINES[status], self._crowd.date, b"content-type: ", kind, b"\r\ncontent-length: %d\r\n" % len(body)]
        for name, value in more:
            parts += (name, b": ", _CONTROL.sub(b"?", value), b"\r\n")
            if name == b"connection":
                message.keep_alive = False
        last = self._last or not message.keep_alive or not message.whole
        if last and (b"connection", b"close") not in more:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if message.method != "HEAD":
            parts.append(body)
        self._started = True
        self._transport.write(b"".join(parts))
        if last:
            self._waiting.clear()
            self._transport.close()

    def read_on(self) -> None:
        """Take further bytes; a client that waits for a word before it sends a body gets it."""
        now = self._now
        if now is not None and not now.whole and now.headers.pop(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._held:
            self._held = False
            self._transport.resume_reading()

    def _hold(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        self._paused = True
        self._crowd.stuck[self] = self._loop.time()

    def resume_writing(self) -> None:
        """It reads on."""
        self._paused = False
        self._crowd.stuck.pop(self, None)
        self._next()

    def may_take_s(self, limits: Limits) -> float:
        """How long the request that is coming may take, by what came of its body."""
        return limits.read_s + (0 if self._in_head else self._received / limits.min_bytes_s)

    def refuse(self, status: int, why: str) -> None:
        """Answer a request that will not be read to its end, and hang up."""
        if self._transport.is_closing():
            return
        if self._in_message and (self._now is None or self._now is self._coming):
            body = msgspec.json.encode({"error": why})
            message = Message(None, "", b"", {})
            self._write(message, Reply(status, b"application/json", body))
        self._transport.close()

    def finish(self) -> None:
        """Hang up once what the client waits for is answered."""
        self._last = True
        if self._now is None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()


def _date() -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode()


def _places(wanted: int) -> int:
    """As many connections as are wanted and files may be open; the limit of open files is raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(16, min(wanted, soft - _SPARE_FILES)) if soft != resource.RLIM_INFINITY else wanted
