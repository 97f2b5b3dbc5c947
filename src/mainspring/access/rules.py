"""Decisions of the access room: may they, is this our own browser, and does the audit chain add up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from mainspring.access.model import PUBLIC, Checkpoint, Fault, Identity
from mainspring.core.canonical import canonical_json
from mainspring.core.events import Event

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def is_allowed(identity: Identity, permission: str) -> bool:
    """Whether this identity may do what the permission names.

    >>> is_allowed(Identity("ada", "viewer"), "models:write")
    False
    """
    if permission == PUBLIC or identity.role == "owner":
        return True
    return identity.role == "viewer" and permission.endswith(":read")


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@lru_cache(1024)
def is_remote(peer: str) -> bool:
    """Whether a peer is an IP address of another machine; pipes and calls within the process have none.

    >>> is_remote("192.0.2.7"), is_remote("::1"), is_remote("")
    (True, False, False)
    """
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_loopback


def own_hosts(port: int) -> frozenset[str]:
    """The values of a `Host` header under which an embedded server on `port` knows itself."""
    named = {f"{name}:{port}" for name in LOOPBACK_NAMES}
    return frozenset(named | set(LOOPBACK_NAMES)) if port == 80 else frozenset(named)


def host_is_own(host: str, hosts: frozenset[str]) -> bool:
    """Whether a `Host` header names this server; a page that rebinds its name to loopback does not (DNS rebinding)."""
    return host.lower() in hosts


def origin_is_own(method: str, origin: str | None, fetch_site: str | None, hosts: frozenset[str]) -> bool:
    """Whether a request may change something as far as the browser that sent it is concerned.

    Programs send neither header and pass. A browser sends `Sec-Fetch-Site`, `Origin` or both with every request that
    can change something; then all that it sends must say "same origin". Another port of this machine is another origin.

    Args:
        method: HTTP method, upper case.
        origin: The `Origin` header, None when there is none.
        fetch_site: The `Sec-Fetch-Site` header, None when there is none.
        hosts: What `own_hosts` gave.
    """
    if method in SAFE_METHODS:
        return True
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        return False
    return origin is None or _is_own_origin(origin, hosts)


def _is_own_origin(origin: str, hosts: frozenset[str]) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and host_is_own(parts.netloc, hosts)


class MerkleTree:
    """The Merkle tree hash of a list of leaves that arrive one by one, in memory that grows with its logarithm.

    Source: RFC 9162, section 2.1.1 (the same tree as RFC 6962), SHA-256.

    >>> MerkleTree().root().hex()[:16]
    'e3b0c44298fc1c14'
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash), heights strictly falling
        for leaf in leaves:
            self.add(leaf)

    def add(self, leaf: bytes) -> None:
        """Append one leaf."""
        height, node = 0, hashlib.sha256(b"\x00" + leaf).digest()
        while self._peaks and self._peaks[-1][0] == height:
            node = _node(self._peaks.pop()[1], node)
            height += 1
        self._peaks.append((height, node))

    def root(self) -> bytes:
        """The hash of the whole, 32 bytes."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            root = _node(peak, root)
        return root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def event_bytes(event: Event) -> bytes:
    """The bytes of an event as the audit chain sees it: every field, in canonical JSON."""
    return canonical_json(
        {
            "seq": event.seq,
            "at": event.at,
            "actor": event.actor,
            "project": event.project,
            "kind": event.kind,
            "subject": event.subject,
            "payload": event.payload,
            "request_id": event.request_id,
        }
    )


def events_root(events: Iterable[Event]) -> str:
    """The Merkle tree hash over the events, 64 hex digits."""
    return MerkleTree(event_bytes(event) for event in events).root().hex()


def link_faults(before: Checkpoint | None, this: Checkpoint, is_signed: Callable[[Checkpoint], bool]) -> list[Fault]:
    """What is wrong with a checkpoint and its tie to the one before, without looking at events.

    Args:
        before: The checkpoint before in the table, None for the first.
        this: The checkpoint in question.
        is_signed: Whether the signature of a checkpoint holds under the pinned key.
    """
    number, digest, last_seq = (before.number, before.digest(), before.last_seq) if before else (0, "", 0)
    faults = []
    if not is_signed(this):
        faults.append(Fault(this.number, "its signature does not hold under the pinned key"))
    if this.number != number + 1:
        faults.append(Fault(this.number, f"follows checkpoint {number}: a checkpoint is missing or was added"))
    if this.previous != digest:
        faults.append(Fault(this.number, "does not name the checkpoint before it"))
    if not (this.first_seq == last_seq + 1 and this.last_seq - this.first_seq + 1 == this.count):
        faults.append(Fault(this.number, f"its range {this.first_seq}-{this.last_seq} does not follow {last_seq}"))
    return faults


def range_faults(this: Checkpoint, seqs: list[int], root: str) -> list[Fault]:
    """What is wrong with the events of a checkpoint's range as they are stored now.

    Args:
        this: The checkpoint.
        seqs: Sequence numbers found after the checkpoint before and up to `this.last_seq`.
        root: Merkle tree hash of those events.
    """
    span = f"events {this.first_seq}-{this.last_seq}"
    if len(seqs) < this.count:
        return [Fault(this.number, f"{span}: {this.count - len(seqs)} of {this.count} sealed events are gone")]
    if len(seqs) > this.count:
        return [Fault(this.number, f"{span}: {len(seqs) - this.count} events were added after sealing")]
    if root != this.root:
        return [Fault(this.number, f"{span}: an event was changed or moved after sealing")]
    return []


def head_faults(known_head: str, digests: list[str]) -> list[Fault]:
    """Whether a head that was written down earlier is still part of the chain: it is not when the end was cut off.

    Args:
        known_head: Digest of a checkpoint kept elsewhere, empty for none.
        digests: Digests of all checkpoints, oldest first.
    """
    if not known_head or known_head in digests:
        return []
    return [Fault(0, f"the chain has no checkpoint {known_head[:16]}: its end was cut off, or it was rewritten")]
