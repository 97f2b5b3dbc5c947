"""The shortcut: calls that a training run makes many times a second are answered ahead of the framework, which costs a
third of one. Whatever is unusual about a request goes the long way, where the same call answers it alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mainspring.access import Access, Identity
from mainspring.core.errors import MainspringError
from mainspring.core.values import dataclass
from mainspring.core.wiring import Wiring
from mainspring.mlflow.calls import Call
from mainspring.mlflow.errors import told
from mainspring.mlflow.wire import Message, decode, encode
from mainspring.server.errors import Answered

_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class _Way:
    """A call, ready to be made."""

    call: Call
    kind: type[Message]
    services: tuple[type, ...]


class Shortcut:
    """Answers some calls of MLflow's protocol by itself, and has the app behind it answer everything else.

    It takes a request whose address is spelled as it is served, whose body is said to be JSON and to be so many bytes.

    Args:
        app: What is behind it.
        calls: Those that wait on the loop, by `POST` and at an address without fields.
        access: Knows who may do what; who is asking stands in the state of a request.
        wiring: Has the services.
        longest: Most bytes of a body.
        answered: How an error is answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        calls: Sequence[Call],
        *,
        access: Access,
        wiring: Wiring,
        longest: int,
        answered: Callable[[Exception], Answered],
    ) -> None:
        self._app = app
        self._ways = {one.path: _Way(one, *one.parameters()) for one in calls}
        self._access = access
        self._wiring = wiring
        self._longest = longest
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        way = self._ways.get(scope["path"])
        if way is None or scope["type"] != ScopeType.HTTP or not self._is_usual(scope):
            await self._app(scope, receive, send)
            return
        try:
            identity: Identity = scope["state"]["identity"]
            self._access.check(identity, way.call.permission)
            found = await self._run(way, await _whole(receive))
        except Exception as reason:  # noqa: BLE001  the edge of a request; what nobody expected is logged with its trace
            said = self._answered(reason)
            await _send(send, said.status, msgspec.json.encode(said.body), said.headers)
            return
        await _send(send, HTTPStatus.OK, encode(found))

    def _is_usual(self, scope: HTTPScope) -> bool:
        if scope["method"] != "POST" or scope["query_string"]:
            return False
        length = kind = b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"content-type":
                kind = value
            elif name == b"transfer-encoding":
                return False
        return kind == b"application/json" and length.isdigit() and int(length[:18]) <= self._longest

    async def _run(self, way: _Way, body: bytes) -> object:
        services: list[object] = [self._wiring.get(service) for service in way.services]
        try:
            return await way.call.function(decode(way.kind, body), *services)  # type: ignore[misc]  # it waits
        except MainspringError as reason:
            raise told(reason, way.call.conflict) from reason


async def _whole(receive: Receive) -> bytes:
    """The body; half of one is refused by who receives it."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(pieces)
        pieces.append(message["body"])
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _send(send: Send, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in (more or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
