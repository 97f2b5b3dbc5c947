"""How the demo speaks to its server: JSON over kept connections, nothing that a user could not do with curl."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from mainspring.serving.channel import Channel

CONNECTIONS = 32


class Api:
    """The API of the server. Safe to share between threads.

    Args:
        address: Such as http://127.0.0.1:7600.
        timeout_s: For a request.
    """

    def __init__(self, address: str, *, timeout_s: float = 120) -> None:
        self.address = address.rstrip("/")
        self._channel = Channel(address, timeout_s=timeout_s, retries=0)

    def get(self, path: str) -> object:
        """GET a JSON value."""
        return self.send("GET", path, None)

    def post(self, path: str, body: object) -> object:
        """POST a JSON value and return the answer's."""
        return self.send("POST", path, msgspec.json.encode(body))

    def send(self, method: str, path: str, body: bytes | None) -> object:
        """One request.

        Raises:
            MainspringError: Nobody answers, or the answer is an error; as `Channel.ask`.
        """
        headers = {"content-type": "application/json"} if body is not None else {}
        answer = self._channel.ask(method, path, body, headers)
        return msgspec.json.decode(answer.body) if answer.body else None

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def send_all(api: Api, path: str, bodies: Sequence[bytes]) -> list[object]:
    """POST many bodies over some connections at once; answers in the order of the bodies.

    Raises:
        MainspringError: One of them was not answered, or with an error.
    """
    lanes = [bodies[lane::CONNECTIONS] for lane in range(CONNECTIONS)]

    def drive(lane: Sequence[bytes]) -> list[object]:
        return [api.send("POST", path, body) for body in lane]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = list(pool.map(drive, lanes))
    return [answers[index % CONNECTIONS][index // CONNECTIONS] for index in range(len(bodies))]
