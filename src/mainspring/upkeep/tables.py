"""Upkeep of Delta tables: small files are merged, and files that no version needs are deleted.

A dataset version is a version of a Delta table that the data room pinned: it stays readable for ever. Tables that only
grow have no versions that anybody names, so of them just the newest is kept, and what readers may still hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mainspring.core.clock import HOUR_US
from mainspring.storage.ports import Delta, DeltaUpkeep

SMALL = 8
"""A table that grows is compacted when it has that many small files."""


class TableKeeper:
    """Keeps the tables of one store.

    Args:
        delta: The store.
        pinned: Gives the versions that must stay readable, by table.
        grows: Whether a table is one that only grows. Tables that are neither pinned nor grow are left alone.
        pause: Called between tables: raises when the work is to stop.
    """

    def __init__(
        self,
        delta: Delta,
        pinned: Callable[[], Mapping[str, Sequence[int]]],
        grows: Callable[[str], bool],
        pause: Callable[[], None],
    ) -> None:
        self._delta, self._pinned, self._grows, self._pause = delta, pinned, grows, pause

    def keep(self, grace_us: int, *, dry_run: bool = False) -> tuple[int, int, tuple[str, ...]]:
        """One turn over all tables.

        Returns: How many files went, their bytes, and the tables that were compacted.
        """
        if not isinstance(self._delta, DeltaUpkeep):
            return 0, 0, ()
        hours = max(1, grace_us // HOUR_US)
        pinned, files, size, compacted = self._pinned(), 0, 0, []
        for table in self._delta.names():
            self._pause()
            keep = pinned.get(table, ())
            if not keep and not self._grows(table):
                continue
            if not keep and self._delta.small_files(table) >= SMALL:
                compacted.append(table)
                if not dry_run:
                    self._delta.compact(table)
            if keep and len(set(keep)) == (self._delta.version(table) or 0) + 1:
                continue  # every version is pinned
            gone, freed = self._delta.vacuum(table, older_than_h=hours, keep=keep, dry_run=dry_run)
            files, size = files + gone, size + freed
        return files, size, tuple(compacted)
