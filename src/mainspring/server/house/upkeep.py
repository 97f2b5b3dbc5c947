"""What keeps a house clean: it has to know every room, since what no room names is thrown away."""

from __future__ import annotations

from importlib import import_module

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.loop.triggers.service import Triggers
from mainspring.pipelines.worker import check_hold
from mainspring.registry.removal import Removal as RegistryRemoval
from mainspring.server.house.floor import CLOCK, blobs, delta, journal, queue, tables
from mainspring.serving.log import holds_predictions
from mainspring.storage.ports import Queue, QueueControl
from mainspring.tracking.removal import Removal as TrackingRemoval
from mainspring.upkeep import Upkeep
from mainspring.upkeep.service import Remover
from mainspring.upkeep.tables import TableKeeper

TABLES = (
    "access.records",
    "data.records",
    "tracking.records.tables",
    "pipelines.records.tables",
    "pipelines.search.records",
    "registry.records.tables",
    "governance.records",
    "gates.records",
    "training.records",
    "serving.records",
    "monitoring.records",
    "loop.records",
)
"""Where rooms have tables. They are loaded for what their columns say of blobs."""


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service is made."""
    for module in TABLES:
        import_module(f"mainspring.{module}")
    wiring.add(Upkeep, lambda w: _upkeep(w, settings))


def _upkeep(w: Wiring, settings: Settings) -> Upkeep:
    return Upkeep(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        blobs=blobs(w),
        clock=CLOCK,
        settings=settings.retention,
        removers=_removers(w),
        keeper=lambda: TableKeeper(delta(w), w.get(Data).pinned, holds_predictions, check_hold),
        pause=check_hold,
    )


def _removers(w: Wiring) -> tuple[Remover, ...]:
    """What each room removes for good; versions go before the runs and files they were made of."""
    versions = RegistryRemoval(tables=tables(w), journal=journal(w))
    runs = TrackingRemoval(tables=tables(w), journal=journal(w))
    jobs = Remover(
        lambda before: {"jobs": _control(queue(w)).prune(before, dry_run=True)},
        lambda before, pause: {"jobs": _control(queue(w)).prune(before)},
        grace="jobs",
    )
    deliveries = Remover(
        lambda before: {"deliveries": w.get(Triggers).prune_deliveries(before, dry_run=True)},
        lambda before, pause: {"deliveries": w.get(Triggers).prune_deliveries(before)},
        grace="jobs",
    )
    return Remover(versions.count, versions.remove), Remover(runs.count, runs.remove), jobs, deliveries


def _control(found: Queue) -> QueueControl:
    assert isinstance(found, QueueControl)
    return found
