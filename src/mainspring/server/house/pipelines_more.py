"""What a house has beside its pipelines: their schedules, queues and searches, and the worker of the queue."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.engines import ProcessEngine
from mainspring.pipelines.desk import KIND, QUEUE
from mainspring.pipelines.export.place import Schedules
from mainspring.pipelines.queues import Queues
from mainspring.pipelines.search.service import Searches
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.worker import Worker
from mainspring.server.house.floor import CLOCK, OPENER, journal, queue, tables
from mainspring.server.house.pipelines import share
from mainspring.storage.ports import QueueControl
from mainspring.storage.workers import SqlWorkers
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how they are made."""
    wiring.add(Schedules, lambda w: _schedules(settings))  # type: ignore[type-abstract]  # known by its protocol
    wiring.add(Queues, _queues)
    wiring.add(Searches, lambda w: _searches(w, settings))
    wiring.add(Worker, lambda w: _worker(w, settings))


def _schedules(settings: Settings) -> Schedules:
    from mainspring.loop.triggers.exported import TriggerSchedules  # few commands ask for schedules

    if settings.project.declarations:
        from mainspring.loop.planning.reading import read_declared

        settings = read_declared(settings).settings
    return TriggerSchedules(settings.section("trigger"), CLOCK.now())


def _queues(w: Wiring) -> Queues:
    found = queue(w)
    return Queues(found, cast(QueueControl, found), SqlWorkers(tables(w)))


def _searches(w: Wiring, settings: Settings) -> Searches:
    return Searches(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        pipelines=w.get(Pipelines),
        clock=CLOCK,
        scratch=settings.data_dir / "scratch",
        tracking=w.get(Tracking),
        sections=lambda: load(settings.root, environ={}).section("search"),  # as the file says now
        house=OPENER,
        house_env=settings.environ(),
        root=settings.root,
        lease_s=settings.loop.lease_s,
    )


def _worker(w: Wiring, settings: Settings) -> Worker:
    # here, as a run in the process that asked for it has no use for what workers do beside runs
    from mainspring.loop.judging import ENTRY as JUDGING
    from mainspring.loop.service import GATE_JOB
    from mainspring.loop.service import QUEUE as LOOP_QUEUE
    from mainspring.monitoring.vectors import ENTRY as COMPARING
    from mainspring.monitoring.vectors import KIND as VECTORS_JOB
    from mainspring.monitoring.vectors import QUEUE as MONITORING_QUEUE
    from mainspring.pipelines.childwork import ChildWork
    from mainspring.registry.conversions import ENTRY as CONVERTING
    from mainspring.registry.conversions import KIND as ONNX_JOB
    from mainspring.registry.conversions import QUEUE as MODELS_QUEUE
    from mainspring.training.service import KIND as TRAINING_JOB
    from mainspring.training.service import QUEUE as TRAINING_QUEUE
    from mainspring.training.service import Training

    def child(entry: str, what: str) -> ChildWork:
        env = settings.environ()
        return ChildWork(entry, what=what, engine=ProcessEngine(), opener=OPENER, cwd=settings.root, env=env)

    children = {
        GATE_JOB: child(JUDGING, "gate"),
        VECTORS_JOB: child(COMPARING, "vectors"),
        ONNX_JOB: child(CONVERTING, "onnx"),
    }
    pipelines, training = w.get(Pipelines), w.get(Training)
    return Worker(
        tables(w),
        queue(w),
        {KIND: pipelines.work_once, TRAINING_JOB: training.work_once, **children},
        queues=(QUEUE, LOOP_QUEUE, TRAINING_QUEUE, MONITORING_QUEUE, MODELS_QUEUE),
        threads=settings.loop.workers,
        lease_s=settings.loop.lease_s,
        chores=(pipelines.settle, training.settle),
        has=asdict(share(settings.pipelines)),
    )
