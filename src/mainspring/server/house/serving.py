"""Serving of a house, and the supervisor of its model server."""

from __future__ import annotations

from mainspring.core.settings import LIMITS, Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data, FeatureViews
from mainspring.engines import ProcessEngine
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, OPENER, delta, journal, queue, tables
from mainspring.serving import Serving
from mainspring.serving.batch.desk import BatchDesk
from mainspring.serving.batch.work import BatchWork
from mainspring.serving.modelserver.plan import Limits
from mainspring.serving.supervisor import ServerOptions, Supervisor

BATCHES = "batches"
"""Where below the data folder batches keep their files."""


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services of the room are made."""
    wiring.add(Serving, lambda w: _serving(w, settings))
    wiring.add(BatchDesk, lambda w: _batches(w, settings))
    wiring.add(BatchWork, lambda w: _batch_work(w, settings))
    options = ServerOptions(
        settings.server.host,
        settings.serving_port,
        settings.serving.workers,
        pin=settings.serving.pin,
        grpc_port=settings.serving.grpc_port,
        max_workers=settings.serving.max_workers,
        calm_s=settings.serving.calm_s,
    )
    wiring.add(Supervisor, lambda w: Supervisor(w.get(Serving).folder, options, prepare=w.get(Serving).write_plan))


def _batches(w: Wiring, settings: Settings) -> BatchDesk:
    folder = settings.data_dir / BATCHES
    return BatchDesk(
        tables=tables(w),
        queue=queue(w),
        journal=journal(w),
        serving=w.get(Serving),
        data=w.get(Data),
        folder=folder,
    )


def _batch_work(w: Wiring, settings: Settings) -> BatchWork:
    return BatchWork(
        engine=ProcessEngine(),
        opener=OPENER,
        cwd=settings.root,
        env=settings.environ(),
        tables=tables(w),
        queue=queue(w),
        journal=journal(w),
        folder=settings.data_dir / BATCHES,
    )


def _serving(w: Wiring, settings: Settings) -> Serving:
    made = Serving(
        tables=tables(w),
        journal=journal(w),
        delta=delta(w),
        registry=w.get(Registry),
        clock=CLOCK,
        folder=settings.data_dir / "serving",
        durability=settings.serving.durability,
        data=w.get(Data),
        views=w.get(FeatureViews),
        declared=settings.section("deployment"),
        limits=Limits(**{name: getattr(settings.serving, name) for name in LIMITS}),
    )
    made.tell_alarms(lambda: _alarms(w))
    return made


def _alarms(w: Wiring) -> dict[str, str]:
    """Open alarms by deployment, the newest of each. Monitoring is imported when a page asks."""
    from mainspring.monitoring import Monitoring
    from mainspring.monitoring.model import UNSEEN_STATES

    found = w.get(Monitoring).alarms(states=UNSEEN_STATES)
    return {alarm.deployment: alarm.id for alarm in reversed(found)}
