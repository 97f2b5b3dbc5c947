"""The verb that removes for good what was deleted from the registry long ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, calling
from mainspring.registry.events import VersionRemoved
from mainspring.registry.records import removal

if TYPE_CHECKING:
    from mainspring.storage.ports import Journal, Tables

AT_ONCE = 100
ACTOR = "upkeep"


class Removal:
    """Takes their packages from deleted versions. Their numbers and times stay: history is answered from them."""

    def __init__(self, *, tables: Tables, journal: Journal) -> None:
        self._tables = tables
        self._journal = journal

    def count(self, before: int) -> dict[str, int]:
        """How many versions were deleted before a time and still have their package."""
        with self._tables.read() as conn:
            return {"versions": removal.count(conn, before)}

    def remove(self, before: int, pause: Callable[[], None]) -> dict[str, int]:
        """Remove what was deleted before a time. May be cut off by `pause` anywhere, and called again.

        Returns: How many versions went.
        """
        count = 0
        while True:
            with self._tables.read() as conn:
                found = removal.versions(conn, before, AT_ONCE)
            for doomed in found:
                pause()
                count += self._take(doomed, before)
            if not found:
                break
        with self._tables.write() as conn:
            removal.drop_tags(conn, before)
        return {"versions": count}

    def _take(self, doomed: removal.Doomed, before: int) -> int:
        with calling(Caller(ACTOR, doomed.project)), self._tables.write() as conn:
            if not removal.empty(conn, doomed, before):
                return 0
            subject = f"models/{doomed.model}/{doomed.number}"
            self._journal.append(conn, VersionRemoved(subject=subject, model=doomed.model, version=doomed.number))
            return 1
