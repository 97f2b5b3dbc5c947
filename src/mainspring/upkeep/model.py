"""Values of upkeep: what a turn found and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of blobs.

    Attributes:
        discarded: No row named them for the grace: moved to the trash.
        restored: A row names them again: put back in place.
        purged: They were in the trash for the grace: gone for good.
        waiting: Still in the trash.
        swept: Unfinished writes of killed processes that were removed.
    """

    discarded: int = 0
    discarded_bytes: int = 0
    restored: int = 0
    purged: int = 0
    purged_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    swept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one turn of upkeep did, or with `dry_run` would do.

    Attributes:
        removed: Things that were deleted for longer than their grace, by kind, and finished jobs: gone for good.
        blobs: What became of blobs.
        files: Files of tables that no version needs any more: gone for good.
        files_bytes: Their size.
        compacted: Tables whose small files were merged.
    """

    dry_run: bool
    removed: Mapping[str, int] = field(default_factory=dict)
    blobs: Collected = field(default_factory=Collected)
    files: int = 0
    files_bytes: int = 0
    compacted: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        blobs = (self.blobs.discarded, self.blobs.restored, self.blobs.purged, self.blobs.swept)
        return not (any(self.removed.values()) or any(blobs) or self.files or self.compacted)
