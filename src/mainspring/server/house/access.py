"""Access, audit and the event log of a house."""

from __future__ import annotations

from mainspring.access import Access, Audit, EventLog
from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.server.house.floor import CLOCK, journal, tables


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services of the room are made."""
    folder = settings.data_dir / "audit"
    wiring.add(Access, lambda w: Access())
    wiring.add(Audit, lambda w: Audit(tables=tables(w), journal=journal(w), clock=CLOCK, folder=folder))
    wiring.add(EventLog, lambda w: EventLog(tables=tables(w)))
