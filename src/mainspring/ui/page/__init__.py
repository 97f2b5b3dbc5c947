"""The page of the loop, where everything starts."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.access import EventLog
from mainspring.core.wiring import Wiring
from mainspring.ui.cells import loop_cells


@get("/", opt={"permission": "loop:read"}, sync_to_thread=True)
def loop_page(wiring: Wiring, event_log: EventLog) -> Template:
    """The six stages of the loop and the latest events."""
    return Template("loop.html", context={"cells": loop_cells(wiring), "events": event_log.newest(limit=12)})


handlers = [loop_page]
