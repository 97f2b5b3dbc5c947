"""Where the rooms keep things: tables, events, queue, blobs, Delta."""

from __future__ import annotations

from mainspring.core.clock import SystemClock
from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Blobs, Delta, Journal, Queue, Tables
from mainspring.storage.queue import SqlQueue

CLOCK = SystemClock()
OPENER = "mainspring.server.house:open_house"
"""How a child process opens the same house."""


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the ports are opened."""
    place, folder = settings.storage, settings.data_dir
    wiring.add(Tables, lambda w: open_tables(place.db, folder))  # type: ignore[type-abstract]
    wiring.add(Journal, lambda w: SqlJournal(tables(w), CLOCK))  # type: ignore[type-abstract]
    wiring.add(Queue, lambda w: SqlQueue(tables(w)))  # type: ignore[type-abstract]
    wiring.add(Blobs, lambda w: open_blobs(place.blobs, folder))  # type: ignore[type-abstract]
    wiring.add(Delta, lambda w: open_delta(place.blobs, folder))  # type: ignore[type-abstract]


def tables(w: Wiring) -> Tables:
    """The tables of the house."""
    return w.get(Tables)  # type: ignore[type-abstract]


def journal(w: Wiring) -> Journal:
    """The event log of the house."""
    return w.get(Journal)  # type: ignore[type-abstract]


def queue(w: Wiring) -> Queue:
    """The queue of the house."""
    return w.get(Queue)  # type: ignore[type-abstract]


def blobs(w: Wiring) -> Blobs:
    """The blobs of the house."""
    return w.get(Blobs)  # type: ignore[type-abstract]


def delta(w: Wiring) -> Delta:
    """The Delta tables of the house."""
    return w.get(Delta)  # type: ignore[type-abstract]
