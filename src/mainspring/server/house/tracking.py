"""Runs of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.server.house.floor import CLOCK, journal, tables
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service is made."""
    wiring.add(Tracking, lambda w: Tracking(tables=tables(w), journal=journal(w), clock=CLOCK))
