"""Files through sockets: the kernel moves the bytes, a thread hashes the file meanwhile. Linux only, as all of it."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blake3 import blake3

PIECE = 1 << 20
SILENT_S = 60.0
"""Somebody who sends or takes nothing for this long is taken for gone."""
_LOOK_S = 1.0
_WORTHWHILE = 1 << 17


def splice(source: int, target: int, count: int) -> Iterator[int]:
    """Move bytes from a socket to a file through a pipe; gives how many at a time, and ends when the other side does.

    Args:
        source: Handle of the socket, which does not block.
        target: Handle of the file, which is written where it stands.
        count: At most so many.
    Raises:
        TimeoutError: Nothing came for `SILENT_S`.
    """
    patience = select.poll()
    patience.register(source, select.POLLIN)
    out, into = os.pipe()
    try:
        with suppress(PermissionError):  # this user has many such pipes already
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIECE)
        while count:
            try:
                moved = os.splice(source, into, min(PIECE, count))
            except BlockingIOError:
                _wake_for(source, min(_WORTHWHILE, count))
                if not patience.poll(SILENT_S * 1000):
                    raise TimeoutError(f"nothing came for {SILENT_S:.0f} s") from None
                continue
            except ConnectionError:
                return
            if not moved:
                return
            left = moved
            while left:
                left -= os.splice(out, target, left)
            count -= moved
            yield moved
    finally:
        os.close(out)
        os.close(into)


def _wake_for(handle: int, count: int) -> None:
    """Have a socket count as ready when so many bytes are there: one turn for much costs less than many for little."""
    with socket.socket(fileno=os.dup(handle)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def send(target: int, source: int, start: int, stop: int, *, over: Callable[[], bool] = lambda: False) -> None:
    """Send bytes of a file to a socket.

    Args:
        target: Handle of the socket.
        source: Handle of the file.
        start: The first byte.
        stop: The one after the last.
        over: Asked now and then: whether to give up.
    Raises:
        ConnectionError: The other side is gone, or took nothing for `SILENT_S`, or the file is shorter.
    """
    patience = select.poll()
    patience.register(target, select.POLLOUT)
    until = time.monotonic() + SILENT_S
    while start < stop:
        if over() or time.monotonic() > until:
            raise ConnectionAbortedError(f"nothing was taken for {SILENT_S:.0f} s, or nobody waits for it")
        if not patience.poll(_LOOK_S * 1000):
            continue
        try:
            sent = os.sendfile(target, source, start, min(PIECE, stop - start))
        except BlockingIOError:  # there was room for less
            continue
        if not sent:
            raise ConnectionAbortedError("the file is shorter than it was")
        start += sent
        until = time.monotonic() + SILENT_S


class Hashing:
    """Hashes a file behind the one who writes it, in a thread of its own. At the end of the block all of it is.

    Args:
        hasher: Takes the bytes.
        file: Handle of the file.
        start: From where on.
        behind: Called in the thread with the first byte and the count of what was hashed.
    """

    def __init__(
        self, hasher: blake3, file: int, start: int = 0, *, behind: Callable[[int, int], None] | None = None
    ) -> None:
        self._hasher = hasher
        self._handle = file
        self._at = self._told = start
        self._behind = behind
        self._ends: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mainspring-hash", daemon=True)

    def reach(self, end: int) -> None:
        """The file is written up to `end`."""
        if end - self._told >= PIECE:
            self._told = end
            self._ends.put(end)

    def __enter__(self) -> Hashing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.put(-1)
        self._thread.join()

    def _run(self) -> None:
        piece = memoryview(bytearray(PIECE))
        while (end := self._ends.get()) >= 0:
            while end - self._at >= PIECE:
                self._feed(piece)
        while self._feed(piece):
            pass

    def _feed(self, piece: memoryview) -> int:
        count = os.preadv(self._handle, [piece], self._at)
        self._hasher.update(piece[:count])
        if self._behind is not None:
            self._behind(self._at, count)
        self._at += count
        return count
