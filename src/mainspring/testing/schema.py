"""The schema of all rooms at once: for migrations, their tests, and databases that tests start from."""

from __future__ import annotations

import importlib
from contextlib import suppress
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
    """The one MetaData with the tables of the floor and of every room that has records."""
    from mainspring.storage.schema import metadata

    for room in ROOMS:
        with suppress(ImportError):
            importlib.import_module(f"mainspring.{room}.records")
    return metadata
