"""Who is asking and what they may do. `Access.check` is the one function, and the server's guard the one caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.access import records
from mainspring.access.model import ANONYMOUS, OWNER, Identity, check_permission
from mainspring.access.rules import is_allowed, is_loopback, is_remote
from mainspring.core.caller import caller
from mainspring.core.errors import Forbidden, Invalid, Refused, Unauthenticated

if TYPE_CHECKING:
    from mainspring.core.events import Event
    from mainspring.storage.ports import Tables


class Access:
    """Embedded mode: the server listens on loopback only, and whoever reaches it is the owner.

    Args:
        identity: Who is asking when the door does not know better.
    """

    def __init__(self, identity: Identity = OWNER) -> None:
        self._identity = identity

    def identify(self, peer: str) -> Identity:
        """Who is behind a connection from `peer`: an IP address, or anything else when it did not come by network."""
        return ANONYMOUS if is_remote(peer) else self._identity

    def check(self, identity: Identity, permission: str) -> None:
        """Return when `identity` may do what `permission` names.

        Raises:
            Unauthenticated: Nobody is known to be asking.
            Forbidden: They are known, and may not.
            Invalid: The permission is not written `noun:read` or `noun:write`.
        """
        if is_allowed(identity, check_permission(permission)):
            return
        if identity == ANONYMOUS:
            raise Unauthenticated("it is not known who is asking", where=permission, hint="ask from this machine")
        raise Forbidden(f"{identity.actor} ({identity.role}) may not do this", where=permission)


def check_binding(host: str) -> None:
    """Return when an embedded server may listen on `host`.

    Raises:
        Refused: Other machines could reach it, and there are no users yet who would have to show who they are.
    """
    if not is_loopback(host):
        raise Refused(
            f"{host} can be reached from other machines, and this server does not know users yet",
            where="server.host",
            hint="use 127.0.0.1, and ssh -L 7600:127.0.0.1:7600 HOST from elsewhere",
        )


class EventLog:
    """The event log for people: newest first, the project of the caller only.

    Args:
        tables: Where the log is.
    """

    def __init__(self, *, tables: Tables) -> None:
        self._tables = tables

    def newest(self, *, before: int = 0, limit: int = 100, kind: str = "", subject: str = "") -> list[Event]:
        """Events below number `before` (0: from the end), newest first.

        Args:
            limit: 1 to 1000.
            kind: One kind, or a room with a dot such as "registry."; empty = all.
            subject: A subject and what lies under it: "models/flights" finds "models/flights/3"; empty = all.
        Raises:
            Invalid: The limit is out of range.
        """
        if not 1 <= limit <= 1000:
            raise Invalid(f"{limit} events asked for", where="limit", hint="use 1 to 1000")
        with self._tables.read() as conn:
            return records.newest_events(
                conn, project=caller().project, before=before, limit=limit, kind=kind, subject=subject
            )
