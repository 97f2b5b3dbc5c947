"""The verb that removes for good what was deleted long ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, calling
from mainspring.core.events import Fact
from mainspring.tracking.events import ExperimentRemoved, LoggedModelRemoved, RunRemoved
from mainspring.tracking.records import removal, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from mainspring.storage.ports import Journal, Tables

AT_ONCE = 100
"""How many runs are set apart between two pauses."""
ACTOR = "upkeep"
Pause = Callable[[], None]
_Find = Callable[["Connection", int, int], list[removal.Doomed]]


class Removal:
    """Removes experiments, runs and logged models for good, with their rows and files."""

    def __init__(self, *, tables: Tables, journal: Journal) -> None:
        self._tables = tables
        self._journal = journal

    def count(self, before: int) -> dict[str, int]:
        """How many experiments, runs and logged models were deleted before a time, or go with their experiment."""
        with self._tables.read() as conn:
            return removal.count(conn, before)

    def remove(self, before: int, pause: Pause) -> dict[str, int]:
        """Remove what was deleted before a time. May be cut off by `pause` anywhere, and called again.

        Returns: How many experiments, runs and logged models went.
        """
        counts = {
            "experiments": self._set_apart(tables.experiment, removal.experiments, ExperimentRemoved, before, pause),
            "runs": self._set_apart(tables.run, removal.runs, RunRemoved, before, pause),
            "logged_models": self._set_apart(tables.logged_model, removal.models, LoggedModelRemoved, before, pause),
        }
        for table in (tables.run, tables.logged_model, tables.experiment):
            self._delete(table, pause)
        return counts

    def _set_apart(self, table: Table, find: _Find, fact: Callable[..., Fact], before: int, pause: Pause) -> int:
        count = 0
        while True:
            with self._tables.read() as conn:
                found = find(conn, before, AT_ONCE)
            taken = 0
            for doomed in found:
                pause()
                taken += self._take(table, doomed, fact, before)
            count += taken
            if not taken:
                return count

    def _take(self, table: Table, doomed: removal.Doomed, fact: Callable[..., Fact], before: int) -> int:
        with calling(Caller(ACTOR, doomed.project)), self._tables.write() as conn:
            if not removal.set_apart(conn, table, doomed, before):
                return 0
            self._journal.append(conn, fact(subject=f"{_NOUNS[table.name]}/{doomed.id}", deleted_at=doomed.deleted_at))
            return 1

    def _delete(self, table: Table, pause: Pause) -> None:
        while True:
            with self._tables.read() as conn:
                numbers = removal.apart(conn, table, AT_ONCE)
            for number in numbers:
                for hanging, column in removal.hanging(table):
                    more = True
                    while more:
                        pause()
                        with self._tables.write() as conn:
                            more = removal.delete_some(conn, hanging, column, number)
                with self._tables.write() as conn:
                    removal.delete_last(conn, table, number)
            if not numbers:
                return


_NOUNS = {"experiment": "experiments", "run": "runs", "logged_model": "logged-models"}
