"""HTTP: the event log and the audit chain."""

from __future__ import annotations

from litestar import get, post

from mainspring.access.audit import Audit
from mainspring.access.model import AuditReport, Checkpoint
from mainspring.access.service import EventLog
from mainspring.core.events import Event, fact_kinds


@get("/api/v1/events", opt={"permission": "events:read"}, sync_to_thread=True, tags=["events"])
def list_events(
    event_log: EventLog, before: int = 0, limit: int = 100, kind: str = "", subject: str = ""
) -> list[Event]:
    """Events of the project, newest first.

    Pass the smallest `seq` as `before` for the next page.
    """
    return event_log.newest(before=before, limit=limit, kind=kind, subject=subject)


@get("/api/v1/events/kinds", opt={"permission": "events:read"}, sync_to_thread=False, tags=["events"])
def list_kinds() -> list[str]:
    """Every kind of event there is."""
    return list(fact_kinds())


@get("/api/v1/audit/checkpoints", opt={"permission": "audit:read"}, sync_to_thread=True, tags=["audit"])
def list_checkpoints(audit: Audit, after: int = 0) -> list[Checkpoint]:
    """Up to 1000 checkpoints with a number above `after`, oldest first."""
    return audit.checkpoints(after=after)


@get("/api/v1/audit/report", opt={"permission": "audit:read"}, sync_to_thread=True, tags=["audit"])
def verify(audit: Audit, head: str = "") -> AuditReport:
    """Verify the whole event log. `faults` is empty when all is well."""
    return audit.verify(head=head)


@post("/api/v1/audit/seal", opt={"permission": "audit:write"}, sync_to_thread=True, tags=["audit"])
def seal(audit: Audit) -> list[Checkpoint]:
    """Seal every event that is not sealed yet, and give back the checkpoints that were made."""
    return audit.seal()


handlers = [list_events, list_kinds, list_checkpoints, verify, seal]
