"""Large bodies straight from the socket and to it: the web server reads the head of a request and writes that of an
answer, a thread does the rest."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mainspring.core.sockets import send
from mainspring.tracking.transfer import STRAIGHT

SENDERS = 8
"""How many answers have a thread at the same time; slow clients can't take more, and all others go the usual way."""
_senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="mainspring-send")
_free = threading.Semaphore(SENDERS)
_LOOKS = 20
"""How often to look whether the head of an answer has gone, a millisecond apart."""


class StraightProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; the scope of a request also holds its `Straight`."""

    def on_headers_complete(self) -> None:
        """Called by the parser when the head of a request is whole."""
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", Gathering(self.transport, self.loop))
        extensions = cast("dict[str, object]", self.scope.setdefault("extensions", {}))
        extensions[STRAIGHT] = Straight(self, self.cycle)


class Gathering:
    """The transport of one answer. Its head waits for the first of its body until the turn of the loop ends, as most
    answers are one small piece: sent apart, they cost both sides twice."""

    __slots__ = ("_held", "_loop", "_started", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._started = False

    def write(self, data: bytes) -> None:
        """Send bytes, or hold them when they are the first."""
        if self._held:
            data, self._held = self._held + data, b""
        elif not self._started:
            self._started, self._held = True, data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._transport.is_closing()


class Straight:
    """The rest of a body that the web server has not read yet, or of an answer that it has not written."""

    def __init__(self, protocol: HttpToolsProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def take(self) -> tuple[bytes, int] | None:
        """Stop the web server from reading. The connection ends with the answer, as the server has lost count.

        Returns: What it has read of the body already, and a handle of the socket for the caller to read the rest from
            and to close; None when it has to go the usual way.
        """
        transport, cycle = self._protocol.transport, self._cycle
        found = transport.get_extra_info("socket")
        if found is None or transport.get_extra_info("sslcontext") or cycle.waiting_for_100_continue:
            return None
        self._protocol.flow.pause_reading()
        early, cycle.body = bytes(cycle.body), bytearray()
        cycle.keep_alive = False
        return early, os.dup(found.fileno())

    async def give(self, file: int, start: int, stop: int) -> bool:
        """Send a part of a file as the next bytes of an answer whose head says how long it is.

        Args:
            file: Handle of the file.
            start: The first byte.
            stop: The one after the last; more of the answer must follow.
        Returns: False when nothing was sent, and it has to go the usual way.
        Raises:
            ConnectionError: The client went away.
        """
        transport, cycle = self._protocol.transport, self._cycle
        found = transport.get_extra_info("socket")
        cast("Gathering", cycle.transport).flush()
        if found is None or transport.get_extra_info("sslcontext") or not await self._written():
            return False
        if not _free.acquire(blocking=False):
            return False
        # handles of its own: whoever waits for the thread may be gone before it
        handles, over = (os.dup(found.fileno()), os.dup(file)), threading.Event()
        cycle.expected_content_length -= stop - start
        sending = asyncio.get_running_loop().run_in_executor(_senders, _sent, handles, start, stop, over)
        try:
            sent = await asyncio.shield(sending)
        finally:
            over.set()
        if not sent:
            cycle.disconnected = True
            transport.abort()
            raise ConnectionAbortedError("the client went away")
        return True

    async def _written(self) -> bool:
        """Whether all that was written so far has left; the head of an answer leaves at once but for a slow client."""
        for _ in range(_LOOKS):
            if not self._protocol.transport.get_write_buffer_size():
                return not self._cycle.disconnected
            await asyncio.sleep(0.001)
        return False


def _sent(handles: tuple[int, int], start: int, stop: int, over: threading.Event) -> bool:
    """Whether a part of a file went out before its client did."""
    try:
        send(*handles, start, stop, over=over.is_set)
    except OSError:
        return False
    finally:
        for handle in handles:
            os.close(handle)
        _free.release()
    return True
