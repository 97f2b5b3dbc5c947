"""Bytes on their way in: counted, hashed while they are written, and in a scratch file as soon as they are many.

A scratch file is locked as long as somebody writes to it, and the kernel lets go of the lock however that one dies. One
that is named by the digest its content will have may be filled in several goes; all others are gone with their writer.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mainspring.core.errors import Invalid, Overloaded, Timeout, TooLarge
from mainspring.core.ids import new_id
from mainspring.core.passing import copied
from mainspring.core.sockets import Hashing, splice
from mainspring.storage.files import check_digest, no_room
from mainspring.storage.ports import BlobStreams

if TYPE_CHECKING:
    from mainspring.storage.ports import Blobs

IN_MEMORY = 1 << 20
"""Uploads up to this size never touch the scratch folder."""
READ = 1 << 20
LEFT_S = 3600.0
"""A nameless scratch file older than this was left by a writer that died."""
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
            self._on_disk()
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
            file = self._on_disk()
            self.write(early)
            count -= len(early)
            self._take(splice(handle, file.fileno(), count), count)
        except TimeoutError as reason:
            raise Timeout(str(reason), where="body", hint="send the rest again") from None
        finally:
            os.close(handle)

    def copy(self, handle: int, stop: int) -> None:
        """Take a file of this machine from where this upload stands.

        Args:
            handle: Of the open file.
            stop: Where its content ends.
        Raises:
            Invalid: It is shorter.
            NoRoom: The disk is full.
        """
        self._take(copied(handle, self._on_disk().fileno(), self.received, stop), stop - self.received)

    def _take(self, arriving: Iterator[int], count: int) -> None:
        """Count and hash so many bytes while they are written, and have the disk begin with them."""
        assert self._file is not None and self._path is not None
        end, file = self.received + count, self._file.fileno()
        with (
            no_room(self._path),
            Hashing(self._hasher, file, self.received, behind=partial(_settle, file)) as hashing,
        ):
            for arrived in arriving:
                self.received += arrived
                hashing.reach(self.received)
        if self.received < end:
            raise Invalid("the client went away", where="body", hint="send the rest again")

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

    def _on_disk(self) -> FileIO:
        """The scratch file, into which what was in memory goes."""
        if self._file is None:
            self._open(self._scratch / new_id())
            self._append(b"".join(self._pieces))
            self._pieces.clear()
        assert self._file is not None
        return self._file

    def _append(self, piece: bytes) -> None:
        assert self._file is not None and self._path is not None
        view = memoryview(piece)
        with no_room(self._path):
            while view:
                view = view[self._file.write(view) :]


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


def _settle(handle: int, start: int, count: int) -> None:
    """Have the disk begin with a part of a file, so that little is left to wait for at the end. The name is another:
    what is not on the disk yet can't be thrown out of memory, so the kernel writes it and leaves it there."""
    os.posix_fadvise(handle, start, count, os.POSIX_FADV_DONTNEED)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
