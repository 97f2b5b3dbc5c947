"""The pages of the access room: the event log and the audit chain."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.access.audit import Audit
from mainspring.access.service import EventLog
from mainspring.core.events import fact_kinds

PAGE = 100


@get("/events", opt={"permission": "events:read"}, sync_to_thread=True)
def events_page(event_log: EventLog, kind: str = "", subject: str = "", before: int = 0) -> Template:
    """What happened, newest first, with filters in the address."""
    found = event_log.newest(before=before, limit=PAGE + 1, kind=kind, subject=subject)
    rooms = sorted({name.split(".")[0] + "." for name in fact_kinds()})
    context = {
        "events": found[:PAGE],
        "older": found[PAGE - 1].seq if len(found) > PAGE else 0,
        "kinds": [*rooms, *fact_kinds()],
        "kind": kind,
        "subject": subject,
        "before": before,
    }
    return Template("access/page/events.html", context=context)


@get("/audit", opt={"permission": "audit:read"}, sync_to_thread=True)
def audit_page(audit: Audit, after: int = 0) -> Template:
    """The checkpoints over the event log."""
    found = audit.checkpoints(after=after, limit=PAGE + 1)
    context = {"checkpoints": found[:PAGE], "next": found[PAGE - 1].number if len(found) > PAGE else 0}
    return Template("access/page/audit.html", context=context)


handlers = [events_page, audit_page]
