"""Data: tables as immutable versions with schema, profile, checks, quarantine and parents; feature views over them.

Nouns: dataset, version, column, check, profile, feature view, feature. Invariants: a version never changes; its rows
are durable before it is named; rows that fail a check are kept apart with the reason, never dropped; NaN is null.
"""

from __future__ import annotations

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
