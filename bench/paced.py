"""Requests that come when they come, however slow the answers are (an open loop): what a burst is.

How late a request was sent is told apart from how long its answer took: on a busy machine the client itself is late,
and with all connections in use the server is the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

Body = Callable[[int], tuple[str, bytes]]
"""Path and body of the nth request."""


@dataclass(frozen=True)
class Told:
    """When a request was due, how late it was sent, how long it took then, its status (0: the connection broke)."""

    due: float
    late_s: float
    took_s: float
    status: int


class _Line(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, free: Callable[[_Line], None]) -> None:
        self._free = free
        self._got = b""
        self._tell: Callable[[int], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, path: str, body: bytes, tell: Callable[[int], None]) -> None:
        self._tell = tell
        head = (
            f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        )
        self._transport.write(head.encode() + b"\r\n" + body)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        if not ended or len(body) < _length(head):
            return
        self._got = b""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(int(head[9:12]))
        if b"connection: close" in head.lower():
            self._transport.close()
        else:
            self._free(self)

    def connection_lost(self, reason: Exception | None) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(0)


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


class _Pace:
    def __init__(self, address: str, body: Body, connections: int) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._body, self._most = body, connections
        self._free: list[_Line] = []
        self._open = 0
        self._waiting: deque[tuple[int, float]] = deque()
        self.told: list[Told] = []

    def due(self, number: int, at: float) -> None:
        self._waiting.append((number, at))
        if self._free:
            self._next(self._free.pop())
        elif self._open < self._most:
            self._open += 1
            asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        made = await asyncio.get_running_loop().create_connection(lambda: _Line(self._next), self._host, self._port)
        self._next(made[1])

    def _next(self, line: _Line) -> None:
        if not self._waiting or line._transport.is_closing():
            self._free += [] if line._transport.is_closing() else [line]
            return
        number, at = self._waiting.popleft()
        sent = time.perf_counter()

        def tell(status: int) -> None:
            self.told.append(Told(at, sent - at, time.perf_counter() - sent, status))
            self._open -= status == 0

        line.ask(*self._body(number), tell)


def pace(address: str, body: Body, rates: Sequence[tuple[float, float]], *, connections: int = 256) -> list[Told]:
    """Send (requests a second, for seconds) one after the other, and wait for the last answers."""
    return uvloop.run(_pace(_Pace(address, body, connections), rates))


async def _pace(made: _Pace, rates: Sequence[tuple[float, float]]) -> list[Told]:
    sent, at = 0, time.perf_counter()
    for rate, seconds in rates:
        end = at + seconds
        while at < end:
            now = time.perf_counter()
            while at <= now and at < end:
                made.due(sent, at)
                sent, at = sent + 1, at + 1.0 / rate
            await asyncio.sleep(max(0.0, min(at, end) - time.perf_counter()))
    until = time.perf_counter() + 30
    while len(made.told) < sent and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    return made.told
