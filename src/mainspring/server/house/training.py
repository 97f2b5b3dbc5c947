"""Training of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits.service import Splits
from mainspring.server.house.floor import CLOCK, OPENER, journal, queue, tables
from mainspring.tracking import Tracking
from mainspring.training.service import Training


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made."""
    wiring.add(Training, lambda w: _training(w, settings))


def _training(w: Wiring, settings: Settings) -> Training:
    return Training(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        data=w.get(Data),
        splits=w.get(Splits),
        clock=CLOCK,
        scratch=settings.data_dir / "scratch",
        tracking=w.get(Tracking),
        wiring=w,
        house=OPENER,
        house_env=settings.environ(),
        root=settings.root,
        lease_s=settings.loop.lease_s,
    )
