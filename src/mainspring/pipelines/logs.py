"""The log of a step: a file that takes what the step prints, down to native code, and its last part as bytes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from mainspring.pipelines.listening import heard, overlap
from mainspring.pipelines.secrets import masked

KEPT_BYTES = 256 * 1024
"""How much of the end of a log is kept."""
_SIEVE_S = 1.0


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


def note(path: Path, line: str, masks: Sequence[bytes] = ()) -> None:
    """Add a line, without the secrets in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(masked(f"{line}\n".encode(), masks))


@contextmanager
def captured(path: Path, *, all_output: bool, masks: Sequence[bytes] = ()) -> Iterator[None]:
    """What is written to stdout and stderr in the block goes to the file: with `all_output` all of this process.

    That is for a process of its own: in a shared one it would take the words of others, so there it is what this thread
    says, which goes on to where it went before. What is a secret, by `masks`, reaches neither.
    """
    if not all_output:
        with heard(path, masks):
            yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(fd) for fd in (1, 2)]
    _flush()
    with ExitStack() as stack:
        file = stack.enter_context(path.open("ab", buffering=0))
        target = stack.enter_context(_Sieve(file, masks)).fd if masks else file.fileno()
        for fd in (1, 2):
            os.dup2(target, fd)
        try:
            yield
        finally:
            _flush()
            for fd, old in zip((1, 2), kept, strict=True):
                os.dup2(old, fd)
                os.close(old)


class _Sieve:
    """A pipe into a file that lets no secret through, also where one is cut by the end of a block."""

    def __init__(self, file: IO[bytes], masks: Sequence[bytes]) -> None:
        self._file, self._masks = file, masks
        self._read, self.fd = os.pipe()
        self._thread = threading.Thread(target=self._pump, name="log-sieve", daemon=True)

    def __enter__(self) -> _Sieve:
        self._thread.start()
        return self

    def __exit__(self, *_reason: object) -> None:
        os.close(self.fd)
        self._thread.join(_SIEVE_S)  # a child that the step left behind may hold the pipe open
        if not self._thread.is_alive():
            os.close(self._read)

    def _pump(self) -> None:
        held = b""
        while data := os.read(self._read, 1 << 16):
            held = masked(held + data, self._masks)
            keep = max((overlap(held, mask) for mask in self._masks), default=0)
            self._write(held[: len(held) - keep])
            held = held[len(held) - keep :]
        self._write(held)

    def _write(self, text: bytes) -> None:
        with suppress(OSError):  # on a full disk: who writes into the pipe must not wait for it
            self._file.write(text)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # on a full disk
            stream.flush()
