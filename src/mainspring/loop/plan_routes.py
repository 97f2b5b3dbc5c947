"""HTTP of plans."""

from __future__ import annotations

from litestar import get

from mainspring.loop.planning.model import Plan
from mainspring.loop.planning.service import Planner


@get("/api/v1/plan", opt={"permission": "plans:read"}, sync_to_thread=True)
def show_plan(planner: Planner) -> Plan:
    """What an apply of the server's file would change, and what was changed by hand. Pipelines are not imported."""
    return planner.plan(deep=False)


handlers = [show_plan]
