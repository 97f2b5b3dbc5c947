"""The verb that keeps columns of metrics for searches among very many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.tracking.records import columns

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables
    from mainspring.tracking.records.columns import State

LEAST = 65_536
"""Among fewer runs a search is quick without columns."""
LATE = 2_000
"""So many runs may be late before the blocks that have most of them are built again."""
AGAIN = 2
"""How many blocks a turn builds again."""


class Columns:
    """Builds what searches read of metrics among very many runs. Any number of processes may take turns.

    A value takes four to six bytes in a block. Runs that measure something after their block was built are read from
    their rows until it is built again, so a search always finds what is stored.
    """

    def __init__(self, *, tables: Tables) -> None:
        self._tables = tables

    def turn(self, *, most: int = 8) -> int:
        """Build blocks for runs that came, or else some again whose runs measured more since.

        Args:
            most: How many new blocks at most, of 4,096 runs each. One takes about 0.2 s for 20 metrics.
        Returns: How many were built; 0 when there is nothing to do, or another process does it.
        """
        with self._tables.read() as conn:
            found, upto = columns.state(conn), columns.whole(conn)
            crowd = columns.gone(conn, found.built) or len(columns.late(conn, found.built, LATE + 1)) > LATE
        if upto < LEAST and not found.announced:
            return 0
        if upto > found.announced or (crowd and found.built == found.announced):
            begun = self._announced(found, upto)
            if begun is None:
                return 0
            found = begun
        new = range(found.built // columns.BLOCK, found.announced // columns.BLOCK)[:most]
        return self._build(found, list(new) or self._crowded(found, crowd=crowd))

    def _announced(self, found: State, upto: int) -> State | None:
        with self._tables.write() as conn:
            return columns.announce(conn, found, upto)

    def _crowded(self, found: State, *, crowd: bool) -> list[int]:
        if not crowd:
            return []
        with self._tables.read() as conn:
            return columns.crowded(conn, found, AGAIN)

    def _build(self, found: State, blocks: list[int]) -> int:
        for count, block in enumerate(blocks):
            with self._tables.read() as conn:
                values = columns.read(conn, block)
            with self._tables.write() as conn:
                kept = columns.keep(conn, found, block, values)
            if kept is None:
                return count
            found = kept
        return len(blocks)
