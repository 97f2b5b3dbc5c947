"""One HTTP request and its reply, as the protocols of the model server see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from mainspring.core.errors import Invalid, MainspringError
from mainspring.serving.modelserver.answering import STATUS, Call

JSON, TEXT, BYTES = b"application/json", b"text/plain; charset=utf-8", b"application/octet-stream"
_encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """Status, content type, body and further headers."""

    status: int
    kind: bytes
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class Request:
    """One request whose body is read when a protocol asks for it."""

    __slots__ = ("_headers", "_read", "call", "method", "path")

    def __init__(
        self,
        method: str,
        path: list[str],
        headers: Sequence[tuple[bytes, bytes]],
        call: Call,
        read: Callable[[], Awaitable[bytes]],
    ) -> None:
        self.method = method
        self.path = path
        self.call = call
        self._headers = headers
        self._read = read

    def header(self, wanted: bytes) -> bytes | None:
        """The value of a header, by its name in lower case."""
        for name, value in self._headers:
            if name == wanted:
                return value
        return None

    @property
    def media(self) -> str:
        """The content type without its parameters, in lower case; "" when there is none.

        Raises: Invalid: It names a charset other than UTF-8.
        """
        kind = self.header(b"content-type")
        if kind is None or kind == JSON:
            return "" if kind is None else "application/json"
        name, _, rest = kind.decode("latin-1").lower().partition(";")
        _, found, charset = rest.partition("charset=")
        if found and charset.split(";")[0].strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise Invalid(f"charset {charset[:20]!r} is not taken", hint="send UTF-8")
        return name.strip()

    async def body(self) -> bytes:
        """All of the body.

        Raises: TooLarge, Overloaded: Before it is read, where the size is known. Invalid: It is compressed.
        """
        coding = self.header(b"content-encoding")
        if coding not in (None, b"", b"identity"):
            raise WrongMedia("a compressed body is not taken", hint="send it without content-encoding")
        return await self._read()


class Dialect(Protocol):
    """A protocol spoken over HTTP, known by the first word of its paths."""

    async def answer(self, request: Request) -> Reply:
        """Answer one request. Raises: MainspringError: What `refuse` puts in the protocol's own words."""
        ...

    def refuse(self, status: int, error: MainspringError) -> Reply:
        """An error in the protocol's own shape."""
        ...


class WrongMedia(Invalid):
    """The body is of a content type that is not read here."""


class WrongMethod(Invalid):
    """Nothing at this path takes that method."""


def status_of(error: MainspringError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, WrongMedia):
        return 415
    return 405 if isinstance(error, WrongMethod) else STATUS.get(error.code, 500)


def said(error: MainspringError) -> str:
    """An error on one line."""
    return f"{error.what} ({error.hint})" if error.hint else error.what


def ok(value: object) -> Reply:
    """A JSON answer."""
    return Reply(200, JSON, _encode(value))


def in_json(status: int, value: object) -> Reply:
    """A JSON answer with another status."""
    return Reply(status, JSON, _encode(value))


def require(request: Request, *methods: str) -> None:
    """Refuse other methods.

    Raises: WrongMethod: It is another.
    """
    if request.method not in methods:
        raise WrongMethod(f"{request.method[:10]} is not taken here", hint=f"send it with {methods[0]}")


def require_json(request: Request) -> None:
    """Refuse a body that says it is something else than JSON. None is said by some clients; that is taken.

    Web pages of anywhere may send forms and plain text to a server on this machine, but not JSON: so they can't put
    predictions into the log.

    Raises: WrongMedia: It says so.
    """
    kind = request.media
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise WrongMedia(f"content type {kind[:60]!r} is not read here", hint="send application/json")
