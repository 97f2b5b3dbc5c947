"""Large bodies straight from the socket: the web server reads the head of a request, the handler's thread the rest."""

from __future__ import annotations

import os
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mainspring.tracking.transfer import STRAIGHT


class StraightProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; the scope of a request also holds its `Straight`."""

    def on_headers_complete(self) -> None:
        """Called by the parser when the head of a request is whole."""
        super().on_headers_complete()
        extensions = cast("dict[str, object]", self.scope.setdefault("extensions", {}))
        extensions[STRAIGHT] = Straight(self, self.cycle)


class Straight:
    """The rest of a body that the web server has not read yet."""

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
