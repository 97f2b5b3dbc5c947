"""One connection to a server that speaks HTTP/1.1: a request goes out in one piece, its answer is read by httptools.

The standard library reads the head of an answer with its parser of e-mail, which costs a client several times what the
request itself does (`bench/RESULTS.md`).
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple

import httptools

from mainspring.core.errors import Invalid

_BLOCK = 1 << 16
_LINE = re.compile(r"[\t\x20-\x7e\x80-\xff]+")


class Answer(NamedTuple):
    """What came back for a request that was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Broken(Exception):
    """The connection ended within an answer, or what came is not HTTP."""


class Wire:
    """A connection. Used by one thread at a time.

    Args:
        host: Name or address.
        port: Of the server.
        encrypted: Speak TLS, with the certificate checked.
        timeout_s: To connect.
    Raises:
        OSError: It can't be reached.
    """

    def __init__(self, host: str, port: int, *, encrypted: bool, timeout_s: float) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._host += "" if port == (443 if encrypted else 80) else f":{port}"
        line = socket.create_connection((host, port), timeout_s)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = ssl.create_default_context().wrap_socket(line, server_hostname=host) if encrypted else line
        self.is_usable = True

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float) -> Answer:
        """One request and its answer.

        Args:
            method: Such as POST.
            path: With its query, quoted.
            body: None for none.
            headers: Beside host and content-length.
            deadline: On the monotonic clock, seconds.
        Raises:
            Invalid: A line of the head would not be one line of HTTP.
            TimeoutError: It was not answered by then.
            Broken: The answer is not whole, or no HTTP.
            OSError: The connection was lost.
        """
        self.is_usable = False  # until the answer is whole
        head = [f"{method} {path} HTTP/1.1", f"host: {self._host}", *(f"{k}: {v}" for k, v in headers.items())]
        if body is not None or method == "POST":
            head.append(f"content-length: {len(body or b'')}")
        if not all(map(_LINE.fullmatch, head)):
            raise Invalid(f"can't be the head of a request: {head!r:.200}", hint="send printable text of Latin-1")
        self._limit(deadline)
        self._line.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + (body or b""))
        reading = _Reading()
        parser = reading.parser = httptools.HttpResponseParser(reading)
        while not reading.is_whole:
            self._limit(deadline)
            data = self._line.recv(_BLOCK)
            if not data and reading.is_headed and reading.ends_with_connection:
                return reading.answer()
            if not data:
                raise Broken("the connection ended before the answer did")
            try:
                parser.feed_data(data)
            except httptools.HttpParserError as reason:
                raise Broken(f"the answer is no HTTP: {reason}") from None
        self.is_usable = reading.is_kept
        return reading.answer()

    def is_quiet(self) -> bool:
        """Nothing came without a question: if something did, the server has hung up."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _limit(self, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._line.settimeout(left_s)


class _Reading:
    """What the parser told of an answer so far; the names of the methods are its own."""

    parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self.is_whole = self.is_headed = self.is_kept = False
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    @property
    def ends_with_connection(self) -> bool:
        """Neither a length nor chunks: the end of the connection is the end of the body."""
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def answer(self) -> Answer:
        """Status, headers and body."""
        return Answer(self.parser.get_status_code(), self._headers, b"".join(self._parts))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All of them."""
        self.is_headed = True

    def on_body(self, part: bytes) -> None:
        """A piece of the body."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """The end, but of what comes before the answer itself (100 to 199)."""
        if self.parser.get_status_code() < 200:
            self._headers, self.is_headed = {}, False
            return
        self.is_whole, self.is_kept = True, self.parser.should_keep_alive()
