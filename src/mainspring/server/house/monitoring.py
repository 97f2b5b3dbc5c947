"""Monitoring of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings, fill
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.gates import Gates
from mainspring.monitoring import Monitoring
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.performing import Performing
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, journal, tables
from mainspring.serving import Serving


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made.

    Raises:
        Invalid: A setting of monitors is wrong.
    """
    spec = fill(MonitorSpec, settings.section("monitor"), where="monitor")
    wiring.add(Monitoring, lambda w: _monitoring(w, spec))
    wiring.add(Performing, _performing)


def _monitoring(w: Wiring, spec: MonitorSpec) -> Monitoring:
    return Monitoring(
        tables=tables(w),
        journal=journal(w),
        data=w.get(Data),
        registry=w.get(Registry),
        serving=w.get(Serving),
        clock=CLOCK,
        spec=spec,
    )


def _performing(w: Wiring) -> Performing:
    return Performing(
        tables=tables(w),
        monitoring=w.get(Monitoring),
        serving=w.get(Serving),
        data=w.get(Data),
        gates=w.get(Gates),
    )
