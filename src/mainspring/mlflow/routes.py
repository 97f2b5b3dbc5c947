"""The calls of the protocol as handlers of the web framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from litestar import Request, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.wiring import Wiring
from mainspring.mlflow import (
    absent,
    artifacts,
    direct,
    evaluation_sets,
    experiments,
    histories,
    identity,
    inputs,
    logged_models,
    logging,
    model_versions,
    older_traces,
    registered_models,
    runs,
    scorers,
    spans,
    traces,
    webhooks,
)
from mainspring.mlflow.calls import Call
from mainspring.mlflow.errors import told
from mainspring.mlflow.identity import VERSION
from mainspring.mlflow.wire import Message, decode, decode_query, encode

Asked = Request[object, object, State]
Connection = ASGIConnection[BaseRouteHandler, object, object, State]


@get("/version", opt={"permission": "public"}, sync_to_thread=False, media_type="text/plain", include_in_schema=False)
def version() -> str:
    """Say which release of MLflow this server speaks the protocol of."""
    return VERSION


class CallHandler(HTTPRouteHandler):
    """A handler whose guards get it itself: the framework copies it for each, a tenth of a small call."""

    async def authorize_connection(self, connection: Connection) -> None:
        """Run the guards, which only read."""
        for guard in self.resolve_guards():
            await guard(connection, self)  # type: ignore[misc]  # they are made async when they are resolved


def handler_of(made: Call) -> HTTPRouteHandler:
    """The handler that answers a call."""
    kind, services = made.parameters()
    function, waits = made.function, made.waits

    async def answer(request: Asked, wiring: Wiring) -> ASGIApp:
        given = request.path_params
        if request.method == "GET":
            read = _reader(decode_query, kind, request.query_params.multi_items(), given)
        else:
            read = _reader(decode, kind, await _body(request), given)
        try:
            if waits:
                found = await function(read(), *(wiring.get(service) for service in services))  # type: ignore[misc]
            else:
                found = await asyncio.to_thread(lambda: function(read(), *(wiring.get(kind) for kind in services)))
        except MainspringError as reason:
            raise told(reason, made.conflict) from reason
        return _answer(encode(found))

    answer.__doc__ = made.function.__doc__
    answer.__name__ = made.function.__name__
    opt = {"permission": made.permission, "reads": made.permission.endswith((":read", "public"))}
    return CallHandler(made.path, http_method=list(made.methods), opt=opt, include_in_schema=False, status_code=200)(
        answer
    )


def _answer(body: bytes) -> ASGIApp:
    """Sends `body` as it is: the framework's answer costs a sixth of a call that stores metrics."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer


def _reader(read: Callable[..., Message], *arguments: object) -> Callable[[], Message]:
    return lambda: read(*arguments)


async def _body(request: Asked) -> bytes:
    """The body, when it is said to be JSON; a body that says nothing of itself must be empty.

    Raises:
        Invalid: It is said to be something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind != "application/json" and (body or kind):
        hint = "send the header Content-Type: application/json"
        raise Invalid(f"Bad Request. Content-Type must be application/json, not {kind[:60]!r}", hint=hint)
    return body


PARTS = (
    identity,
    experiments,
    runs,
    logging,
    inputs,
    histories,
    logged_models,
    artifacts,
    direct,
    registered_models,
    model_versions,
    traces,
    older_traces,
    scorers,
    evaluation_sets,
    webhooks,
    absent,
)
"""The parts of the protocol, each with a list `calls`."""

handlers: list[BaseRouteHandler] = [
    version,
    *(handler_of(entry) for part in PARTS for entry in part.calls),
    *artifacts.handlers,
    *direct.handlers,
    *spans.handlers,
]
