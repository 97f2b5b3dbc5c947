"""The loop of a house."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.gates import Gates
from mainspring.governance import Governance
from mainspring.loop import Loop
from mainspring.loop.model import Policy, policies_of
from mainspring.loop.planning.service import Planner
from mainspring.loop.triggers.service import Triggers
from mainspring.monitoring import Monitoring
from mainspring.pipelines import Pipelines
from mainspring.registry import Registry
from mainspring.server.house.floor import CLOCK, journal, queue, tables
from mainspring.serving import Serving
from mainspring.serving.modelserver.plan import read_plan
from mainspring.serving.supervisor import Supervisor
from mainspring.tracking import Tracking


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the service of the room is made.

    Raises:
        Invalid: A policy is wrong.
    """
    policies = policies_of(settings.tables.get("policy", {}))
    wiring.add(Loop, lambda w: _loop(w, settings, policies))
    wiring.add(Triggers, lambda w: _triggers(w, settings))
    wiring.add(Planner, lambda w: _planner(w, settings))


def _loop(w: Wiring, settings: Settings, policies: Mapping[str, Policy]) -> Loop:
    return Loop(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        clock=CLOCK,
        data=w.get(Data),
        tracking=w.get(Tracking),
        pipelines=w.get(Pipelines),
        registry=w.get(Registry),
        governance=w.get(Governance),
        gates=w.get(Gates),
        serving=w.get(Serving),
        monitoring=w.get(Monitoring),
        policies=policies,
        enabled=settings.loop.enabled,
        dry_run=settings.loop.dry_run,
        project=settings.project.name,
        apply_traffic=lambda: _apply(w.get(Supervisor)),
    )


def _triggers(w: Wiring, settings: Settings) -> Triggers:
    return Triggers(
        tables=tables(w),
        journal=journal(w),
        clock=CLOCK,
        loop=w.get(Loop),
        secret=os.environ.get,
        dry_run=settings.loop.dry_run,
    )


def _planner(w: Wiring, settings: Settings) -> Planner:
    return Planner(
        tables=tables(w),
        journal=journal(w),
        clock=CLOCK,
        loop=w.get(Loop),
        triggers=w.get(Triggers),
        read=lambda: load(settings.root),
        project=settings.project.name,
    )


def _apply(supervisor: Supervisor) -> None:
    """Wait until the model server routes by the newest plan; where none runs there is nothing to wait for."""
    if supervisor.pid is not None:
        supervisor.apply(read_plan(supervisor.folder).generation)
