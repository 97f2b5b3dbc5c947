"""The gates of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits.service import Splits
from mainspring.gates import Gates
from mainspring.gates.retraining import Retraining
from mainspring.pipelines import Pipelines
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, journal, tables
from mainspring.serving.probe import Probe


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made."""
    wiring.add(Gates, lambda w: _gates(w, settings))


def _gates(w: Wiring, settings: Settings) -> Gates:
    gates = Gates(
        tables=tables(w),
        journal=journal(w),
        registry=w.get(Registry),
        data=w.get(Data),
        sections=settings.section("gate"),
        clock=CLOCK,
        folder=settings.root,
        splits=w.get(Splits),
    )
    gates.answer_through(Probe(w.get(Registry)))
    gates.retrain_through(Retraining(w.get(Registry), lambda: w.get(Pipelines)))
    return gates
