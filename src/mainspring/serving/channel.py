"""Requests to a model server over kept connections: one deadline, and repeated only where nothing was done before."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from mainspring.core.errors import (
    Failed,
    Invalid,
    MainspringError,
    NotFound,
    Overloaded,
    Refused,
    Timeout,
    TooLarge,
    Unavailable,
)
from mainspring.serving.wire import Answer, Broken, Wire

ERRORS: dict[int, type[MainspringError]] = {
    400: Invalid,
    404: NotFound,
    405: Invalid,
    408: Timeout,
    413: TooLarge,
    415: Invalid,
    422: Refused,
    429: Overloaded,
    501: Refused,
    503: Unavailable,
    504: Timeout,
}
"""The error that a status of the model server stands for; `Failed` for what is not here."""
_COME_AGAIN = (429, 503)
"""The server says so before anything is done, or after it was undone: the same request may be sent again."""
_FIRST_PAUSE_S = 0.05
_MAX_KEPT = 32


class Channel:
    """Connections to one server, each used by one request at a time and then kept. Safe to share between threads.

    Args:
        url: Such as http://127.0.0.1:7601.
        timeout_s: For a request with all its repetitions, connecting and waiting included.
        retries: How often a request is sent again that the server refused, or that could not be sent.
    """

    def __init__(self, url: str, *, timeout_s: float, retries: int) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise Invalid(f"{url!r} is no address of a model server", hint="http://127.0.0.1:7601")
        if not timeout_s > 0 or retries < 0:
            raise Invalid(f"timeout_s {timeout_s} or retries {retries}", hint="more than 0 s, and 0 retries or more")
        self._encrypted = parts.scheme == "https"
        self._address = (parts.hostname, port or (443 if self._encrypted else 80))
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._retries = retries
        self._kept: list[Wire] = []
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request.

        Raises:
            Timeout: No answer in time. Unavailable: The server can't be reached, or went away without an answer.
            MainspringError: The error that the server answered, see `ERRORS`.
        """
        deadline = time.monotonic() + (timeout_s or self._timeout_s)
        pause_s = _FIRST_PAUSE_S
        for left in range(self._retries, -1, -1):
            try:
                answer = self._once(method, path, body, headers or {}, deadline)
            except _NotSent as reason:
                if not left or time.monotonic() + pause_s > deadline:
                    raise Unavailable(f"can't be reached: {reason}", where=self._where(path), hint=_START) from None
            else:
                if answer.status < 400:
                    return answer
                pause_s = max(pause_s, _seconds(answer.headers.get("retry-after", "")))
                if answer.status not in _COME_AGAIN or not left or time.monotonic() + pause_s > deadline:
                    what, hint = _parted(_told(answer))
                    raise ERRORS.get(answer.status, Failed)(what, where=path, hint=hint)
            time.sleep(pause_s)
            pause_s *= 2
        raise Timeout("no answer in time", where=path)

    def close(self) -> None:
        """Let all connections go."""
        with self._lock:
            kept, self._kept = self._kept, []
        for line in kept:
            line.close()

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float) -> Answer:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Timeout("no answer in time", where=path)
        line = self._line(left_s)
        told = {**headers, "request-timeout": f"{min(left_s, 3600):.3f}"}
        try:
            return line.ask(method, self._prefix + path, body, told, deadline)
        except TimeoutError:
            raise Timeout("no answer in time", where=path) from None
        except (OSError, Broken) as reason:
            hint = "" if method == "GET" else "it may be in the log: look for its id before you send it again"
            raise Unavailable(f"no answer: {reason!r}", where=self._where(path), hint=hint) from None
        finally:
            self._keep(line)

    def _line(self, left_s: float) -> Wire:
        """A kept connection that the server has not closed meanwhile, else a new one."""
        while True:
            with self._lock:
                line = self._kept.pop() if self._kept else None
            if line is None:
                break
            if line.is_quiet():
                return line
            line.close()  # it was closed at the other end, and nothing was sent on it
        try:
            return Wire(*self._address, encrypted=self._encrypted, timeout_s=left_s)
        except OSError as reason:
            raise _NotSent(repr(reason)) from None

    def _keep(self, line: Wire) -> None:
        with self._lock:
            if line.is_usable and len(self._kept) < _MAX_KEPT:
                self._kept.append(line)
                return
        line.close()

    def _where(self, path: str) -> str:
        host, port = self._address
        return f"{host}:{port}{self._prefix}{path}"


_START = "mainspring up"


class _NotSent(Exception):
    """No connection could be made, so nothing was sent."""


def _seconds(text: str) -> float:
    return min(60.0, float(text)) if text.isdigit() else 0.0


def _told(answer: Answer) -> str:
    """What the server says of an error, in the words of any of its protocols."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if isinstance(found, dict) and (text := found.get("error") or found.get("message")):
        return str(text)
    return f"status {answer.status}: {answer.body[:200].decode(errors='replace')}"


def _parted(text: str) -> tuple[str, str]:
    """What was found, and the hint that a model server writes behind it in parentheses, since protocols have one text.

    >>> _parted("input 'far (km)' is missing (send it as a number (float64))")
    ("input 'far (km)' is missing", 'send it as a number (float64)')
    >>> _parted("out of memory")
    ('out of memory', '')
    """
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if depth <= 0:
            return (text[: at - 1], text[at + 1 : -1]) if text.endswith(")") and text[at - 1] == " " else (text, "")
    return text, ""
