"""The schema of all rooms at once: for writing migrations and for their tests."""

from __future__ import annotations

import importlib
import io
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
MORE = {
    "mainspring.pipelines.records.tables": "pipelines",
    "mainspring.pipelines.search.records": "pipelines",
    "mainspring.tracking.records.tables": "tracking",
}
"""Modules with tables that the records of a room do not load, and the room."""


def all_metadata() -> MetaData:
    """The one MetaData with the tables of the floor and of every room."""
    from mainspring.storage.schema import metadata

    for room in ROOMS:
        importlib.import_module(f"mainspring.{room}.records")
    for module in MORE:
        importlib.import_module(module)
    return metadata


def room_of(table: str) -> str:
    """The room whose records have the table; "storage" for those of the floor."""
    place = all_metadata().tables[table]
    rooms = [("storage", "mainspring.storage"), *((room, f"mainspring.{room}.records") for room in ROOMS)]
    rooms += [(room, module) for module, room in MORE.items()]
    for room, records in rooms:
        modules = (module for name, module in sys.modules.items() if name == records or name.startswith(f"{records}."))
        if any(place is value for module in modules for value in vars(module).values()):
            return room
    raise KeyError(table)


def whole_schema(dialect: str) -> str:
    """What all steps come to for "sqlite" or "postgresql", as the file that `migrations.whole` names has it."""
    from alembic import command
    from alembic.config import Config

    from mainspring.storage import migrations

    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    config.attributes["dialect"] = dialect
    command.upgrade(config, "head", sql=True)
    lines = [line.rstrip() for line in written.getvalue().splitlines() if not line.startswith("-- ")]
    statements = [part.strip().removesuffix(";") for part in "\n".join(lines).split("\n\n")]
    return ";\n\n".join(part for part in statements if part and part not in ("BEGIN", "COMMIT")) + ";\n"
