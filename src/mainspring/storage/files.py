"""Blobs as files: content-addressed, read-only, whole or absent even after a power cut."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mainspring.core.canonical import digest as digest_of
from mainspring.core.errors import Corrupt, Invalid, NoRoom, NotFound
from mainspring.core.ids import new_id
from mainspring.storage.ports import StoredBlob, TrashedBlob

CHUNK = 1 << 20
LOOKS = 10
"""How often a blob must be in neither place before it is missing: others may be moving it from one to the other."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_GET_FLAGS, _SET_FLAGS, _SYNC = 0x80086601, 0x40086602, 0x8  # linux/fs.h: FS_IOC_GETFLAGS, _SETFLAGS, FS_SYNC_FL
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FileBlobs:
    """Keeps blobs in a folder, under the first two digits of their digest. Safe to share between processes.

    A blob is written to `part/`, synced, and renamed into place; then the folder is synced. Readers see all of it or
    nothing, and what a killed process leaves in `part/` is never read. What is thrown away waits in `trash/`, in a
    folder for each digest, as a file named by the time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parts = root / "part"
        self._trash = root / "trash"
        with no_room(root):
            self._parts.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep `data` durably and return its digest."""
        digest = digest_of(data)
        if not self._path(digest).is_file():
            self._store(lambda part: (part.write(data), digest)[1])
        return digest

    def put_file(self, path: Path) -> str:
        """Keep the content of a file without loading it whole, and return its digest."""
        with open_source(path) as source:
            return self._store(lambda part: copy(source, part))

    def get(self, digest: str) -> bytes:
        """The bytes under `digest`, checked."""
        with self.open(digest) as source:
            data = source.read()
        if digest_of(data) != digest:
            raise corrupt(digest, str(self._path(digest)))
        return data

    def fetch(self, digest: str, to: Path) -> None:
        """Write the bytes to the file `to`, checked; `to` is either whole or absent."""
        with self.open(digest) as source, whole_file(to) as part:
            if copy(source, part) != digest:
                raise corrupt(digest, str(self._path(digest)))

    def take(self, path: Path, digest: str) -> None:
        """Keep a finished file whose digest is known, and remove it from `path`."""
        if not self._path(digest).is_file():
            with open_source(path) as source:
                os.fchmod(source.fileno(), 0o444)
                os.fsync(source.fileno())
            try:
                with no_room(self._root):
                    self._publish(path, self._path(digest))
            except OSError as reason:
                if reason.errno != errno.EXDEV:  # another disk: it cannot be moved there
                    raise
                if self.put_file(path) != digest:
                    raise corrupt(digest, str(path)) from None
        path.unlink(missing_ok=True)

    def stream(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces; the last piece of a whole only when its digest is right."""
        with self.open(digest) as source:
            whole = start == 0 and stop is None
            pieces = _pieces(source, start, os.fstat(source.fileno()).st_size if stop is None else stop)
            yield from checked(pieces, digest, str(self._path(digest))) if whole else pieces

    def open(self, digest: str) -> BinaryIO:
        """See `ports.BlobFiles.open`."""
        while True:
            try:
                return self._path(digest).open("rb")
            except FileNotFoundError:  # in the trash, or thrown away again since the last look
                if not self.restore(digest):
                    raise missing(digest) from None

    def has(self, digest: str) -> bool:
        """Whether something is stored under `digest`."""
        return self._path(digest).is_file() or self.restore(digest)

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        path = self._path(digest)
        for entry in self._entries(digest):
            self.purge(entry)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)

    def digests(self) -> Iterator[str]:
        """Every digest that is stored."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            yield path.parent.name + path.name

    def stored(self) -> Iterator[StoredBlob]:
        """See `ports.BlobTrash.stored`."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                found = path.stat()
                yield StoredBlob(path.parent.name + path.name, found.st_size, found.st_mtime_ns // 1000)

    def discard(self, digest: str, at: int) -> None:
        """See `ports.BlobTrash.discard`: a rename, so the bytes are always in one place or the other."""
        path, folder = self._path(digest), self._trash_of(digest)
        while path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # the folder was swept, or another turn was quicker
                path.rename(folder / str(at))
                sync_folder(folder)
                sync_folder(path.parent)

    def trashed(self) -> Iterator[TrashedBlob]:
        """See `ports.BlobTrash.trashed`."""
        for folder in self._trash.glob("[0-9a-f][0-9a-f]/*"):
            yield from self._entries(folder.parent.name + folder.name)

    def restore(self, digest: str) -> bool:
        """See `ports.BlobTrash.restore`."""
        path, folder = self._path(digest), self._trash_of(digest)
        misses = 0
        while misses < LOOKS:
            if path.is_file():
                return True
            found = sorted(self._entries(digest), key=lambda entry: entry.at, reverse=True)
            misses += not found
            for entry in found[:1]:
                with suppress(FileNotFoundError):  # another process restores it
                    os.utime(folder / str(entry.at))  # as new: it must not be thrown away again at once
                    path.parent.mkdir(exist_ok=True)
                    (folder / str(entry.at)).rename(path)
                    sync_folder(path.parent)
        return path.is_file()

    def purge(self, entry: TrashedBlob) -> None:
        """See `ports.BlobTrash.purge`."""
        folder = self._trash_of(entry.digest)
        (folder / str(entry.at)).unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()

    def sweep(self, before: int) -> int:
        """See `ports.BlobTrash.sweep`."""
        swept = 0
        for path in self._parts.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns // 1000 <= before:
                    path.unlink()
                    swept += 1
        return swept

    def _entries(self, digest: str) -> list[TrashedBlob]:
        found = []
        with suppress(FileNotFoundError):
            for path in self._trash_of(digest).iterdir():
                with suppress(FileNotFoundError):
                    found.append(TrashedBlob(digest, path.stat().st_size, int(path.name)))
        return found

    def _trash_of(self, digest: str) -> Path:
        check_digest(digest)
        return self._trash / digest[:2] / digest[2:]

    def _path(self, digest: str) -> Path:
        check_digest(digest)
        return self._root / digest[:2] / digest[2:]

    def _store(self, fill: Callable[[BinaryIO], str]) -> str:
        part = self._parts / new_id()
        try:
            with no_room(self._root):
                with part.open("xb") as file:
                    digest = fill(file)
                    file.flush()
                    os.fchmod(file.fileno(), 0o444)
                    os.fsync(file.fileno())
                self._publish(part, self._path(digest))
        finally:
            part.unlink(missing_ok=True)
        return digest

    def _publish(self, part: Path, path: Path) -> None:
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            sync_folder(self._root)
        part.replace(path)
        sync_folder(path.parent)


def check_digest(digest: str) -> None:
    """Refuse what is not a digest, so that no path is ever made of it.

    Raises:
        Invalid: It is not 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise Invalid(f"{digest[:80]!r} is not a blob digest", hint="a digest is 64 hex digits, lower case")


def missing(digest: str) -> NotFound:
    """The error for a blob that is not there."""
    return NotFound(f"no blob {digest[:12]} is stored", where=digest, hint="mainspring doctor lists missing blobs")


def corrupt(digest: str, where: str) -> Corrupt:
    """The error for a blob whose bytes changed."""
    return Corrupt(f"blob {digest[:12]} was changed after it was written", where=where, hint="restore it from a backup")


def copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy a file by chunks and return the digest of what went through."""
    from blake3 import blake3

    hasher = blake3()
    while chunk := source.read(CHUNK):
        hasher.update(chunk)
        target.write(chunk)
    return hasher.hexdigest()


def checked(pieces: Iterable[bytes], digest: str, where: str) -> Iterator[bytes]:
    """Pass pieces on, each when the next one is there, and the last one only when all of them have this digest.

    Raises:
        Corrupt: They have another.
    """
    from blake3 import blake3

    hasher, held = blake3(), b""
    for piece in pieces:
        hasher.update(piece)
        if held:
            yield held
        held = piece
    if hasher.hexdigest() != digest:
        raise corrupt(digest, where)
    if held:
        yield held


def _pieces(source: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    source.seek(start)
    while start < stop and (piece := source.read(min(CHUNK, stop - start))):
        start += len(piece)
        yield piece


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is only safe once its folder is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_through(path: Path, *, wanted: bool = True) -> bool:
    """Have the kernel sync each write to a file before the call that wrote it returns, as the attribute S of `chattr`
    does; files and folders that are made later in a folder take after it.

    Args:
        path: A file or folder of this user's.
        wanted: Or have it stop.
    Returns: Whether it is so now; not every file system can (those in memory can't, and lose all in a power cut).
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        flags = int.from_bytes(fcntl.ioctl(handle, _GET_FLAGS, bytes(8)), sys.byteorder)
        if bool(flags & _SYNC) != wanted:
            fcntl.ioctl(handle, _SET_FLAGS, (flags ^ _SYNC).to_bytes(8, sys.byteorder))
    except OSError:
        return False
    finally:
        os.close(handle)
    return wanted


@contextmanager
def open_source(path: Path) -> Iterator[BinaryIO]:
    """Open a file that a caller named.

    Raises:
        NotFound: There is no such file.
    """
    try:
        source = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"there is no file {path.name}", where=str(path), hint="check the path") from None
    with source:
        yield source


@contextmanager
def whole_file(to: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when the block ends well."""
    part = to.with_name(f".{to.name}.{new_id()}.part")
    try:
        with no_room(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(to)
            sync_folder(to.parent)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def no_room(where: Path | str) -> Iterator[None]:
    """Turn a full disk into a plain error; whatever failed for another reason passes through.

    Raises:
        NoRoom: The disk is full, or a quota or size limit was reached.
    """
    try:
        yield
    except Exception as reason:
        if not is_no_room(reason):
            raise
        raise disk_full(where) from reason


def disk_full(where: Path | str) -> NoRoom:
    """The error for a write that found no room."""
    hint = "free some space, then run it again"
    return NoRoom("the disk is full; nothing was stored", where=str(where), hint=hint)


def is_no_room(reason: BaseException) -> bool:
    """Whether an error means that the disk is full, whichever library reports it."""
    if isinstance(reason, OSError) and reason.errno in _NO_ROOM:
        return True
    text = str(reason)
    return any(f"os error {code})" in text or f"code: {code}, kind" in text for code in _NO_ROOM)
