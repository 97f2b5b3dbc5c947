"""Data: tables as immutable versions with schema, profile, checks, quarantine and parents; feature views over them.

Nouns: dataset, version, column, check, profile, feature view, feature. Invariants: a version never changes; its rows
are durable before it is named; rows that fail a check are kept apart with the reason, never dropped; NaN is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.data.features import point_in_time_join
    from mainspring.data.features.model import Feature, ViewSpec
    from mainspring.data.features.service import FeatureViews
    from mainspring.data.model import Check, Column, Dataset, DatasetVersion, Guess
    from mainspring.data.rules import describe_frame, guess_task
    from mainspring.data.service import Data

__all__ = [
    "Check",
    "Column",
    "Data",
    "Dataset",
    "DatasetVersion",
    "Feature",
    "FeatureViews",
    "Guess",
    "ViewSpec",
    "describe_frame",
    "guess_task",
    "point_in_time_join",
]
_HOMES = {
    "Data": "service",
    "Feature": "features.model",
    "FeatureViews": "features.service",
    "ViewSpec": "features.model",
    "describe_frame": "rules",
    "guess_task": "rules",
    "point_in_time_join": "features",
}


def __getattr__(name: str) -> object:
    """Comparing two tables loads neither a database nor the service, and the service no tables before it needs them."""
    if name == "records":
        from mainspring.core.later import later

        return later(f"{__name__}.records")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
