"""The schema of all rooms at once: for writing migrations and for their tests."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData

ROOMS = (
    "access",
    "data",
    "tracking",
    "pipelines",
    "registry",
    "governance",
    "gates",
    "serving",
    "monitoring",
    "loop",
)


def all_metadata() -> MetaData:
    """The one MetaData with the tables of the floor and of every room."""
    from mainspring.storage.schema import metadata

    for room in ROOMS:
        importlib.import_module(f"mainspring.{room}.records")
    return metadata
