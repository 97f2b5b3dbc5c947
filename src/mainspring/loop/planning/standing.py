"""What counts in a house: the file until something was applied, from then on what was applied."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, calling
from mainspring.core.settings import Settings
from mainspring.loop.planning.model import MONITOR
from mainspring.loop.planning.reading import read_declared
from mainspring.loop.records import plans as records

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables


def standing(settings: Settings, tables: Tables) -> Settings:
    """The settings with gates, monitors and policies as they were applied; as declared when nothing ever was."""
    with calling(Caller(project=settings.project.name)), tables.read() as conn:
        serial, found = records.serial_of(conn), records.list_applied(conn)
    if serial == 0:
        return read_declared(settings).settings
    monitor = records.sections(found, "monitor").get(MONITOR)
    sections = {kind: records.sections(found, kind) for kind in ("gate", "policy")}
    kept = {kind: entry for kind, entry in {**sections, "monitor": monitor}.items() if entry}
    others = {kind: entry for kind, entry in settings.tables.items() if kind not in ("gate", "policy", "monitor")}
    return replace(settings, tables={**others, **kept})
