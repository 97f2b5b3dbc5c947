"""Which rooms have doors, and under which name a handler asks for a service."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from copy import copy

from litestar.handlers import BaseRouteHandler

from mainspring.core.values import dataclass

ROOMS = (
    "access",
    "data",
    "tracking",
    "pipelines",
    "registry",
    "governance",
    "gates",
    "training",
    "serving",
    "monitoring",
    "loop",
    "mlflow",
    "ui",
)
"""Packages that may have a `routes.py` and a `page/`, each with a list `handlers`."""

SERVICES = {
    "access": "mainspring.access:Access",
    "audit": "mainspring.access:Audit",
    "event_log": "mainspring.access:EventLog",
    "datasets": "mainspring.data:Data",  # the web framework keeps the name "data" for the body of a request
    "feature_views": "mainspring.data.features.service:FeatureViews",
    "splits": "mainspring.data.splits:Splits",
    "tracking": "mainspring.tracking:Tracking",
    "search": "mainspring.tracking:Search",
    "views": "mainspring.tracking.views:Views",
    "files": "mainspring.tracking:Files",
    "logged_models": "mainspring.tracking:LoggedModels",
    "experiments": "mainspring.tracking.experiments:Experiments",
    "runs": "mainspring.tracking.lifecycle:Runs",
    "pipelines": "mainspring.pipelines:Pipelines",
    "queues": "mainspring.pipelines.queues:Queues",
    "searches": "mainspring.pipelines.search.service:Searches",
    "registry": "mainspring.registry:Registry",
    "model_search": "mainspring.registry.searching:ModelSearch",
    "conversions": "mainspring.registry.conversions:Conversions",
    "provenance": "mainspring.registry.provenance:Provenance",
    "webhooks": "mainspring.registry.webhooks:Webhooks",
    "governance": "mainspring.governance:Governance",
    "gates": "mainspring.gates:Gates",
    "training": "mainspring.training:Training",
    "serving": "mainspring.serving:Serving",
    "batches": "mainspring.serving.batch.desk:BatchDesk",
    "monitoring": "mainspring.monitoring:Monitoring",
    "performing": "mainspring.monitoring.performing:Performing",
    "notices": "mainspring.monitoring.notices.telling:Notices",
    "loop": "mainspring.loop:Loop",
    "planner": "mainspring.loop.planning.service:Planner",
    "triggers": "mainspring.loop.triggers.service:Triggers",
    "tables": "mainspring.storage.ports:Tables",
    "journal": "mainspring.storage.ports:Journal",
    "queue": "mainspring.storage.ports:Queue",
    "blobs": "mainspring.storage.ports:Blobs",
    "delta": "mainspring.storage.ports:Delta",
    "settings": "mainspring.core.settings:Settings",
}
"""Name of a handler's parameter -> the type the wiring knows it by."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the rooms serve: the API and the pages."""

    api: tuple[BaseRouteHandler, ...]
    pages: tuple[BaseRouteHandler, ...]


def collect_handlers(rooms: Sequence[str] = ROOMS) -> Handlers:
    """The handlers of every room that has some."""
    api = [handler for room in rooms for handler in _handlers(f"mainspring.{room}.routes")]
    pages = [handler for room in rooms for handler in _handlers(f"mainspring.{room}.page")]
    return Handlers(tuple(api), tuple(pages))


def service_type(name: str) -> type:
    """The type of a service of `SERVICES`, imported now."""
    module, _, attribute = SERVICES[name].partition(":")
    kind: type = getattr(importlib.import_module(module), attribute)
    return kind


def _handlers(module: str) -> list[BaseRouteHandler]:
    """Fresh copies: an app changes the handlers it gets, and a process may build several apps."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as reason:
        if reason.name != module:
            raise
        return []  # a package may have routes and no pages
    return [copy(handler) for handler in found.handlers]
