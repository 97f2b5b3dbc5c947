"""The values of the access room: a permission, an identity, and what the audit chain is made of."""

from __future__ import annotations

import hashlib
import re

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

PUBLIC = "public"
"""The permission of a route that anyone may call; only the health check has it."""

_PERMISSION = re.compile(r"[a-z][a-z_]*:(read|write)")


def check_permission(text: str) -> str:
    """Give back `text` when it is a permission: `noun:read`, `noun:write` or `public`.

    Raises:
        Invalid: It is not one.

    >>> check_permission("models:write")
    'models:write'
    """
    if text == PUBLIC or _PERMISSION.fullmatch(text):
        return text
    raise Invalid(f"{text!r} is not a permission", hint='write "noun:read" or "noun:write", such as "models:read"')


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: a name for the record, and the role that says what they may do."""

    actor: str
    role: str


OWNER = Identity("owner", "owner")
ANONYMOUS = Identity("anonymous", "anonymous")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement: these events, in this order, and the checkpoint before this one.

    Attributes:
        number: 1 for the first, then one more each time.
        first_seq: Sequence number of the first event in the range.
        last_seq: Sequence number of the last one.
        count: How many events the range holds.
        root: Merkle tree hash (RFC 9162, SHA-256) over the canonical bytes of the events, 64 hex digits.
        previous: Digest of the checkpoint before, empty for the first.
        at: When it was sealed, epoch microseconds.
        key: Which key signed it (`keys.key_id`).
        signature: Ed25519 over `body`, 128 hex digits.
    """

    number: int
    first_seq: int
    last_seq: int
    count: int
    root: str
    previous: str
    at: int
    key: str
    signature: str

    def body(self) -> bytes:
        """The bytes that are signed: everything but the signature, in canonical JSON."""
        return canonical_json(
            {
                "format": "mainspring-checkpoint-1",
                "number": self.number,
                "first_seq": self.first_seq,
                "last_seq": self.last_seq,
                "count": self.count,
                "root": self.root,
                "previous": self.previous,
                "at": self.at,
                "key": self.key,
            }
        )

    def digest(self) -> str:
        """SHA-256 over the body and the signature, by which the next checkpoint names this one."""
        return hashlib.sha256(self.body() + self.signature.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not add up: at which checkpoint (0: outside all of them), and what."""

    checkpoint: int
    what: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome of a verification.

    Attributes:
        checkpoints: How many checkpoints were read.
        sealed: How many events they cover.
        unsealed: How many events came after the last checkpoint and are not covered yet.
        head: Digest of the last checkpoint: keep a copy elsewhere and pass it to `verify` later.
        faults: Everything that does not add up; empty when all is well.
    """

    checkpoints: int
    sealed: int
    unsealed: int
    head: str
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.faults
