"""Spool files: what a run logged and nobody has taken yet, safe from the death of the process that logged it.

One file for each run, one entry a line: a batch as `wire.encode` makes it, or, told by its first byte, the start of the
run, a file it keeps, a dataset it read, its end, or that it goes on. While its process lives it holds a lock on the
file, and the kernel lets go of it however the process dies; so a file nobody locks is a run that was killed, or one
that was logged offline, and `recover` sends what it left. The first line says up to where that was done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound, TooLarge
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.tracking.wire import NewRun

SUFFIX = ".spool"
FILES = ".files"
EMBEDDED = "embedded"
"""The target of runs that log into the data folder their spool lies in; other targets are addresses of servers."""
RESUMED = b"^"
_START, _END, _FILE, _INPUT = b"+", b"!", b"@", b"<"
_MARK = len(b'{"sent":"')
_DIGITS = 20
_LOCK_S = 5.0
_CHUNK = 1 << 16


class Taker(Protocol):
    """Takes what a run logs. Every method may be called twice with the same arguments to the same effect."""

    def create(self, run_id: str, new: NewRun) -> str:
        """Start a run and return its name."""
        ...

    def resume(self, run_id: str) -> object:
        """Open a run that ended."""
        ...

    def log(self, run_id: str, batch: bytes) -> None:
        """Store a batch as `tracking.wire.encode` makes it."""
        ...

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        """Keep bytes, or those of a file here, as a file of a run."""
        ...

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """Note a dataset version that a run read."""
        ...

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        """End a run; a run that ended already stays as it is."""
        ...


class _End(msgspec.Struct, frozen=True):
    status: str
    at: int = 0


class _File(msgspec.Struct, frozen=True):
    path: str
    kept: str


class _Input(msgspec.Struct, frozen=True):
    dataset: str
    context: str


class _Header(msgspec.Struct, frozen=True):
    sent: str
    run: str
    target: str
    project: str


_encode = msgspec.json.Encoder().encode


def start_line(new: NewRun) -> bytes:
    """The entry that starts a run."""
    return _START + _encode(new)


def end_line(status: str, at: int = 0) -> bytes:
    """The entry that ends a run."""
    return _END + _encode(_End(status, at))


def input_line(dataset: str, context: str) -> bytes:
    """The entry that notes a dataset."""
    return _INPUT + _encode(_Input(dataset, context))


class Spool:
    """The spool of one run in this process. What an earlier process left in it stays and is sent first.

    Args:
        folder: Where spools are kept.
        run_id: The run.
        target: Where its entries go; only that target's recovery takes them.
        project: The project of the run.
    Raises:
        Conflict: Another process logs this run.
    """

    def __init__(self, folder: Path, run_id: str, *, target: str, project: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run_id = run_id
        self.path = folder / f"{run_id}{SUFFIX}"
        self.files = folder / f"{run_id}{FILES}"
        self._fd = _locked(self.path)
        header = _header_of(self._fd)
        if header is not None and header.target != target:
            os.close(self._fd)
            hint = f"mainspring sync --to {header.target}" if "://" in header.target else "mainspring sync"
            raise Conflict(f"the run waits to be sent to {header.target}", where=str(self.path), hint=hint)
        if header is None:
            line = _encode(_Header("0" * _DIGITS, run_id, target, project)) + b"\n"
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, line, 0)
        self._start = self._sent = self._end = 0
        self._read_place()
        self.had_entries = self._end > self._start

    @classmethod
    def left(cls, path: Path) -> Spool | None:
        """The spool that a dead process left at `path`; None when its process lives, or nothing whole is in it."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        if _header_of(fd) is None or not _is_at(fd, path):
            if _is_at(fd, path):
                path.unlink(missing_ok=True)
            os.close(fd)
            return None
        made = cls.__new__(cls)
        made._fd, made.path, made.files = fd, path, path.with_suffix(FILES)
        made._read_place()
        made.run_id, made.had_entries = made.header.run, True
        return made

    @property
    def header(self) -> _Header:
        """Whose run it is, and where it goes."""
        found = _header_of(self._fd)
        assert found is not None
        return found

    def append(self, line: bytes) -> None:
        """Keep an entry: once this returns, the death of the process does not lose it.

        Raises:
            NoRoom: The disk is full; the part of it that was written is written over by the next entry.
        """
        at, view = self._end, memoryview(line + b"\n")
        with _no_room(self.path):
            while view:
                written = os.pwrite(self._fd, view, at)
                at, view = at + written, view[written:]
        self._end = at

    def append_file(self, path: str, content: bytes | Path) -> None:
        """Keep a file for the run, copied, as it may change before it is sent.

        Raises:
            NoRoom: The disk is full.
        """
        kept = new_id()
        with _no_room(self.files):
            self.files.mkdir(exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, self.files / kept)
            else:
                (self.files / kept).write_bytes(content)
        self.append(_FILE + _encode(_File(path, kept)))

    def unsent(self) -> bytes:
        """The first entry that was not taken yet, b"" when all were."""
        chunk = b""
        while b"\n" not in chunk and self._sent + len(chunk) < self._end:
            chunk += os.pread(self._fd, _CHUNK, self._sent + len(chunk))
        return chunk.split(b"\n", 1)[0]

    def left_bytes(self) -> int:
        """Bytes that were not taken yet, with those of kept files."""
        kept = self.files.iterdir() if self.files.is_dir() else ()
        return self._end - self._sent + sum(file.stat().st_size for file in kept)

    def deliver(self, line: bytes, taker: Taker) -> None:
        """Give an entry to `taker`.

        Raises:
            MainspringError: It was refused, or the taker does not answer.
        """
        deliver(self.run_id, line, taker, self.files)

    def took(self, line: bytes) -> None:
        """Forget the first entry; the file shrinks when all are taken."""
        self._sent += len(line) + 1
        if line.startswith(_FILE):
            (self.files / msgspec.json.decode(line[1:], type=_File).kept).unlink(missing_ok=True)
        done = self._sent >= self._end
        if done:
            self._sent = self._end = self._start
        os.pwrite(self._fd, b"%0*d" % (_DIGITS, self._sent - self._start), _MARK)
        if done:
            os.ftruncate(self._fd, self._start)

    def entries(self) -> Iterator[bytes]:
        """All entries that are in the file, taken or not."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            yield from (line[:-1] for line in file if line.endswith(b"\n"))

    def close(self, *, remove: bool) -> None:
        """Let go of the file, and remove it when nothing in it is needed any more."""
        if remove:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self.files, ignore_errors=True)
        os.close(self._fd)

    def _read_place(self) -> None:
        """Find where entries start, up to where they were taken, and where the last whole one ends."""
        data = os.pread(self._fd, _CHUNK, 0)
        self._start = data.index(b"\n") + 1
        size = os.fstat(self._fd).st_size
        self._end = self._start
        for at in range(size, self._start, -_CHUNK):  # a last line without an end was being written at a death
            begin = max(self._start, at - _CHUNK)
            cut = os.pread(self._fd, at - begin, begin).rfind(b"\n")
            if cut >= 0:
                self._end = begin + cut + 1
                break
        os.ftruncate(self._fd, self._end)
        self._sent = min(self._start + int(data[_MARK : _MARK + _DIGITS]), self._end)


def deliver(run_id: str, line: bytes, taker: Taker, files: Path) -> None:
    """Give the entry of a run to `taker`; kept files are in the folder `files`.

    Raises:
        MainspringError: It was refused, or the taker does not answer.
    """
    kind, body = line[:1], line[1:]
    if kind == b"{":
        taker.log(run_id, line)
    elif kind == _START:
        taker.create(run_id, msgspec.json.decode(body, type=NewRun))
    elif kind == _FILE:
        file = msgspec.json.decode(body, type=_File)
        if (files / file.kept).exists():  # else it was taken, and the process died before it could say so
            taker.artifact(run_id, file.path, files / file.kept)
    elif kind == _INPUT:
        noted = msgspec.json.decode(body, type=_Input)
        taker.input(run_id, noted.dataset, noted.context)
    elif kind == _END:
        end = msgspec.json.decode(body, type=_End)
        taker.finish(run_id, end.status, end.at)
    elif kind == RESUMED:
        taker.resume(run_id)
    else:
        raise Invalid(f"an entry that starts with {kind!r}", where=f"spool of {run_id}")


def start_in(spool: Spool) -> NewRun:
    """The start of a run that is in a spool; without a name when it is not there."""
    first = next(spool.entries(), b"")
    return msgspec.json.decode(first[1:], type=NewRun) if first.startswith(_START) else NewRun(experiment="")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the recovery of a run is."""

    run_id: str
    left_bytes: int
    state: str
    reason: str = ""


Told = Callable[[Progress], None]


def recover(
    folder: Path,
    target: str,
    taker: Taker,
    *,
    project: str = "",
    most_bytes: int = 1 << 62,
    told: Told = lambda progress: None,
) -> list[str]:
    """Send what killed processes left for `target`, and what was logged offline. May be stopped and done again.

    A run whose process said no end is ended as killed. What is refused for good is put aside with the reason.

    Args:
        folder: Where spools are kept.
        target: Only spools for this target; "" takes all.
        taker: Takes their entries, on behalf of the project of each.
        project: Only runs of this project; "" takes all.
        most_bytes: Larger ones are left.
        told: Hears of each entry that was sent, and of each run that is "done", "left" or "refused".
    Returns: Ids of the runs that were recovered.
    Raises:
        MainspringError: The target does not answer, or lets nobody in; the rest is kept.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        spool = Spool.left(path)
        if spool is None:
            continue
        header, remove = spool.header, False
        try:
            elsewhere = header.project and project not in ("", header.project)
            if target not in ("", header.target) or elsewhere:
                told(Progress(header.run, spool.left_bytes(), "left", f"it is of {header.project} for {header.target}"))
                continue
            if spool.left_bytes() > most_bytes:
                told(Progress(header.run, spool.left_bytes(), "left", "it is large"))
                continue
            with calling(Caller(project=header.project or caller().project)):
                state = _recover(spool, taker, told)
            remove = state != "left"
            if remove:
                found.append(header.run)
        finally:
            spool.close(remove=remove)
    return found


def _recover(spool: Spool, taker: Taker, told: Told) -> str:
    ended, line = False, spool.unsent()
    told(Progress(spool.run_id, spool.left_bytes(), "started"))
    empty = not line
    try:
        while line:
            spool.deliver(line, taker)
            spool.took(line)
            ended = line.startswith(_END)
            told(Progress(spool.run_id, spool.left_bytes(), "sent"))
            line = spool.unsent()
        if not ended:
            taker.finish(spool.run_id, "killed")
    except NotFound as reason:
        if empty:  # it died before its run was created
            return "done"
        if line.startswith(_START):  # the run it is part of is not there yet
            told(Progress(spool.run_id, spool.left_bytes(), "left", str(reason)))
            return "left"
        return _refused(spool, reason, told)
    except (Conflict, Invalid, TooLarge) as reason:
        return _refused(spool, reason, told)
    told(Progress(spool.run_id, 0, "done"))
    return "done"


def _refused(spool: Spool, reason: MainspringError, told: Told) -> str:
    """Put a spool aside, with its files and the reason."""
    spool.path.with_suffix(".reason").write_text(str(reason))
    spool.path.rename(spool.path.with_suffix(".refused"))
    if spool.files.is_dir():
        spool.files.rename(spool.files.with_suffix(".refused-files"))
    told(Progress(spool.run_id, spool.left_bytes(), "refused", str(reason)))
    return "refused"


def _no_room(where: Path) -> AbstractContextManager[None]:
    from mainspring.storage.files import no_room  # a program that only logs has no other use for storage

    return no_room(where)


def _locked(path: Path) -> int:
    """The file at `path`, made when it is not there, with the lock on it.

    Raises:
        Conflict: Another process holds it.
    """
    until = time.monotonic() + _LOCK_S  # a recovery that is under way lets go soon
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() > until:
                hint = "end it there, or start a run of its own with parent=RUN_ID"
                raise Conflict("another process logs this run", where=str(path), hint=hint) from None
            time.sleep(0.02)
            continue
        if _is_at(fd, path):
            return fd
        os.close(fd)  # it was removed between opening and locking


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _header_of(fd: int) -> _Header | None:
    line, newline, _ = os.pread(fd, _CHUNK, 0).partition(b"\n")
    if not newline:
        return None
    try:
        return msgspec.json.decode(line, type=_Header)
    except msgspec.MsgspecError:
        return None
