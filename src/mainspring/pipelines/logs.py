"""The log of a step: a file that takes what the step prints, down to native code, and its last part as bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT_BYTES = 256 * 1024
"""How much of the end of a log is kept."""


def log_path(folder: Path, step: str, attempt: int) -> Path:
    """Where the log of a try of a step is, in the folder of its run."""
    return folder / "logs" / f"{step}-{attempt}.txt"


def tail(path: Path, most: int = KEPT_BYTES) -> bytes:
    """The last `most` bytes of a file, from the start of a line; empty when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most, 0))
            data = file.read()
    except FileNotFoundError:
        return b""
    return data if size <= most else b"... " + data.partition(b"\n")[2]


def note(path: Path, line: str) -> None:
    """Add a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def captured(path: Path, *, all_output: bool) -> Iterator[None]:
    """Make the file; with `all_output`, what this process writes to stdout and stderr in the block goes there.

    That is for a process of its own: in a shared one it would take the words of others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if not all_output:
        yield
        return
    kept = [os.dup(fd) for fd in (1, 2)]
    with path.open("ab") as file:
        _flush()
        for fd in (1, 2):
            os.dup2(file.fileno(), fd)
    try:
        yield
    finally:
        _flush()
        for fd, old in zip((1, 2), kept, strict=True):
            os.dup2(old, fd)
            os.close(old)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
