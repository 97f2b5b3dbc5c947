"""Grants: the recorded permission of a person to load one pickle, bound to its digest and to a time.

The event log is where grants are kept: a grant counts when the last event about it says granted, the digest is that of
the version and the time has not come. What leaves for a model server is a signed line that says the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json
from mainspring.core.clock import DAY_US, Clock, iso
from mainspring.core.errors import Invalid, NotFound, Refused
from mainspring.core.values import dataclass
from mainspring.registry.events import GrantRevoked, PickleGranted
from mainspring.registry.model import ModelVersion
from mainspring.registry.signing import Signer, is_signed

if TYPE_CHECKING:
    from mainspring.core.events import Event
    from mainspring.storage.ports import Journal, Tables

MOST_DAYS = 365
_LEAST_REASON = 5
_KINDS = (PickleGranted.kind, GrantRevoked.kind)


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What a person asks for.

    Args:
        reason: Why the pickle may be loaded; kept in the event log.
        days: How long, 1 to 365.
        despite_scan: Also when the scan says unsafe: then it can do whatever this user can.
    """

    reason: str
    days: int = 90
    despite_scan: bool = False

    def __post_init__(self) -> None:
        if len(self.reason.strip()) < _LEAST_REASON:
            raise Invalid("a grant needs a reason", where="reason", hint='say who made the pickle: --reason "..."')
        if not 1 <= self.days <= MOST_DAYS:
            raise Invalid(f"a grant for {self.days} days", where="days", hint=f"1 to {MOST_DAYS}")


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that counts now."""

    model: str
    version: int
    digest: str
    actor: str
    reason: str
    granted_at: int
    expires_at: int
    despite_scan: bool
    scan: str


@dataclass(frozen=True, slots=True)
class GrantChange:
    """A grant was given or taken back; `expires_at` and `scan` are those of a grant that was given."""

    model: str
    version: int
    digest: str
    granted: bool
    at: int
    actor: str
    reason: str
    expires_at: int | None = None
    despite_scan: bool = False
    scan: str = ""


@dataclass(frozen=True, slots=True)
class Permit:
    """What a signed line says: until when (microseconds UTC) a digest may be loaded, and whether despite its scan."""

    digest: str
    expires_at: int
    despite_scan: bool

    def line(self, signer: Signer) -> str:
        """As a signed line."""
        return json.dumps({"permit": _plain(self), "signature": signer.sign(_statement(self))})

    @classmethod
    def of(cls, line: str, *, digest: str, public_key: bytes | None, now: int) -> Permit:
        """Back from a line, checked.

        Raises:
            Refused: There is none, it is not signed by this key, it is for another digest, or its time is over.
        """
        hint = "mainspring models grant NAME VERSION --reason ..."
        if not line or public_key is None:
            raise Refused("a pickle is loaded only with a grant", where=digest[:16], hint=hint)
        try:
            plain = json.loads(line)
            said, signature = plain["permit"], str(plain["signature"])
            found = cls(str(said["digest"]), int(said["expires_at"]), bool(said["despite_scan"]))
        except (ValueError, KeyError, TypeError):
            raise Refused("the grant can't be read", where=digest[:16], hint=hint) from None
        if not is_signed(_statement(found), signature, public_key) or found.digest != digest:
            raise Refused("the grant is not for this version", where=digest[:16], hint=hint)
        if found.expires_at <= now:
            raise Refused(f"the grant ended at {iso(found.expires_at)}", where=digest[:16], hint=hint)
        return found


class Grants:
    """Gives, shows and takes back grants. `names` tells the names of a model, those that it had before too."""

    def __init__(
        self, *, tables: Tables, journal: Journal, clock: Clock, signer: Signer, names: Callable[[str], Sequence[str]]
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock
        self._signer = signer
        self._names = names
        self._changed: Callable[[], object] = lambda: None

    def tell_changes(self, changed: Callable[[], object]) -> None:
        """Learn whom to tell of a change: a room above that has models loaded."""
        self._changed = changed

    def give(self, found: ModelVersion, request: GrantRequest, *, scan: str, safe: bool) -> Grant:
        """Record a grant for a version.

        Args:
            found: The version; the grant is for its digest alone.
            request: Reason and length.
            scan: What the scanner said.
            safe: Whether it said safe.
        Raises:
            Refused: The scan says unsafe, and the request does not say despite it.
        """
        if not safe and not request.despite_scan:
            raise Refused(f"the scan of the pickle says unsafe: {scan}", where=found.ref, hint=_DESPITE)
        expires = self._clock.now() + request.days * DAY_US
        fact = PickleGranted(
            subject=found.ref,
            model=found.model,
            version=found.number,
            digest=found.digest,
            reason=request.reason,
            expires_at=expires,
            despite_scan=not safe,
            scan=scan[:1000],
        )
        with self._tables.write() as conn:
            self._journal.append(conn, fact)
        self._changed()
        grant = self.of(found)
        if grant is None:
            raise NotFound("the grant was taken back at once", where=found.ref)
        return grant

    def revoke(self, found: ModelVersion, reason: str) -> None:
        """Take a grant back: the version is not loaded any more, and where it is loaded it goes.

        Raises:
            NotFound: There is no grant.
        """
        if self.of(found) is None:
            raise NotFound("there is no grant", where=found.ref, hint=f"mainspring models show {found.model}")
        fact = GrantRevoked(
            subject=found.ref, model=found.model, version=found.number, digest=found.digest, reason=reason
        )
        with self._tables.write() as conn:
            self._journal.append(conn, fact)
        self._changed()

    def of(self, found: ModelVersion) -> Grant | None:
        """The grant of a version that counts now."""
        last = self._last(found)
        if last is None or last.kind != PickleGranted.kind:
            return None
        said = last.payload
        expires = int(str(said["expires_at"]))
        if said["digest"] != found.digest or expires <= self._clock.now():
            return None
        return Grant(
            found.model,
            found.number,
            found.digest,
            last.actor,
            str(said["reason"]),
            last.at,
            expires,
            bool(said["despite_scan"]),
            str(said["scan"]),
        )

    def history(self, found: ModelVersion, *, limit: int = 100) -> list[GrantChange]:
        """Who gave and took back grants of a version, and why, newest first."""
        return [_change(event) for event in reversed(self._events(found))][:limit]

    def line(self, found: ModelVersion) -> str:
        """The signed line for a model server; "" when the version has no grant."""
        grant = self.of(found)
        if grant is None:
            return ""
        return Permit(grant.digest, grant.expires_at, grant.despite_scan).line(self._signer)

    def _last(self, found: ModelVersion) -> Event | None:
        return next(reversed(self._events(found)), None)

    def _events(self, found: ModelVersion) -> list[Event]:
        """What happened to the grants of a version, oldest first; a rename of its model takes none away."""
        kept: list[Event] = []
        for ref in [f"models/{name}/{found.number}" for name in self._names(found.model)]:
            after = 0
            while events := self._journal.read(after, kinds=_KINDS, subject=ref, project=caller().project):
                after = events[-1].seq
                kept += [event for event in events if event.subject == ref]
        return sorted(kept, key=lambda event: event.seq)


def _change(event: Event) -> GrantChange:
    said, granted = event.payload, event.kind == PickleGranted.kind
    return GrantChange(
        model=str(said["model"]),
        version=int(str(said["version"])),
        digest=str(said["digest"]),
        granted=granted,
        at=event.at,
        actor=event.actor,
        reason=str(said["reason"]),
        expires_at=int(str(said["expires_at"])) if granted else None,
        despite_scan=bool(said.get("despite_scan", False)),
        scan=str(said.get("scan", "")),
    )


_DESPITE = "look at the pickle; --despite-scan if you trust who made it: it can do whatever you can"


def _plain(permit: Permit) -> dict[str, object]:
    return {"digest": permit.digest, "expires_at": permit.expires_at, "despite_scan": permit.despite_scan}


def _statement(permit: Permit) -> bytes:
    return canonical_json({"pickle_permit": _plain(permit)})
