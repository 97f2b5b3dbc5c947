"""Spool files: what a run logged and nobody has taken yet, safe from the death of the process that logged it.

One file for each run, one batch a line. While its process lives it holds a lock on the file, and the kernel lets go of
it however the process dies; so a file nobody locks is a run that was killed, and `recover` sends what it left.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Conflict, Invalid, NotFound, TooLarge
from mainspring.tracking.wire import Batch, decode

SUFFIX = ".spool"
EMBEDDED = "embedded"
"""The target of runs that log into the data folder their spool lies in; other targets are addresses of servers."""
_END = b"!"
Take = Callable[[str, Batch], None]
End = Callable[[str, str], object]


class Spool:
    """The spool of one run in this process.

    Args:
        folder: Where spools are kept.
        run_id: The run.
        target: Where its batches go; only that target's recovery takes them.
        project: The project of the run.
    """

    def __init__(self, folder: Path, run_id: str, *, target: str, project: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{run_id}{SUFFIX}"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        header = json.dumps({"run": run_id, "target": target, "project": project}).encode() + b"\n"
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, header, 0)
        self._start = self._sent = self._end = len(header)

    def append(self, line: bytes) -> None:
        """Keep a batch: once this returns, the death of the process does not lose it."""
        view = memoryview(line + b"\n")
        while view:
            written = os.pwrite(self._fd, view, self._end)
            self._end += written
            view = view[written:]

    def end(self, status: str) -> None:
        """Keep how the run ended, for a recovery that sends the rest."""
        self.append(_END + status.encode())

    def unsent(self) -> bytes:
        """The first batch that was not taken yet, b"" when all were."""
        chunk = b""
        while b"\n" not in chunk and self._sent + len(chunk) < self._end:
            chunk += os.pread(self._fd, 1 << 16, self._sent + len(chunk))
        return chunk.split(b"\n", 1)[0]

    def took(self, line: bytes) -> None:
        """Forget the first batch; the file shrinks when all are taken."""
        self._sent += len(line) + 1
        if self._sent >= self._end:
            os.ftruncate(self._fd, self._start)
            self._sent = self._end = self._start

    def close(self, *, remove: bool) -> None:
        """Let go of the file, and remove it when nothing in it is needed any more."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)


def recover(folder: Path, target: str, *, take: Take, end: End) -> list[str]:
    """Send what killed processes left for `target`, and end their runs as killed.

    Args:
        folder: Where spools are kept.
        target: Only spools for this target.
        take: Stores a batch of a run; may be given the same batch twice.
        end: Ends a run with a status.
    Returns: Ids of the runs that were recovered.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            run_id = _recover(path, target, take, end)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
        if run_id:
            found.append(run_id)
    return found


def _recover(path: Path, target: str, take: Take, end: End) -> str:
    lines = _whole_lines(path)
    try:
        header = json.loads(next(lines, b"{}"))
    except ValueError:
        header = {}
    if header and header.get("target") != target:
        return ""
    run_id = str(header.get("run", ""))
    left = list(lines) if run_id else []
    if run_id:
        with calling(Caller(project=str(header["project"]))):
            try:
                _send(run_id, left, take, end)
            except (Conflict, NotFound, Invalid, TooLarge) as reason:
                if left or not isinstance(reason, NotFound):  # else it died before its run was created
                    path.with_suffix(".reason").write_text(str(reason))
                    path.rename(path.with_suffix(".refused"))
                    return run_id
    path.unlink(missing_ok=True)
    return run_id


def _send(run_id: str, lines: list[bytes], take: Take, end: End) -> None:
    status = "killed"
    for line in lines:
        if line.startswith(_END):
            status = line.removeprefix(_END).decode()
        else:
            take(run_id, decode(line))
    end(run_id, status)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; a last one without an end was being written when its process died, and is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]
