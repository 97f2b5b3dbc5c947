"""HTTP clients that each keep one connection and ask again as soon as they are answered (a closed loop).

They share the machine with what they measure: rates say what both reach together, CPU seconds are the server's alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop
from place import quantile

JSON = "content-type: application/json\r\n"
Ask = Callable[[int, int], tuple[str, bytes]]
"""Path and body of a client's nth request."""


@dataclass
class Answers:
    """What came back."""

    wall_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    failed: list[bytes] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.wall_s

    def ms(self, share: float) -> float:
        """Milliseconds that this share was answered within; infinite when nothing was."""
        return 1000 * quantile(self.seconds, share) if self.seconds else float("inf")


class _Client(asyncio.Protocol):
    def __init__(self, number: int, ask: Ask, until: float, found: Answers, headers: str) -> None:
        self._headers = headers
        self._number, self._ask, self._until, self._found = number, ask, until, found
        self._host = ""
        self._count, self._started, self._got = 0, 0.0, b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._host = "{}:{}".format(*transport.get_extra_info("peername"))
        self._next()

    def _next(self) -> None:
        path, body = self._ask(self._number, self._count)
        self._count += 1
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\n{self._headers}"
        self._started = time.perf_counter()
        self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        if not ended or len(body) < _length(head):
            return
        now = time.perf_counter()
        if head[9:10] == b"2":
            self._found.seconds.append(now - self._started)
        else:
            self._found.failed.append(self._got)
        self._got = b""
        if now >= self._until:
            self._transport.close()
        else:
            self._next()

    def connection_lost(self, reason: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self._found.failed.append(f"connection lost: {reason}".encode())
        if not self.over.done():
            self.over.set_result(None)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError(f"an answer of no stated length: {head[:200]!r}")


def drive(address: str, ask: Ask, *, clients: int, seconds: float, strict: bool = True, headers: str = JSON) -> Answers:
    """Ask for some seconds, and wait for the last answers. `headers` are lines of text.

    Raises:
        RuntimeError: Something was refused and `strict`: a rate with errors in it is no rate.
    """
    found = uvloop.run(_drive(address, ask, clients, seconds, headers))
    if found.failed and strict:
        raise RuntimeError(f"{len(found.failed)} requests failed, such as {found.failed[0][:300]!r}")
    return found


async def _drive(address: str, ask: Ask, clients: int, seconds: float, headers: str) -> Answers:
    found, started, parts = Answers(), time.perf_counter(), urlsplit(address)
    assert parts.hostname is not None and parts.port is not None
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(maker, parts.hostname, parts.port))[1]
        for maker in [_maker(number, ask, started + seconds, found, headers) for number in range(clients)]
    ]
    await asyncio.gather(*(client.over for client in made))
    found.wall_s = time.perf_counter() - started
    return found


def _maker(number: int, ask: Ask, until: float, found: Answers, headers: str) -> Callable[[], _Client]:
    return lambda: _Client(number, ask, until, found, headers)
