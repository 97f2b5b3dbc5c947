"""The verbs of saved views."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.core.ids import check_name
from mainspring.tracking.events import ViewRemoved, ViewSaved
from mainspring.tracking.grammar import RUNS, read_fields, read_filter, read_order
from mainspring.tracking.model import View
from mainspring.tracking.records import views
from mainspring.tracking.searching import MORE

if TYPE_CHECKING:
    from mainspring.storage.ports import Journal, Tables

MAX_VIEWS = 1000
_MAX_TEXT = 20_000


class Views:
    """Keeps searches of runs under names, for everybody in the project."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def save(self, view: View) -> View:
        """Keep a view; the same name again replaces it.

        Raises:
            Invalid: The name, or a filter, order or column that no search would take.
        """
        check_name(view.name, "view")
        if sum(map(len, (view.filter, view.experiment, *view.order_by, *view.columns))) > _MAX_TEXT:
            raise Invalid("the view is too long", where=f"views/{view.name}", hint=f"use {_MAX_TEXT} characters")
        read_filter(view.filter, RUNS)
        read_order(view.order_by, RUNS)
        for column in view.columns:
            read_fields(column, RUNS, MORE)
        made = replace(view, changed_at=self._clock.now(), changed_by=caller().actor)
        with self._tables.write() as conn:
            known = views.list_all(conn, caller().project)
            if len(known) >= MAX_VIEWS and all(found.name != view.name for found in known):
                raise Invalid(f"there are {MAX_VIEWS} views", where="views", hint="remove some of them")
            views.put(conn, caller().project, made)
            self._journal.append(conn, ViewSaved(subject=f"views/{made.name}", filter=made.filter))
        return made

    def list(self) -> list[View]:
        """Views by name."""
        with self._tables.read() as conn:
            return views.list_all(conn, caller().project)

    def get(self, name: str) -> View:
        """One view.

        Raises:
            NotFound: There is none of this name.
        """
        known = {view.name: view for view in self.list()}
        if name not in known:
            raise _no_view(name, did_you_mean(name, known) or "mainspring views ls")
        return known[name]

    def remove(self, name: str) -> None:
        """Delete a view.

        Raises:
            NotFound: There is none of this name.
        """
        with self._tables.write() as conn:
            kept = {view.name: view for view in views.list_all(conn, caller().project)}.get(name)
            if kept is None or not views.remove(conn, caller().project, name):
                raise _no_view(name, "mainspring views ls")
            self._journal.append(conn, ViewRemoved(subject=f"views/{name}", filter=kept.filter))


def _no_view(name: str, hint: str) -> NotFound:
    return NotFound(f"there is no view {name[:60]!r}", where="views", hint=hint)
