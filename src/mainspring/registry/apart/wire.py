"""What parent and child say to each other: a line of JSON and bytes behind it, never a pickle."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import cast

Head = dict[str, object]
_SIZES = struct.Struct("<II")
MOST = 1 << 30


class Gone(Exception):
    """The other side ended."""


def send(sock: socket.socket, head: Head, body: bytes = b"") -> None:
    """Send one message.

    Raises:
        Gone: Nobody reads.
        TimeoutError: It took longer than the socket waits.
    """
    line = json.dumps(head).encode()
    try:
        sock.sendall(_SIZES.pack(len(line), len(body)) + line + body)
    except (BrokenPipeError, ConnectionResetError):
        raise Gone from None


def receive(sock: socket.socket, until: float | None = None) -> tuple[Head, bytes]:
    """Wait for one message, at most until a time of the monotonic clock.

    Raises:
        Gone: The other side ended, or says what is no message.
        TimeoutError: The time came.
    """
    line_size, body_size = _SIZES.unpack(_take(sock, _SIZES.size, until))
    if line_size > MOST or body_size > MOST:
        raise Gone
    line = _take(sock, line_size, until)
    try:
        head = json.loads(line)
    except ValueError:
        raise Gone from None
    if not isinstance(head, dict):
        raise Gone
    return cast(Head, head), _take(sock, body_size, until)


def _take(sock: socket.socket, size: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
        try:
            part = sock.recv(min(size, 1 << 20))
        except ConnectionResetError:
            raise Gone from None
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
