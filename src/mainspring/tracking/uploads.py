"""Bytes on their way in: counted, hashed while they are written, and in a scratch file as soon as they are many.

A scratch file is locked as long as somebody writes to it, and the kernel lets go of the lock however that one dies. One
that is named by the digest its content will have may be filled in several goes; all others are gone with their writer.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mainspring.core.errors import Invalid, Overloaded, Timeout, TooLarge
from mainspring.core.ids import new_id
from mainspring.storage.files import check_digest, no_room
from mainspring.storage.ports import BlobStreams

if TYPE_CHECKING:
    from blake3 import blake3

    from mainspring.storage.ports import Blobs

IN_MEMORY = 1 << 20
"""Uploads up to this size never touch the scratch folder."""
READ = 1 << 20
LEFT_S = 3600.0
"""A nameless scratch file older than this was left by a writer that died."""
SILENT_S = 60.0
"""A client that sends nothing for this long is taken for gone, so that another may go on."""
KEPT_S = 3 * 24 * 3600.0
"""How long an interrupted upload may be taken up again."""
_RESUMABLE = re.compile(r".*-[0-9a-f]{64}")


class Upload:
    """One file on its way in. Leaving the block without `keep` leaves nothing behind, or what can be taken up again.

    Args:
        scratch: Folder for what does not fit in memory.
        limit_bytes: Most bytes of the file.
        resumes: Name under which an upload that breaks off is kept; "" = it is not.
    Raises:
        Overloaded: Somebody else is sending under this name right now.
    """

    def __init__(self, scratch: Path, *, limit_bytes: int, resumes: str = "") -> None:
        from blake3 import blake3

        self._scratch = scratch
        self._limit = limit_bytes
        self._resumes = resumes
        self._hasher = blake3()
        self._pieces: list[bytes] = []
        self._path: Path | None = None
        self._file: FileIO | None = None
        self.received = 0
        if resumes:
            self._open(scratch / resumes)

    def write(self, piece: bytes) -> None:
        """Take more bytes.

        Raises:
            TooLarge: They are too many.
            NoRoom: The disk is full.
        """
        if self.received + len(piece) > self._limit:
            self.drop()
            raise too_large(self.received + len(piece), self._limit)
        self.received += len(piece)
        if self._file is None and self.received > IN_MEMORY:
            self._open(self._scratch / new_id())
            self._append(b"".join(self._pieces))
            self._pieces.clear()
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._append(piece)
        self._hasher.update(piece)

    def drain(self, handle: int, early: bytes, count: int) -> None:
        """Take `count` bytes: first `early`, the others from a socket. They pass from the network to the file within
        the kernel, and another thread hashes them from there.

        Args:
            handle: Of the socket; closed at the end.
        Raises:
            TooLarge: They are too many.
            Timeout: Nothing came for too long.
            Invalid: The client went away.
            NoRoom: The disk is full.
        """
        try:
            if self.received + count > self._limit:
                raise too_large(self.received + count, self._limit)
            if self._file is None:
                self._open(self._scratch / new_id())
                self._append(b"".join(self._pieces))
                self._pieces.clear()
            self.write(early)
            assert self._file is not None and self._path is not None
            with no_room(self._path), _Hashing(self._hasher, self._file, self.received) as hashing:
                for arrived in _splice(handle, self._file.fileno(), count - len(early)):
                    self.received += arrived
                    hashing.reach(self.received)
        finally:
            os.close(handle)

    def keep(self, blobs: Blobs, digest: str = "") -> str:
        """Store what was received as a blob.

        Args:
            blobs: Where it goes.
            digest: What it must be; "" = whatever it is.
        Returns: Its digest.
        Raises:
            Invalid: The digest is another; nothing was stored, and nothing is left to take up.
        """
        found = self._hasher.hexdigest()
        if digest and found != digest:
            self.drop()
            raise Invalid(
                f"the bytes have the digest {found[:12]}, not {digest[:12]}", where="digest", hint="send them again"
            )
        if self._file is None or self._path is None:
            return blobs.put(b"".join(self._pieces))
        if isinstance(blobs, BlobStreams):
            blobs.take(self._path, found)
        else:
            blobs.put_file(self._path)
            self._path.unlink(missing_ok=True)
        return found

    def drop(self) -> None:
        """Forget what was received."""
        self._pieces.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the scratch file; only one that can be taken up again stays."""
        if not self._resumes:
            self.drop()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path) -> None:
        with no_room(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        if not _lock(file.fileno()):
            file.close()
            hint = "wait until that has ended, then send the rest"
            raise Overloaded("somebody is sending this file right now", where=path.name[-64:], hint=hint)
        file.seek(0)
        while piece := file.read(READ):
            self._hasher.update(piece)
            self.received += len(piece)
        self._path, self._file = path, file

    def _append(self, piece: bytes) -> None:
        assert self._file is not None and self._path is not None
        view = memoryview(piece)
        with no_room(self._path):
            while view:
                view = view[self._file.write(view) :]


class _Hashing:
    """Hashes a file behind the one who writes it, in a thread of its own."""

    def __init__(self, hasher: blake3, file: FileIO, start: int) -> None:
        self._hasher = hasher
        self._handle = file.fileno()
        self._at = start
        self._ends: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mainspring-hash", daemon=True)

    def reach(self, end: int) -> None:
        """The file is written up to `end`."""
        self._ends.put(end)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.put(-1)
        self._thread.join()

    def _run(self) -> None:
        while (end := self._ends.get()) >= 0:
            while end - self._at >= READ and (piece := os.pread(self._handle, READ, self._at)):
                self._feed(piece)
        while piece := os.pread(self._handle, READ, self._at):
            self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        self._hasher.update(piece)
        self._at += len(piece)


def _splice(source: int, target: int, count: int) -> Iterator[int]:
    """Move bytes from a socket to a file through a pipe; gives how many at a time."""
    patience = select.poll()
    patience.register(source, select.POLLIN)
    out, into = os.pipe()
    try:
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, READ)
        while count:
            if not patience.poll(SILENT_S * 1000):
                raise Timeout(f"nothing came for {SILENT_S:.0f} s", where="body", hint="send the rest again")
            try:
                moved = os.splice(source, into, min(READ, count))
            except BlockingIOError:  # what was there is gone again
                continue
            except ConnectionError:
                moved = 0
            if not moved:
                raise Invalid("the client went away", where="body", hint="send the rest again")
            left = moved
            while left:
                left -= os.splice(out, target, left)
            count -= moved
            yield moved
    finally:
        os.close(out)
        os.close(into)


def resumable(project: str, digest: str) -> str:
    """The name of an upload whose content will have this digest. No project sees what another one sends.

    Raises:
        Invalid: It is no digest.
    """
    check_digest(digest)
    return f"{project}-{digest}"


def received(scratch: Path, name: str) -> int:
    """How many bytes of an upload arrived before it broke off."""
    try:
        return (scratch / name).stat().st_size
    except FileNotFoundError:
        return 0


def sweep(scratch: Path) -> int:
    """Remove what dead writers left, and uploads that nobody took up in time. Returns how many files."""
    gone, now = 0, time.time()
    for path in sorted(scratch.glob("*")):
        try:
            with path.open("r+b") as file:
                age = now - os.fstat(file.fileno()).st_mtime
                if age > (KEPT_S if _RESUMABLE.fullmatch(path.name) else LEFT_S) and _lock(file.fileno()):
                    path.unlink(missing_ok=True)
                    gone += 1
        except FileNotFoundError:
            continue
    return gone


def too_large(size: int, limit: int) -> TooLarge:
    """The error for a file over the limit."""
    return TooLarge(f"{size} bytes, at most {limit}", where="storage.max_file_mb", hint="raise it in mainspring.toml")


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
