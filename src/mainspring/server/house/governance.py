"""Governance of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.governance import Governance
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, blobs, journal, tables
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made."""
    wiring.add(Governance, _governance)


def _governance(w: Wiring) -> Governance:
    return Governance(
        tables=tables(w),
        journal=journal(w),
        blobs=blobs(w),
        data=w.get(Data),
        tracking=w.get(Tracking),
        registry=w.get(Registry),
        clock=CLOCK,
    )
