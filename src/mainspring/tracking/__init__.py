"""Tracking: what every execution was given, did and measured.

Nouns: experiment, run, metric, param, tag, artifact. Invariants: a batch is stored whole or not at all, and sending it
twice stores it once; a param never changes; NaN and infinities come back as they were logged; a point of a metric is
one of a set, and the latest value is the one with the greatest (step, time, value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.tracking.model import Artifact, CodeState, Environment, Experiment, Metric, Run, RunInput

if TYPE_CHECKING:
    from mainspring.tracking.files import Files
    from mainspring.tracking.logged_models import LoggedModels
    from mainspring.tracking.searching import Search
    from mainspring.tracking.service import Tracking

__all__ = [
    "Artifact",
    "CodeState",
    "Environment",
    "Experiment",
    "Files",
    "LoggedModels",
    "Metric",
    "Run",
    "RunInput",
    "Search",
    "Tracking",
]
_SERVICES = {"Files": "files", "LoggedModels": "logged_models", "Search": "searching", "Tracking": "service"}


def __getattr__(name: str) -> object:
    if name not in _SERVICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_SERVICES[name]}"), name)
