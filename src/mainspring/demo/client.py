"""How the demo speaks to its server: JSON over kept-alive connections, nothing that a user could not do with curl."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from mainspring.core.errors import Failed, Unavailable

CONNECTIONS = 8
IDLE_S = 2.0


class Api:
    """The API of the server. Safe to share between threads; each thread keeps a connection of its own."""

    def __init__(self, address: str, *, timeout_s: float = 120) -> None:
        self.address = address.rstrip("/")
        self._netloc = urlsplit(address).netloc
        self._timeout_s = timeout_s
        self._own = threading.local()

    def get(self, path: str) -> object:
        """GET a JSON value."""
        return self.send("GET", path, None)

    def post(self, path: str, body: object) -> object:
        """POST a JSON value and return the answer's."""
        return self.send("POST", path, json.dumps(body).encode())

    def send(self, method: str, path: str, body: bytes | None) -> object:
        """One request.

        Raises:
            Unavailable: Nobody answers.
            Failed: The answer is an error.
        """
        headers = {"content-type": "application/json"} if body is not None else {}
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as reason:
            connection.close()
            self._own.connection = None
            raise Unavailable(f"{self.address} does not answer: {reason}", where=f"{method} {path}") from None
        self._own.used = time.monotonic()
        if answer.status >= 400:
            raise Failed(f"{answer.status}: {text[:300].decode(errors='replace')}", where=f"{method} {path}")
        return json.loads(text) if text else None

    def close(self) -> None:
        """Hang up the calling thread's connection."""
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None:
            kept.close()
            self._own.connection = None

    def _connection(self) -> http.client.HTTPConnection:
        """The thread's own, or a new one when that was idle for so long that the server may have hung up."""
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None and time.monotonic() - self._own.used < IDLE_S:
            return kept
        if kept is not None:
            kept.close()
        made = http.client.HTTPConnection(self._netloc, timeout=self._timeout_s)
        self._own.connection, self._own.used = made, time.monotonic()
        return made


def send_all(api: Api, path: str, bodies: Sequence[bytes]) -> list[object]:
    """POST many bodies over a few connections at once; answers in the order of the bodies.

    Raises:
        Unavailable, Failed: One of them was not answered, or with an error.
    """
    lanes = [bodies[lane::CONNECTIONS] for lane in range(CONNECTIONS)]

    def drive(lane: Sequence[bytes]) -> list[object]:
        try:
            return [api.send("POST", path, body) for body in lane]
        finally:
            api.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = list(pool.map(drive, lanes))
    return [answers[index % CONNECTIONS][index // CONNECTIONS] for index in range(len(bodies))]
