"""Sending to addresses that users name: only to public ones, checked where the connection is made."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping

from mainspring.core.errors import Forbidden, Unavailable
from mainspring.core.values import dataclass
from mainspring.registry.notices import check_url, may_be_told

TIMEOUT_S = 10.0
_READ = 2_000


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status and the start of the body."""

    status: int
    body: str


def post(url: str, body: bytes, headers: Mapping[str, str], *, local: bool) -> Reply:
    """Send a body. Redirects are not followed and proxies not used, as both would lead around the check.

    Args:
        url: Where to.
        body: What.
        headers: Sent along.
        local: Whether http and addresses of this machine are allowed.
    Raises:
        Invalid: The address is malformed.
        Forbidden: The host is at no public address.
        Unavailable: It could not be reached or did not answer in time.
    """
    parts = check_url(url, local=local)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connection = _Plain(host, port, timeout=TIMEOUT_S)
    connection.local, connection.secure = local, parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, {"Host": parts.netloc.rpartition("@")[2], **headers})
        reply = connection.getresponse()
        return Reply(reply.status, reply.read(_READ).decode(errors="replace"))
    except (OSError, http.client.HTTPException, UnicodeError) as reason:
        hint = "is it up, and can this machine reach it?"
        raise Unavailable(f"{host} does not answer: {reason or type(reason).__name__}", where=url, hint=hint) from None
    finally:
        connection.close()


class _Plain(http.client.HTTPConnection):
    """Connects to an address that was checked, not to a name that could lead elsewhere by then."""

    local = False
    secure = True

    def connect(self) -> None:
        """Look the host up once, and connect to the first public address."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        allowed = [entry for entry in found if may_be_told(ipaddress.ip_address(str(entry[4][0])), local=self.local)]
        if not allowed:
            raise Forbidden(
                f"{self.host} is at no public address", where=self.host, hint="news goes to the internet only"
            )
        failure: OSError | None = None
        for family, kind, protocol, _, address in allowed[:4]:
            plain = socket.socket(family, kind, protocol)
            plain.settimeout(self.timeout)
            try:
                plain.connect(address)
                self.sock = self._wrapped(plain)
                return
            except OSError as reason:
                plain.close()
                failure = reason
        raise failure or OSError("no address")

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        if not self.secure:
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
