"""What keeps a house clean: it has to know every room, since what no room names is thrown away."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.loop.triggers.service import Triggers
from mainspring.pipelines.worker import check_hold
from mainspring.registry.removal import Removal as RegistryRemoval
from mainspring.server.house import access, gates, governance, loop, monitoring, pipelines, serving, training
from mainspring.server.house.floor import CLOCK, blobs, delta, journal, queue, tables
from mainspring.serving.log import holds_predictions
from mainspring.storage.ports import Queue, QueueControl
from mainspring.tracking.removal import Removal as TrackingRemoval
from mainspring.upkeep import Upkeep
from mainspring.upkeep.service import Remover
from mainspring.upkeep.tables import TableKeeper

ROOMS = (access, gates, governance, loop, monitoring, pipelines, serving, training)
"""Imported for their tables; those of the other rooms are there with what is imported from them."""


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service is made."""
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
