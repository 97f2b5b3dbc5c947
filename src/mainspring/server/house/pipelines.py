"""Pipelines of a house."""

from __future__ import annotations

from mainspring.core.settings import PipelineSettings, Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.pipelines.flow import Judge
from mainspring.pipelines.machine import Machine, find_out
from mainspring.pipelines.model import Resources, size_of
from mainspring.pipelines.service import Pipelines
from mainspring.server.house.floor import CLOCK, OPENER, blobs, journal, queue, tables
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how pipelines are made."""
    wiring.add(Pipelines, lambda w: _pipelines(w, settings))
    wiring.add(Judge, _judge)  # type: ignore[type-abstract]  # the wiring knows it by its protocol


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
        machine=Machine(share(settings.pipelines)),
    )


def _judge(w: Wiring) -> Judge:
    from mainspring.gates import Gates
    from mainspring.server.house.judge import HouseJudge  # loads what gates need, which few steps do

    return HouseJudge(w.get(Gates))


def share(asked: PipelineSettings) -> Resources:
    """What steps may take of the machine."""
    has = find_out()
    memory = size_of(asked.memory) if asked.memory else has.memory
    return Resources(asked.cpu or has.cpu, memory, has.gpu if asked.gpu < 0 else asked.gpu)
