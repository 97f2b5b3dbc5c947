"""The least an ASGI server can do with a POST: read the body, answer 200. What the model server is held against."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping

Message = MutableMapping[str, object]
_HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
_BODY = {"type": "http.response.body", "body": b"{}"}


async def app(
    scope: Mapping[str, object],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Mapping[str, object]], Awaitable[None]],
) -> None:
    """Read and answer."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send(_HEAD)
    await send(_BODY)
