"""Open files that a process passes to another one of the same machine and user, so that no byte goes through a socket.

One side waits at a place without a path, whose name it tells in a request over HTTP; the other side comes there, if it
can. Both look who is there: names of such places are known to all users of a machine.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

from mainspring.core.sockets import PIECE

MEET = "X-Meet"
"""The header that names the place where a client waits."""
MET = "X-Met"
"""The header of an answer whose body was passed as an open file instead."""
CAN_MEET = sys.platform == "linux"
"""Only Linux has places without a path, says who is at the other side, and copies between files by itself."""
_NAME = re.compile(r"[0-9a-f]{32}")
_PATIENCE_S = 5.0
_ELSEWHERE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Why the kernel does not copy between two files by itself: they are on file systems that differ, or too simple."""


class Meeting:
    """A place at which one other process of this user can come by. Made for one request."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._place = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._place.bind(_address(self.name))
        self._place.listen(1)
        self._place.settimeout(_PATIENCE_S)

    def fileno(self) -> int:
        """The handle that becomes readable when somebody is there."""
        return self._place.fileno()

    def give(self, file: int) -> None:
        """Pass an open file to who is there."""
        with self._other() as other:
            give(other, file)

    def take(self) -> int:
        """The handle of a file that was passed; the caller closes it."""
        with self._other() as other:
            return take(other)

    def _other(self) -> socket.socket:
        other, _ = self._place.accept()
        other.settimeout(_PATIENCE_S)
        if not _is_own(other):
            other.close()
            raise ConnectionAbortedError("somebody else came")
        return other

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        self._place.close()


def visit(name: str) -> socket.socket | None:
    """Go to a place where a process of this machine and user waits; None when there is none."""
    if not (CAN_MEET and _NAME.fullmatch(name)):
        return None
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.settimeout(_PATIENCE_S)
    with suppress(OSError):
        other.connect(_address(name))
        if _is_own(other):
            return other
    other.close()
    return None


def give(other: socket.socket, file: int) -> None:
    """Pass an open file."""
    socket.send_fds(other, [b"f"], [file])


def take(other: socket.socket) -> int:
    """The handle of a file that was passed; the caller closes it.

    Raises:
        OSError: It is no plain file, or nobody passed one.
    """
    _, handles, _, _ = socket.recv_fds(other, 1, 1)
    if not handles:
        raise ConnectionAbortedError("no file was passed")
    os.set_inheritable(handles[0], False)
    if not stat.S_ISREG(os.fstat(handles[0]).st_mode):
        os.close(handles[0])
        raise ConnectionAbortedError("what was passed is no plain file")
    return handles[0]


def copied(source: int, target: int, start: int, stop: int) -> Iterator[int]:
    """Copy a part of a file to the same place in another within the kernel; gives how many bytes at a time.

    Ends early when the file does.
    """
    alone = True
    while start < stop:
        try:
            if alone:
                count = os.copy_file_range(source, target, min(PIECE, stop - start), start, start)
            else:
                count = os.sendfile(target, source, start, min(PIECE, stop - start))
        except OSError as reason:
            if not alone or reason.errno not in _ELSEWHERE:
                raise
            alone = False
            os.lseek(target, start, os.SEEK_SET)
            continue
        if not count:
            return
        start += count
        yield count


def _address(name: str) -> str:
    return f"\0mainspring-{name}"


def _is_own(other: socket.socket) -> bool:
    """Whether a process of this user, or of root, is at the other side."""
    told = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", told)
    return user in (os.geteuid(), 0)
