"""Monitoring of a house."""

from __future__ import annotations

from mainspring.core.settings import Settings, fill
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.gates import Gates
from mainspring.monitoring import Monitoring
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.notices.model import Channel, channels_of
from mainspring.monitoring.notices.telling import Herald, Notices
from mainspring.monitoring.performing import Performing
from mainspring.monitoring.rowwise import RowEstimates
from mainspring.monitoring.telemetry import OtelSpec, Telemetry
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, journal, queue, tables
from mainspring.serving import Serving


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made.

    Raises:
        Invalid: A setting of monitors, or of a channel that alarms are told to, is wrong.
    """
    spec = fill(MonitorSpec, settings.section("monitor"), where="monitor")
    channels = channels_of(settings.section("notify"))
    wiring.add(Monitoring, lambda w: _monitoring(w, spec))
    wiring.add(Performing, _performing)
    wiring.add(RowEstimates, _row_estimates)
    otel = fill(OtelSpec, settings.section("otel"), where="otel")
    wiring.add(Telemetry, lambda w: _telemetry(w, settings, otel))
    wiring.add(Notices, lambda w: _notices(w, settings, channels))
    wiring.add(Herald, lambda w: Herald(w.get(Notices), tables=tables(w), journal=journal(w), queue=queue(w)))


def _monitoring(w: Wiring, spec: MonitorSpec) -> Monitoring:
    return Monitoring(
        tables=tables(w),
        journal=journal(w),
        data=w.get(Data),
        registry=w.get(Registry),
        serving=w.get(Serving),
        gates=w.get(Gates),
        clock=CLOCK,
        spec=spec,
        queue=queue(w),
    )


def _performing(w: Wiring) -> Performing:
    return Performing(
        tables=tables(w),
        monitoring=w.get(Monitoring),
        serving=w.get(Serving),
        data=w.get(Data),
    )


def _notices(w: Wiring, settings: Settings, channels: dict[str, Channel]) -> Notices:
    return Notices(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        clock=CLOCK,
        channels=channels,
        project=settings.project.name,
        home=f"http://{settings.server.host}:{settings.server.port}",
        allow_local=settings.webhooks.allow_local,
    )


def _telemetry(w: Wiring, settings: Settings, spec: OtelSpec) -> Telemetry:
    return Telemetry(
        spec, monitoring=w.get(Monitoring), serving=w.get(Serving), project=settings.project.name, clock=CLOCK
    )


def _row_estimates(w: Wiring) -> RowEstimates:
    return RowEstimates(
        monitoring=w.get(Monitoring), performing=w.get(Performing), serving=w.get(Serving), gates=w.get(Gates)
    )
