"""One HTTP request and its reply, as the protocols of the model server see them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from mainspring.core.errors import Invalid, MainspringError, Refused
from mainspring.serving.modelserver.answering import STATUS, Call

JSON, TEXT, BYTES = b"application/json", b"text/plain; charset=utf-8", b"application/octet-stream"
_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


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
        headers: Mapping[bytes, bytes],
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
        return self._headers.get(wanted)

    def text(self, wanted: bytes) -> str:
        """The same as text, "" when there is none."""
        value = self.header(wanted)
        return "" if value is None else value.decode("latin-1")

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


class Unsupported(Refused):
    """The protocol has it, this server does not."""


def status_of(error: MainspringError) -> int:
    """The HTTP status of an error."""
    return _STATUS.get(type(error)) or STATUS.get(error.code, 500)


_STATUS: dict[type[MainspringError], int] = {WrongMedia: 415, WrongMethod: 405, Unsupported: 501}


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


def read_json(body: bytes, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Read a body. NaN and Infinity, which Python clients send although JSON has none, are let through here.

    Args:
        body: The bytes.
        decoder: Of the type that is expected.
        what: Its name, such as "an inference request".
    Raises: Invalid: Not JSON, or not that.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as reason:
        raise Invalid(f"not {what}: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as reason:
        if b"NaN" not in body and b"Infinity" not in body:
            raise Invalid(f"the body is not JSON: {reason}") from None
    try:
        return msgspec.convert(json.loads(body), decoder.type)
    except msgspec.ValidationError as reason:
        raise Invalid(f"not {what}: {reason}") from None
    except (ValueError, RecursionError) as reason:
        raise Invalid(f"the body is not JSON: {reason}") from None
