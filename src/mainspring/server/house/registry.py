"""The registry of a house."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.registry.conversions import Conversions
from mainspring.registry.provenance import Provenance
from mainspring.registry.searching import ModelSearch
from mainspring.registry.webhooks import Courier, Webhooks
from mainspring.server.house.floor import CLOCK, blobs, journal, queue, tables
from mainspring.tracking import Tracking
from mainspring.tracking.inputs import Inputs

if TYPE_CHECKING:
    from mainspring.gates import Gates
    from mainspring.governance import Governance
    from mainspring.serving import Serving


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services of the room are made."""
    wiring.add(Registry, lambda w: _registry(w, settings))
    wiring.add(ModelSearch, lambda w: ModelSearch(tables=tables(w), clock=CLOCK))
    wiring.add(Provenance, _provenance)
    wiring.add(Conversions, _conversions)
    wiring.add(Webhooks, lambda w: _webhooks(w, settings))
    wiring.add(Courier, lambda w: Courier(w.get(Webhooks), tables=tables(w), journal=journal(w), queue=queue(w)))


def _registry(w: Wiring, settings: Settings) -> Registry:
    folder = settings.data_dir
    made = Registry(tables=tables(w), journal=journal(w), blobs=blobs(w), clock=CLOCK, folder=folder)
    made.tell_judges(lambda names, version: _gates(w).objections(names, version))
    made.tell_users(lambda model, version: _serving(w).users(model, version))
    made.tell_cards(lambda model, version: _governance(w).words(model, version))
    made.grants.tell_changes(lambda: _serving(w).write_plan())
    return made


def _provenance(w: Wiring) -> Provenance:
    return Provenance(registry=w.get(Registry), tracking=w.get(Tracking), inputs=w.get(Inputs), data=w.get(Data))


def _conversions(w: Wiring) -> Conversions:
    return Conversions(registry=w.get(Registry), data=w.get(Data), tables=tables(w), queue=queue(w))


def _webhooks(w: Wiring, settings: Settings) -> Webhooks:
    return Webhooks(
        tables=tables(w),
        journal=journal(w),
        queue=queue(w),
        clock=CLOCK,
        registry=w.get(Registry),
        folder=settings.data_dir,
        allow_local=settings.webhooks.allow_local,
    )


# The rooms above, which the registry asks now and then: imported when it does.


def _gates(w: Wiring) -> Gates:
    from mainspring.gates import Gates

    return w.get(Gates)


def _governance(w: Wiring) -> Governance:
    from mainspring.governance import Governance

    return w.get(Governance)


def _serving(w: Wiring) -> Serving:
    from mainspring.serving import Serving

    return w.get(Serving)
