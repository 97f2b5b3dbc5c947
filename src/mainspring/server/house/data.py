"""Datasets of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.server.house.floor import CLOCK, blobs, delta, journal, tables


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service is made."""
    wiring.add(Data, lambda w: Data(tables=tables(w), journal=journal(w), delta=delta(w), blobs=blobs(w), clock=CLOCK))
