"""Requests straight into an app, for tests that make thousands: a client of HTTP costs more than the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from litestar.types import ASGIApp

_SAFE = "/%:@!$&'()*+,;=-._~[]"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Straight:
    """Calls an app as a server does once it has read a request, on a loop of its own."""

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self._app = app
        self._base = urlsplit(base_url)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self._loop.close()

    def get(self, address: str) -> Answer:
        return self.request("GET", address)

    def request(
        self, method: str, address: str, *, content: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to one request. What may not stand in an address is quoted, as every client does."""
        path, _, query = address.partition("?")
        path = quote(path, safe=_SAFE)
        body = content.encode() if isinstance(content, str) else content
        sent = {"host": self._base.netloc, "content-length": str(len(body))}
        sent |= {name.lower(): text for name, text in (headers or {}).items()}
        scope: dict[str, object] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": self._base.scheme,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": quote(query, safe=_SAFE + "?").encode(),
            "root_path": "",
            "headers": [(name.encode(), text.encode()) for name, text in sent.items()],
            "client": ("127.0.0.1", 50_000),
            "server": (self._base.hostname, self._base.port),
            "state": {},
            "extensions": {},
        }
        return self._loop.run_until_complete(self._answered(scope, body))

    async def _answered(self, scope: dict[str, object], body: bytes) -> Answer:
        asked, told = [{"type": "http.request", "body": body, "more_body": False}], list[dict[str, Any]]()

        async def receive() -> dict[str, object]:
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        await self._app(scope, receive, send)  # type: ignore[arg-type]  # plain dicts, as servers send them
        headers = {name.decode(): text.decode() for name, text in told[0]["headers"]}
        return Answer(int(told[0]["status"]), b"".join(message.get("body", b"") for message in told[1:]), headers)
