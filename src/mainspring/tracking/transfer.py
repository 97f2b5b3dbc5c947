"""Files over HTTP: bodies that stream in, answers that stream out, a few mebibytes in memory however large they are.

What is sent is an attachment under a policy that lets nothing run. Its type follows from the ending of its path, for
kinds that run nothing; all others, such as HTML and scripts, have none. One exception: an HTML file is shown in a frame
that asks for it, with its own inline scripts, under no origin and without a way to reach anything.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
from collections.abc import AsyncIterator, Iterator
from typing import Protocol, cast
from urllib.parse import quote

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Stream

from mainspring.core.errors import Invalid, Timeout
from mainspring.core.passing import MEET, MET
from mainspring.core.sockets import SILENT_S
from mainspring.core.values import dataclass
from mainspring.storage.files import corrupt
from mainspring.tracking.files import Files
from mainspring.tracking.model import Artifact
from mainspring.tracking.uploads import READ, Upload

Ask = Request[object, object, State]
GATHERED = 2 << 20
"""How much of a body is gathered before a thread writes it, while the next part comes in."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
UNSATISFIABLE = 416
STRAIGHT = "mainspring.straight"
"""Where a server that can puts what lets a handler read a body from the socket itself."""
LARGE = 4 << 20
"""Bodies of this size and more are read that way, and sent that way when they are files."""


PLAIN = "application/octet-stream"
_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".ipynb": "application/x-ipynb+json",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".npy": PLAIN,
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/plain",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
"""Not the table of the machine: that differs, and knows kinds that a browser would run."""
_POLICY = "default-src 'none'; sandbox"
FRAMED = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""For an HTML file in a frame: its own scripts run, in an origin of their own, and load and send nothing."""


class Straight(Protocol):
    """What a server puts under `STRAIGHT`."""

    def take(self) -> tuple[bytes, int] | None:
        """What was read of the body already, and a handle of the socket to read the rest from; None when it can't."""
        ...

    async def give(self, file: int, start: int, stop: int) -> bool:
        """Send a part of a file as the next bytes of the answer; False when it can't."""
        ...


async def receive(request: Ask, upload: Upload) -> None:
    """Write the body of a request into an upload; the network goes on while a thread writes.

    Raises:
        Invalid: The client went away before the end.
        NoRoom: The disk is full.
        TooLarge: More than a file may have.
        Timeout: Nothing came for too long.
    """
    length, straight = announced(request), _straight(request)
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


def _straight(request: Ask) -> Straight | None:
    return cast("Straight | None", (request.scope.get("extensions") or {}).get(STRAIGHT))


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


def media_type(path: str) -> str:
    """The type of a file as its path says it, of no type when a browser could run it.

    >>> media_type("plots/A.PNG"), media_type("figure.html")
    ('image/png', 'application/octet-stream')
    """
    return _TYPES.get(posixpath.splitext(path)[1].lower(), PLAIN)


async def answer(request: Ask, files: Files, path: str) -> Response[object]:
    """A file of the tree, or the range of it that a request asks for.

    Raises:
        NotFound: There is no such file.
    """
    return await answer_with(request, files, await asyncio.to_thread(files.find, path))


async def answer_with(request: Ask, files: Files, kept: Artifact) -> Response[object]:
    """A file whose content is known, or the range of it that is asked for; passed as it is to who waits for it."""
    headers = _headers(kept)
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, status_code=304, headers=headers)
    if MEET in request.headers and await asyncio.to_thread(files.pass_on, kept, request.headers[MEET]):
        return Response(None, status_code=204, headers={**headers, MET: "1"})
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
        headers |= {"Content-Length": str(kept.size_bytes)}
        return _stream(_pieces(request, files, kept, None), headers, 200, media_type(kept.path))
    start, stop = part
    headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{kept.size_bytes}", "Content-Length": str(stop - start)}
    return _stream(_pieces(request, files, kept, part), headers, 206, media_type(kept.path))


async def answer_framed(request: Ask, files: Files, kept: Artifact) -> Response[object]:
    """An HTML file for a frame of our own page; for everyone else the attachment that it is."""
    if not is_page(kept.path) or request.headers.get("sec-fetch-dest") != "iframe":
        return await answer_with(request, files, kept)
    headers = {
        "Content-Security-Policy": FRAMED,
        "X-Frame-Options": "SAMEORIGIN",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(kept.size_bytes),
    }
    return _stream(_ahead(files.stream(kept)), headers, 200, "text/html")


def is_page(path: str) -> bool:
    """Whether a file is HTML by its path."""
    return path.lower().endswith((".html", ".htm"))


def _stream(pieces: AsyncIterator[bytes], headers: dict[str, str], status: int, kind: str) -> Response[object]:
    made: Response[object] = Stream(  # type: ignore[assignment]  # a response of its own kind
        pieces, headers=headers, status_code=status, media_type=kind
    )
    return made


async def _pieces(request: Ask, files: Files, kept: Artifact, part: tuple[int, int] | None) -> AsyncIterator[bytes]:
    """What is left to send of a file, as the kernel may send most of it. The last piece of a whole one comes only when
    all of it was right; who asks for a part, even if that is all of it, checks for itself.

    Raises:
        Corrupt: It is not what was stored.
    """
    straight, (start, stop) = _straight(request), part or (0, kept.size_bytes)
    file = await asyncio.to_thread(files.open, kept) if straight is not None and stop - start >= LARGE else None
    if straight is not None and file is not None:
        with file:
            hashed = None if part else asyncio.create_task(asyncio.to_thread(_digest, os.dup(file.fileno())))
            try:
                given = await straight.give(file.fileno(), start, stop - READ)
            except ConnectionError:
                return
            if given:
                if hashed is not None and await hashed != kept.digest:
                    raise corrupt(kept.digest, kept.path)
                yield await asyncio.to_thread(os.pread, file.fileno(), READ, stop - READ)
                return
    async for piece in _ahead(files.stream(kept, *part) if part else files.stream(kept)):
        yield piece


def _digest(handle: int) -> str:
    """The digest of an open file, which is closed: whoever asked may be gone before the end."""
    from blake3 import blake3

    hasher, at = blake3(), 0
    try:
        while piece := os.pread(handle, READ, at):
            hasher.update(piece)
            at += len(piece)
    finally:
        os.close(handle)
    return hasher.hexdigest()


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
        # pictures are drawn inside of our pages, and SVG has its looks in attributes
        "Content-Security-Policy": _POLICY + ("; style-src 'unsafe-inline'" if kept.path.endswith(".svg") else ""),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "ETag": f'"{kept.digest}"',
    }
