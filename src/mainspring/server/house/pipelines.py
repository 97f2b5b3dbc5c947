"""Pipelines of a house, and the worker of its queue."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from mainspring.core.settings import PipelineSettings, Settings, load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.engines import ProcessEngine
from mainspring.pipelines.export.place import Schedules
from mainspring.pipelines.flow import Judge
from mainspring.pipelines.ledger import KIND, QUEUE
from mainspring.pipelines.machine import Machine, find_out
from mainspring.pipelines.model import Resources, size_of
from mainspring.pipelines.queues import Queues
from mainspring.pipelines.search.service import Searches
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.worker import Worker
from mainspring.server.house.floor import CLOCK, OPENER, blobs, journal, queue, tables
from mainspring.storage.ports import QueueControl
from mainspring.storage.workers import SqlWorkers
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services of the room are made."""
    wiring.add(Pipelines, lambda w: _pipelines(w, settings))
    wiring.add(Judge, _judge)  # type: ignore[type-abstract]  # the wiring knows it by its protocol
    wiring.add(Schedules, lambda w: _schedules(settings))  # type: ignore[type-abstract]  # likewise
    wiring.add(Queues, _queues)
    wiring.add(Searches, lambda w: _searches(w, settings))
    wiring.add(Worker, lambda w: _worker(w, settings))


def _pipelines(w: Wiring, settings: Settings) -> Pipelines:
    return Pipelines(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        blobs=blobs(w),
        scratch=settings.data_dir / "scratch",
        clock=CLOCK,
        data=w.get(Data),
        tracking=w.get(Tracking),
        wiring=w,
        house=OPENER,
        house_env=settings.environ(),
        root=settings.root,
        engine=settings.pipelines.engine,
        lease_s=settings.loop.lease_s,
        secrets=settings.root / settings.pipelines.secrets if settings.pipelines.secrets else None,
        machine=Machine(_share(settings.pipelines)),
    )


def _schedules(settings: Settings) -> Schedules:
    from mainspring.loop.triggers.exported import TriggerSchedules  # few commands ask for schedules

    if settings.project.declarations:
        from mainspring.loop.planning.reading import read_declared

        settings = read_declared(settings).settings
    return TriggerSchedules(settings.section("trigger"), CLOCK.now())


def _queues(w: Wiring) -> Queues:
    found = queue(w)
    return Queues(found, cast(QueueControl, found), SqlWorkers(tables(w)))


def _judge(w: Wiring) -> Judge:
    from mainspring.gates import Gates
    from mainspring.server.house.judge import HouseJudge  # loads what gates need, which few steps do

    return HouseJudge(w.get(Gates))


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


def _share(asked: PipelineSettings) -> Resources:
    """What steps may take of the machine."""
    has = find_out()
    memory = size_of(asked.memory) if asked.memory else has.memory
    return Resources(asked.cpu or has.cpu, memory, has.gpu if asked.gpu < 0 else asked.gpu)


def _worker(w: Wiring, settings: Settings) -> Worker:
    # here, as a run in the process that asked for it has no use for what workers do beside runs
    from mainspring.loop.judging import ENTRY as JUDGING
    from mainspring.loop.service import GATE_JOB
    from mainspring.loop.service import QUEUE as LOOP_QUEUE
    from mainspring.monitoring.vectors import ENTRY as COMPARING
    from mainspring.monitoring.vectors import KIND as VECTORS_JOB
    from mainspring.monitoring.vectors import QUEUE as MONITORING_QUEUE
    from mainspring.pipelines.childwork import ChildWork
    from mainspring.training.service import KIND as TRAINING_JOB
    from mainspring.training.service import QUEUE as TRAINING_QUEUE
    from mainspring.training.service import Training

    def child(entry: str, what: str) -> ChildWork:
        env = settings.environ()
        return ChildWork(entry, what=what, engine=ProcessEngine(), opener=OPENER, cwd=settings.root, env=env)

    gate, vectors = child(JUDGING, "gate"), child(COMPARING, "vectors")
    pipelines, training = w.get(Pipelines), w.get(Training)
    return Worker(
        tables(w),
        queue(w),
        {KIND: pipelines.work_once, GATE_JOB: gate, TRAINING_JOB: training.work_once, VECTORS_JOB: vectors},
        queues=(QUEUE, LOOP_QUEUE, TRAINING_QUEUE, MONITORING_QUEUE),
        threads=settings.loop.workers,
        lease_s=settings.loop.lease_s,
        chores=(pipelines.settle, training.settle),
        has=asdict(_share(settings.pipelines)),
    )
