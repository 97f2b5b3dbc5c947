"""Monitoring: whether what is live still sees what it was trained on, and is still as right as it was.

Nouns: monitor, window, judgement, alarm. Invariants: predictions and labels are counted exactly once; windows are of
event time, never of the clock on the wall; every decision is stored with the figures it was taken on; at default
settings at most one false alarm per model and year; drift alone never retrains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.monitoring.model import Alarm, Judgement, Monitor, MonitorSpec, MonitorStatus, WatchedVersion
    from mainspring.monitoring.service import Monitoring

__all__ = ["Alarm", "Judgement", "Monitor", "MonitorSpec", "MonitorStatus", "Monitoring", "WatchedVersion"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{'service' if name == 'Monitoring' else 'model'}"), name)
