"""What happened in upkeep."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class GarbageCollected(Fact):
    """A turn of upkeep took something away, or brought it back. Subject: `upkeep`."""

    kind: ClassVar[str] = "upkeep.garbage_collected"
    removed: dict[str, int]
    discarded: int
    restored: int
    purged: int
    purged_bytes: int
    files: int
    compacted: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BlobRestored(Fact):
    """A blob was taken out of the trash by hand. Subject: `upkeep`."""

    kind: ClassVar[str] = "upkeep.blob_restored"
    digest: str
