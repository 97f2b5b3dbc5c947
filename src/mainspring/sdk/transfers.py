"""Large files to and from a server: a file that broke off goes on where it stopped, one the server has is not sent."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from io import FileIO
from pathlib import Path
from select import select
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from mainspring.core.errors import Corrupt, Failed, MainspringError, NotFound, Overloaded, Unavailable, error_codes
from mainspring.core.passing import CAN_MEET, MEET, MET, Meeting, copied
from mainspring.core.sockets import Hashing, splice

log = logging.getLogger("mainspring.sdk")
SMALL = 1 << 20
"""Files up to this size are sent in one go, without asking first."""
CHUNK = 1 << 20
_HERE = ("localhost", "127.0.0.1", "::1")
_TIMEOUT_S = 60.0
_SLOW = 5e6
"""So many bytes a second a server copies at least that was passed a file; it says nothing until it has all of it."""
_WAITS_S = (0.1, 0.5, 2.0, 5.0)
"""How long to wait before each new try, as long as nothing more arrives."""


class Transfers:
    """Sends files to a server and fetches them.

    Args:
        url: Address of the server, such as `http://127.0.0.1:7600`.
        headers: Sent with every request.
        passes: Whether a server of this machine and user is passed the open files, to copy them by itself, and
            passes its own.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, passes: bool = True) -> None:
        self._url = urlsplit(url)
        self._headers = dict(headers or {})
        self.url = url
        self.passes = passes and CAN_MEET and self._url.hostname in _HERE
        self.encrypted = self._url.scheme == "https"

    def upload(self, address: str, source: Path) -> None:
        """Send a file.

        Args:
            address: Where it goes, percent-encoded, such as `/api/v1/runs/ID/artifacts/plots/a.svg`.
            source: The file; it must not change meanwhile.
        Raises:
            NotFound: There is no such file.
            Unavailable: The server does not answer; what arrived is kept there for the next try.
            MainspringError: The server refuses it.
        """
        try:
            file = source.open("rb")
        except OSError:
            raise NotFound("there is no such file", where=str(source), hint="give the path of a file") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            self._insist(_Upload(self, address, file, size))

    def download(self, address: str, to: Path) -> None:
        """Fetch a file; it appears whole and checked, or not at all. A part that is left is used by the next try.

        Args:
            address: Where it is, percent-encoded.
            to: The file it becomes.
        Raises:
            NotFound: The server has no such file.
            Unavailable: The server does not answer.
            Corrupt: What arrived is not what the server keeps.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        self._insist(_Download(self, address, to))

    def ask(self, method: str, address: str, headers: Mapping[str, str]) -> http.client.HTTPConnection:
        """Begin a request on a connection of its own; the caller sends the body, reads the answer and closes."""
        kind = http.client.HTTPSConnection if self.encrypted else http.client.HTTPConnection
        line = kind(self._url.hostname or "", self._url.port, timeout=_TIMEOUT_S)
        line.putrequest(method, self._url.path.rstrip("/") + address, skip_accept_encoding=True)
        for name, value in {**self._headers, **headers}.items():
            line.putheader(name, value)
        line.endheaders()
        return line

    def _insist(self, job: _Job) -> None:
        """Go on until a job is done; give up when several tries in a row got nowhere."""
        failures, before = 0, job.reached
        while True:
            try:
                if job.step():
                    return
            except (OSError, http.client.HTTPException, Overloaded, Unavailable) as reason:
                failures = 0 if job.reached > before else failures + 1
                if failures > len(_WAITS_S):
                    if isinstance(reason, MainspringError):
                        raise
                    what = f"the server does not answer: {type(reason).__name__}"
                    raise Unavailable(what, where=self.url, hint="mainspring up") from None
                log.info("transfer.again reached=%d reason=%s", job.reached, reason)
                time.sleep(_WAITS_S[max(failures - 1, 0)])
            before = max(before, job.reached)


class _Job(Protocol):
    """A transfer under way: how many bytes arrived, and one try to bring it to its end."""

    reached: int

    def step(self) -> bool: ...


class _Upload:
    def __init__(self, to: Transfers, address: str, file: BinaryIO, size: int) -> None:
        self._to = to
        self._address = address
        self._file = file
        self._size = size
        self._digest = ""
        self.reached = 0

    def step(self) -> bool:
        if self._size <= SMALL:
            return self._put(0, {})
        whole = {"Content-Range": f"bytes */{self._size}"}
        self._digest = self._digest or digest_of(Path(self._file.name))
        if self._to.passes:
            with Meeting() as meeting:
                there = self._put(self._size, {**whole, MEET: meeting.name}, meeting)
        else:
            there = self._put(self._size, whole)
        if there:
            return True
        return self._put(self.reached, {"Content-Range": f"bytes {self.reached}-{self._size - 1}/{self._size}"})

    def _put(self, start: int, headers: Mapping[str, str], meeting: Meeting | None = None) -> bool:
        """Send the file from `start`, or pass it to a server that comes for it; whether that has all of it now."""
        known = {"X-Digest": self._digest} if self._digest else {}
        length = {"Content-Length": str(self._size - start), "Content-Type": "application/octet-stream"}
        with closing(self._to.ask("PUT", self._address, {**length, **known, **headers})) as line:
            if start < self._size:
                with suppress(ConnectionError):  # a server that hung up may have said why
                    line.sock.sendfile(self._file, start)
            if meeting is not None and meeting in select([meeting, line.sock], [], [], _TIMEOUT_S)[0]:
                meeting.give(self._file.fileno())
                line.sock.settimeout(_TIMEOUT_S + self._size / _SLOW)
            answer = line.getresponse()
            body = answer.read()
            if answer.status == 202:
                self.reached = int(json.loads(body)["received"])
            elif answer.status >= 300:
                raise error_of(answer.status, body, self._to.url)
            return answer.status != 202


class _Download:
    def __init__(self, source: Transfers, address: str, to: Path) -> None:
        self._from = source
        self._address = address
        self._to = to
        self._ranged = True
        self.reached = 0

    def step(self) -> bool:
        part = next(iter(self._parts()), None)
        self.reached = part.stat().st_size if part is not None else 0
        # A range is sent as it is, and checked here; a whole file the server checks too, which takes it longer.
        asked = {"Range": f"bytes={self.reached}-"} if self._ranged else {}
        if part is not None:
            asked["If-Range"] = f'"{part.suffixes[-2][1:]}"'
        with ExitStack() as stack:
            meeting = stack.enter_context(Meeting()) if self._from.passes and self._ranged else None
            if meeting is not None:
                asked[MEET] = meeting.name
            line = stack.enter_context(closing(self._from.ask("GET", self._address, asked)))
            answer = line.getresponse()
            if answer.status == 416:  # the part is all of it already, or more, or there is nothing in the file
                answer.read()
                self._drop()
                self._ranged = False
                return False
            if answer.status >= 300:
                raise error_of(answer.status, answer.read(), self._from.url)
            digest = answer.headers.get("ETag", "").strip('"')
            passed = meeting is not None and answer.headers.get(MET) is not None
            if part is None or not (answer.status == 206 or (passed and digest == part.suffixes[-2][1:])):
                self._drop()
                self.reached, part = 0, self._to.with_name(f".{self._to.name}.{digest}.part")
            if passed and meeting is not None:
                handle = meeting.take()
                stack.callback(os.close, handle)
                end = os.fstat(handle).st_size
                self._receive(part, digest, lambda file: copied(handle, file.fileno(), self.reached, end))
            else:
                straight = not self._from.encrypted
                self._receive(part, digest, lambda file: _pour(answer, file, straight=straight))
            os.replace(part, self._to)
        return True

    def _receive(self, part: Path, digest: str, pour: Callable[[FileIO], Iterator[int]]) -> None:
        from blake3 import blake3

        hasher = blake3()
        with (
            part.open("r+b" if self.reached else "w+b", buffering=0) as file,
            Hashing(hasher, file.fileno()) as hashing,
        ):
            file.seek(self.reached)
            for count in pour(file):
                self.reached += count
                hashing.reach(self.reached)
        if digest and hasher.hexdigest() != digest:
            part.unlink()
            raise Corrupt("the file arrived changed", where=str(self._to), hint="fetch it again")

    def _parts(self) -> list[Path]:
        start, end = f".{self._to.name}.", ".part"
        found = (path for path in self._to.parent.iterdir() if path.name.startswith(start) and path.name.endswith(end))
        return [path for path in found if len(path.name) == len(start) + 64 + len(end)]

    def _drop(self) -> None:
        for path in self._parts():
            path.unlink(missing_ok=True)


def _pour(answer: http.client.HTTPResponse, file: FileIO, *, straight: bool) -> Iterator[int]:
    """Write the body of an answer to a file; gives how many bytes at a time.

    Args:
        straight: Whether the bytes may pass within the kernel.
    """
    if straight and answer.length and hasattr(os, "splice"):
        early = answer.read(min(answer.length, len(answer.fp.peek(1))))  # what came with the head
        yield _write(file, early)
        for count in splice(answer.fileno(), file.fileno(), answer.length):
            answer.length -= count
            yield count
    else:
        piece = memoryview(bytearray(CHUNK))
        while count := answer.readinto(piece):
            yield _write(file, piece[:count])
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def _write(file: FileIO, piece: bytes | memoryview) -> int:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]
    return len(piece)


def digest_of(path: Path) -> str:
    """The blake3 digest of a file, on all cores."""
    from blake3 import blake3

    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def error_of(status: int, body: bytes, where: str) -> MainspringError:
    """The error that a server met, as it is raised again here."""
    try:
        plain = json.loads(body)
        kind = error_codes()[plain["code"]]
        return kind(str(plain["what"]), where=str(plain.get("where", "")), hint=str(plain.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        kind = Overloaded if status in (429, 502, 503, 504) else Failed
        return kind(f"the server answered {status}", where=where, hint="look at the server's log")
