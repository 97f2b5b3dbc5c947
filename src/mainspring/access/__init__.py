"""Access: who is asking, what they may do, and the chain that makes the event log tamper-evident.

Nouns: identity, permission, checkpoint. Invariants: every request passes `Access.check` in one place, the server's
guard; a sealed event that is changed, moved, added or taken away is found by `Audit.verify`, without a server.
"""

from __future__ import annotations

from mainspring.access.audit import Audit, Sealer
from mainspring.access.model import AuditReport, Checkpoint, Fault, Identity, check_permission
from mainspring.access.service import Access, EventLog

__all__ = [
    "Access",
    "Audit",
    "AuditReport",
    "Checkpoint",
    "EventLog",
    "Fault",
    "Identity",
    "Sealer",
    "check_permission",
]
