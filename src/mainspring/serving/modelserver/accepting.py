"""Letting clients in that wait at the socket of a worker, as quickly as they come and no worker more than its part.

The servers of event loops let in one client with each turn. A turn of a busy worker takes tens of milliseconds, so of a
burst hundreds would wait for seconds at the socket, where nothing is known of them: they are neither answered nor
refused, and count for nothing when it is told how long a new request would take.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
from collections.abc import Callable

_EACH_S = 0.001
_MOST = 256
_AGAIN_S = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = logging.getLogger(__name__)


class Entrance:
    """Lets in one client with each turn of the loop, and one more for each millisecond that the turn before took.

    Not all that wait: workers share the socket, and what one of them leaves, others take.

    Args:
        sock: Listens; it is this one's to close.
        protocol: Makes what speaks with a client.
    """

    def __init__(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._sock = sock
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._waiting = select.poll()
        self._waiting.register(sock, select.POLLIN)
        self._looked_at = 0.0
        self._left_some = False
        self._coming: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Begin."""
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._let_in)

    async def close(self) -> None:
        """Let nobody in any more, and wait for those that are half in."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        if self._coming:
            await asyncio.wait(self._coming)

    def _let_in(self) -> None:
        now = self._loop.time()
        count = 1 + int((now - self._looked_at) / _EACH_S) if self._left_some else 1
        self._looked_at = now
        for _ in range(min(count, _MOST)):
            if not self._let_one_in():
                self._left_some = False
                return
        self._left_some = bool(self._waiting.poll(0))

    def _let_one_in(self) -> bool:
        """Whether there was one."""
        try:
            client, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another worker was quicker
        except ConnectionAbortedError:
            return True  # it went away again
        except OSError as reason:
            if reason.errno not in _NO_ROOM:
                raise
            _log.warning("no client can be let in for now: %s", reason)
            self._loop.remove_reader(self._sock.fileno())
            self._loop.call_later(_AGAIN_S, self._open_again)
            return False
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._introduce(client))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
        return True

    async def _introduce(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except OSError:
            client.close()  # it went away meanwhile

    def _open_again(self) -> None:
        if self._sock.fileno() >= 0:
            self.open()
