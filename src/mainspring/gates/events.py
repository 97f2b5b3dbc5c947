"""What the gates say happened."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class VerdictReached(Fact):
    """A gate looked at a version and came to a verdict. Subject: `verdicts/ID`."""

    kind: ClassVar[str] = "gates.verdict_reached"
    gate: str
    model: str
    version: int
    champion: int | None
    outcome: str
    rows: int
    data_ref: str
    digest: str
    reason: str
    standing: str


@dataclass(frozen=True, kw_only=True)
class ApprovalDecided(Fact):
    """Somebody approved or refused a version that a gate had passed; `standing` is "wait" while others have to approve.

    Subject: `verdicts/ID`.
    """

    kind: ClassVar[str] = "gates.approval_decided"
    gate: str
    model: str
    version: int
    decision: str
    standing: str
    role: str
    reason: str
    digest: str
