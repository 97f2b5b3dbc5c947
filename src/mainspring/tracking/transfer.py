"""Files over HTTP: bodies that stream in, answers that stream out, a few mebibytes in memory however large they are.

What is sent is never shown by a browser: an attachment of no type, under a policy that lets nothing run.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import quote

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Stream

from mainspring.core.errors import Invalid, Timeout
from mainspring.tracking.files import Files
from mainspring.tracking.model import Artifact
from mainspring.tracking.uploads import SILENT_S, Upload

Ask = Request[object, object, State]
GATHERED = 2 << 20
"""How much of a body is gathered before a thread writes it, while the next part comes in."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
UNSATISFIABLE = 416
STRAIGHT = "mainspring.straight"
"""Where a server that can puts what lets a handler read a body from the socket itself."""
LARGE = 4 << 20
"""Bodies of this size and more are read that way."""


class Straight(Protocol):
    """What a server puts under `STRAIGHT`."""

    def take(self) -> tuple[bytes, int] | None:
        """What was read of the body already, and a handle of the socket to read the rest from; None when it can't."""
        ...


async def receive(request: Ask, upload: Upload) -> None:
    """Write the body of a request into an upload; the network goes on while a thread writes.

    Raises:
        Invalid: The client went away before the end.
        NoRoom: The disk is full.
        TooLarge: More than a file may have.
        Timeout: Nothing came for too long.
    """
    length = announced(request)
    straight = cast("Straight | None", (request.scope.get("extensions") or {}).get(STRAIGHT))
    if straight is not None and length >= LARGE and (taken := straight.take()) is not None:
        early, handle = taken
        await asyncio.to_thread(upload.drain, handle, early, length)
        return
    gathered, size = list[bytes](), 0
    writing: asyncio.Task[None] | None = None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SILENT_S) as patience:
            async for piece in request.stream():
                gathered.append(piece)
                size += len(piece)
                if size >= GATHERED:
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(asyncio.to_thread(upload.write, b"".join(gathered)))
                    gathered, size = [], 0
                    patience.reschedule(loop.time() + SILENT_S)
    except TimeoutError:
        raise Timeout(
            f"less than {GATHERED} bytes came in {SILENT_S:.0f} s", where="body", hint="send it again"
        ) from None
    finally:
        if writing is not None:
            await writing
    if gathered:
        await asyncio.to_thread(upload.write, b"".join(gathered))


def announced(request: Ask) -> int:
    """The bytes that a request says its body has, 0 when it does not say."""
    text = request.headers.get("content-length", "")
    return int(text[:18]) if text.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Part:
    """What a `Content-Range` says: from `start` to `stop` (exclusive) of `total`; no bytes: `start` is None."""

    start: int | None
    stop: int
    total: int


def part_of(text: str) -> Part:
    """Read a `Content-Range` of a request.

    Raises:
        Invalid: It is none.

    >>> part_of("bytes 5-9/10").stop, part_of("bytes */10").start
    (10, None)
    """
    found = _CONTENT_RANGE.fullmatch(text)
    if found is None:
        raise Invalid(f"{text[:60]!r} is no range", where="Content-Range", hint="bytes 0-99/100, or bytes */100 to ask")
    first, last, total = found.groups()
    if first is None:
        return Part(None, 0, int(total))
    if not int(first) <= int(last) < int(total):
        raise Invalid(f"{text[:60]!r} is no range of a file", where="Content-Range", hint="first <= last < total")
    return Part(int(first), int(last) + 1, int(total))


def wanted(text: str, size: int) -> tuple[int, int] | None:
    """What a `Range` asks for of a file, from and up to; None: all of it, as when it asks for several ranges.

    Raises:
        ValueError: There is nothing in that range.

    >>> wanted("bytes=5-", 10), wanted("bytes=-3", 10), wanted("bytes=0-1,4-5", 10)
    ((5, 10), (7, 10), None)
    """
    found = _RANGE.fullmatch(text)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise ValueError(text)
    return start, stop


async def answer(request: Ask, files: Files, path: str) -> Response[object]:
    """A file of the tree, or the range of it that a request asks for.

    Raises:
        NotFound: There is no such file.
    """
    kept = await asyncio.to_thread(files.find, path)
    headers = _headers(kept)
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, status_code=304, headers=headers)
    asked = (
        request.headers.get("range", "") if request.headers.get("if-range", headers["ETag"]) == headers["ETag"] else ""
    )
    try:
        part = wanted(asked, kept.size_bytes)
    except ValueError:
        return Response(
            None, status_code=UNSATISFIABLE, headers={**headers, "Content-Range": f"bytes */{kept.size_bytes}"}
        )
    if part is None:
        return _stream(files.stream(kept), {**headers, "Content-Length": str(kept.size_bytes)}, 200)
    start, stop = part
    headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{kept.size_bytes}", "Content-Length": str(stop - start)}
    return _stream(files.stream(kept, start, stop), headers, 206)


def _stream(pieces: Iterator[bytes], headers: dict[str, str], status: int) -> Response[object]:
    made: Response[object] = Stream(  # type: ignore[assignment]  # a response of its own kind
        _ahead(pieces), headers=headers, status_code=status, media_type="application/octet-stream"
    )
    return made


async def _ahead(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces from a thread, each read while the one before is sent."""
    reading = asyncio.create_task(asyncio.to_thread(next, pieces, None))
    try:
        while (piece := await reading) is not None:
            reading = asyncio.create_task(asyncio.to_thread(next, pieces, None))
            yield piece
    finally:
        await asyncio.wait({reading})
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _headers(kept: Artifact) -> dict[str, str]:
    name = kept.path.rpartition("/")[2]
    plain = "".join(letter if letter.isascii() and letter not in '"\\' else "_" for letter in name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Disposition": f'attachment; filename="{plain}"' + exact,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "ETag": f'"{kept.digest}"',
    }
