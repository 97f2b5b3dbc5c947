"""The door: what every request passes before the app looks at it, and what every answer carries."""

from __future__ import annotations

import json
from collections.abc import Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from mainspring.access import Access
from mainspring.access.rules import host_is_own, origin_is_own
from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Forbidden, Invalid, MainspringError
from mainspring.core.ids import check_name, new_id
from mainspring.mlflow.errors import answer_of
from mainspring.mlflow.identity import refuse_workspace
from mainspring.mlflow.spelling import is_own, served
from mainspring.server.errors import STATUS, MethodNotAllowed, error_body

PROJECT_HEADER = "x-mainspring-project"

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer. No CORS header is ever sent, so no other origin can read one."""
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Door:
    """Lets in requests that name this server and, when they change something, come from a program or our own pages.

    It also says on whose behalf, for which project and under which request id everything behind it happens.

    Args:
        app: What is behind the door.
        access: Knows who is asking.
        hosts: The `Host` values under which the server knows itself.
        project: The project of a request that names none.
    """

    def __init__(self, app: ASGIApp, *, access: Access, hosts: frozenset[str], project: str) -> None:
        self._app = app
        self._access = access
        self._hosts = hosts
        self._project = project

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            return  # no websockets here; the connection is closed
        scope["path"] = served(scope["path"])
        request_id = new_id()
        headers = _headers(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                own = [pair for pair in _RAW_HEADERS if pair[0] not in names]
                message["headers"] = [*given, *own, (b"x-request-id", request_id.encode())]
            await send(message)

        arrived = not ("content-length" in headers or "transfer-encoding" in headers)

        async def receive_whole() -> ReceiveMessage:
            """Messages of the request; half a body is the client's fault, which the framework takes for its own."""
            nonlocal arrived
            message = await receive()
            if message["type"] == "http.request":
                arrived = not message.get("more_body", False)
            elif message["type"] == "http.disconnect" and not arrived:
                raise Invalid("the client went away", where="body", hint="send it again")
            return message

        client = scope.get("client")
        identity = self._access.identify(client[0] if client else "")
        scope.setdefault("state", {})["identity"] = identity
        with calling(Caller(identity.actor, self._project, request_id)):
            try:
                self._look_at(scope, headers)
                project = check_name(headers.get(PROJECT_HEADER, self._project), "project")
            except MainspringError as reason:
                await _refuse(reason, scope["path"], send_with_headers)
                return
            with calling(Caller(identity.actor, project, request_id)):
                await self._app(scope, receive_whole, send_with_headers)

    def _look_at(self, scope: HTTPScope, headers: Mapping[str, str]) -> None:
        if scope["method"] == "OPTIONS":
            raise MethodNotAllowed("no other origin may ask what is allowed here", where="OPTIONS")
        host = headers.get("host", "")
        if not host_is_own(host, self._hosts):
            raise Forbidden(
                f"this server is not known as {host[:100]!r}", where="Host", hint=f"ask for http://{min(self._hosts)}"
            )
        if not origin_is_own(scope["method"], headers.get("origin"), headers.get("sec-fetch-site"), self._hosts):
            raise Forbidden("another site may not change anything here", where="Origin")
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            raise Invalid("the address holds a zero byte", where="URL")
        refuse_workspace(scope["path"], headers.get("x-mlflow-workspace", ""))


def _headers(scope: HTTPScope) -> dict[str, str]:
    """The headers of a request by their names in lower case; of those that came twice the first."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(list(scope["headers"]))}


async def _refuse(reason: MainspringError, path: str, send: Send) -> None:
    told = answer_of(reason, STATUS[reason.code])[0] if is_own(path) else error_body(reason)
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": STATUS[reason.code], "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
