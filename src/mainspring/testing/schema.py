"""The schema of all rooms at once: for writing migrations and for their tests."""

from __future__ import annotations

import importlib
import sys
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
    "training",
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


def room_of(table: str) -> str:
    """The room whose records have the table; "storage" for those of the floor."""
    place = all_metadata().tables[table]
    for room, records in [("storage", "mainspring.storage"), *((room, f"mainspring.{room}.records") for room in ROOMS)]:
        modules = (module for name, module in sys.modules.items() if name == records or name.startswith(f"{records}."))
        if any(place is value for module in modules for value in vars(module).values()):
            return room
    raise KeyError(table)
