"""The verbs of files: one tree for each project, in which every run and every logged model has a folder.

Paths are those below the project's artifact root; `Run.folder` and `LoggedModel.folder` say where things are. The bytes
are blobs, so the same content is kept once, and a file has its name only when all of it is stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, NotFound, did_you_mean
from mainspring.core.passing import give, take, visit
from mainspring.storage.ports import BlobFiles, BlobStreams
from mainspring.tracking import uploads
from mainspring.tracking.events import FilesDeleted
from mainspring.tracking.lifecycle import no_run
from mainspring.tracking.logged_models import no_model
from mainspring.tracking.model import Artifact, Entry
from mainspring.tracking.records import files, logged_models, runs
from mainspring.tracking.rules import check_folder, check_path
from mainspring.tracking.uploads import Upload, too_large

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Blobs, Journal, Tables

LIMIT_BYTES = 64 * 1024**3
_NEAR = 1000


class Files:
    """Keeps files of runs and models.

    Args:
        tables: Where their names are.
        journal: Where deletions go on record.
        blobs: Where their bytes are.
        clock: Says when.
        scratch: Folder for bytes that are on their way in.
        limit_bytes: Most bytes of one file.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        blobs: Blobs,
        clock: Clock,
        scratch: Path,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._blobs = blobs
        self._clock = clock
        self._scratch = scratch
        self.limit_bytes = limit_bytes

    def run_folder(self, run_id: str) -> str:
        """Where a run keeps its files; ends with a slash.

        Raises:
            NotFound: No such run.
        """
        with self._tables.read() as conn:
            found = runs.folder(conn, caller().project, run_id)
        if found is None:
            raise no_run(run_id)
        return found

    def model_folder(self, model_id: str) -> str:
        """Where a logged model keeps its files; ends with a slash.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            found = logged_models.folder(conn, caller().project, model_id)
        if found is None:
            raise no_model(model_id)
        return found

    def put(self, path: str, data: bytes) -> Artifact:
        """Keep bytes as a file; the same path again replaces it.

        Raises:
            Invalid: The path leaves the tree.
            Conflict: The path is a folder, or goes through a file.
            TooLarge: More bytes than a file may have.
        """
        with self.receive(path, len(data)) as upload:
            upload.write(data)
            return self.store(path, upload)

    def put_file(self, path: str, source: Path) -> Artifact:
        """Keep the content of a file of this machine without loading it whole; see `put`.

        Raises:
            NotFound: There is no such file.
        """
        check_path(path)
        if not source.is_file():
            raise NotFound("there is no such file", where=str(source), hint="give the path of a file")
        size = source.stat().st_size
        if size > self.limit_bytes:
            raise too_large(size, self.limit_bytes)
        return self._name(path, self._blobs.put_file(source), size)

    def receive(self, path: str, size_bytes: int = 0) -> Upload:
        """Begin to take a file piece by piece; `store` gives it its name.

        Args:
            path: Where it will be.
            size_bytes: What was announced; 0 = nothing.
        Raises:
            Invalid: The path leaves the tree.
            TooLarge: More was announced than a file may have.
        """
        check_path(path)
        if size_bytes > self.limit_bytes:
            raise too_large(size_bytes, self.limit_bytes)
        return Upload(self._scratch, limit_bytes=self.limit_bytes)

    def resume(self, path: str, digest: str, size_bytes: int) -> Upload:
        """Begin to take a file of known content, or go on where that broke off: `Upload.received` says where.

        Raises:
            Invalid: The path leaves the tree, or the digest is none.
            TooLarge: More was announced than a file may have.
            Overloaded: Somebody is sending the same content right now.
        """
        check_path(path)
        if size_bytes > self.limit_bytes:
            raise too_large(size_bytes, self.limit_bytes)
        return Upload(self._scratch, limit_bytes=size_bytes, resumes=uploads.resumable(caller().project, digest))

    def received(self, digest: str) -> int:
        """How many bytes of a file of known content have arrived so far."""
        return uploads.received(self._scratch, uploads.resumable(caller().project, digest))

    def store(self, path: str, upload: Upload, digest: str = "") -> Artifact:
        """Name what was received.

        Args:
            path: Where it will be.
            upload: All of the file.
            digest: What its content must be; "" = whatever it is.
        Raises:
            Invalid: The content is another.
            Conflict: The path is a folder, or goes through a file.
        """
        return self._name(path, upload.keep(self._blobs, digest), upload.received)

    def name_known(self, path: str, digest: str, size_bytes: int) -> Artifact | None:
        """Name content that this project keeps already; None when it does not.

        Raises:
            Invalid: The path leaves the tree.
            Conflict: The path is a folder, or goes through a file.
        """
        check_path(path)
        with self._tables.read() as conn:
            _check_free(conn, caller().project, path)
            known = files.keeps(conn, caller().project, digest, size_bytes)
        return self._name(path, digest, size_bytes) if known and self._blobs.has(digest) else None

    def take_passed(self, path: str, digest: str, size_bytes: int, name: str) -> Artifact | None:
        """Keep a file that a process of this machine and user passes; None when none waits with it.

        Args:
            path: Where it will be.
            digest: What its content must be.
            size_bytes: How long it is.
            name: Of the place where it waits.
        Raises:
            Invalid: The content is another, or shorter.
            Overloaded: Somebody is sending the same content right now.
        """
        other = visit(name)
        if other is None:
            return None
        with other:
            try:
                source = os.fdopen(take(other), "rb", buffering=0)
            except OSError:
                return None
        with source, self.resume(path, digest, size_bytes) as upload:
            upload.copy(source.fileno(), size_bytes)
            return self.store(path, upload, digest)

    def pass_on(self, kept: Artifact, name: str) -> bool:
        """Pass the content of a file to a process of this machine and user; False when none waits there for it.

        Args:
            name: Of the place where it waits.
        """
        file = self.open(kept)
        if file is None:
            return False
        with file, suppress(OSError):
            other = visit(name)
            if other is not None:
                with other:
                    give(other, file.fileno())
                return True
        return False

    def find(self, path: str) -> Artifact:
        """One file.

        Raises:
            NotFound: There is no such file.
        """
        with self._tables.read() as conn:
            found = files.find(conn, caller().project, path)
            if found is not None:
                return found
            folder = path.rpartition("/")[0]
            near = [entry.name for entry in files.level(conn, caller().project, _ended(folder))[:_NEAR]]
        name = path.rpartition("/")[2]
        raise NotFound(f"there is no file {name[:200]!r}", where=folder, hint=did_you_mean(name, near))

    def level(self, folder: str) -> list[Entry]:
        """What is in a folder, files and folders by name; nothing when there is no such folder."""
        with self._tables.read() as conn:
            return files.level(conn, caller().project, check_folder(folder))

    def below(self, folder: str, *, after: str = "", limit: int | None = None) -> list[Artifact]:
        """Files below a folder by their path from there: every one, or the first `limit` after the path `after`."""
        with self._tables.read() as conn:
            return files.below(conn, caller().project, check_folder(folder), after=after, limit=limit)

    def read(self, path: str) -> bytes:
        """The whole content of a file, checked.

        Raises:
            NotFound: There is no such file.
            Corrupt: It is not what was stored.
        """
        return self._blobs.get(self.find(path).digest)

    def stream(self, kept: Artifact, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The content of a file from `start` up to and without `stop`, in pieces; checked when asked for whole.

        Raises:
            Corrupt: It is not what was stored; raised before the last piece.
        """
        if isinstance(self._blobs, BlobStreams):
            return self._blobs.stream(kept.digest, start, stop)
        data = self._blobs.get(kept.digest)[start:stop]
        return (data[at : at + uploads.READ] for at in range(0, len(data), uploads.READ))

    def open(self, kept: Artifact) -> BinaryIO | None:
        """The content of a file as a file of this machine, not checked; None when it is kept elsewhere."""
        return self._blobs.open(kept.digest) if isinstance(self._blobs, BlobFiles) else None

    def fetch(self, path: str, to: Path) -> Artifact:
        """Write a file of the tree to a file of this machine: whole and checked, or not at all.

        Raises:
            NotFound: There is no such file.
            Corrupt: It is not what was stored.
        """
        kept = self.find(path)
        self._blobs.fetch(kept.digest, to)
        return kept

    def delete(self, path: str) -> int:
        """Take the names of a file, or of all files of a folder, away; the bytes go when they are collected.

        Returns: How many files.
        """
        check_path(path)
        with self._tables.write() as conn:
            gone, size = files.remove(conn, caller().project, path)
            if gone:
                self._journal.append(conn, FilesDeleted(subject=f"files/{path}", files=gone, size_bytes=size))
        return gone

    def sweep(self) -> int:
        """Remove what writers that died left behind, and uploads nobody took up in time. Returns how many files."""
        return uploads.sweep(self._scratch)

    def _name(self, path: str, digest: str, size_bytes: int) -> Artifact:
        made, project = Artifact(path, digest, size_bytes, self._clock.now()), caller().project

        def store(conn: Connection) -> None:
            _check_free(conn, project, path)
            files.put(conn, project, made)

        self._tables.submit(store).result()
        return made


def _check_free(conn: Connection, project: str, path: str) -> None:
    taken = files.in_the_way(conn, project, path)
    if taken is not None:
        hint = "delete it first, or use another path"
        raise Conflict(f"{taken[:200]!r} is there already, so {path[:200]!r} can't be", where=path, hint=hint)


def _ended(folder: str) -> str:
    return f"{folder}/" if folder else ""
