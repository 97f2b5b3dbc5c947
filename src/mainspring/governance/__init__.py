"""Governance: what has to be on record about a version before people may rely on it.

Nouns: card. Invariants: a card is made from what the lower rooms have on record, plus what a person says about purpose
and limits; a written card never changes (its digest is that of its content); more evidence makes a new revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.governance.model import Attachment, Card, CardContent, DatasetFacts, FieldFacts, RunFacts

if TYPE_CHECKING:
    from mainspring.governance.service import Governance

__all__ = ["Attachment", "Card", "CardContent", "DatasetFacts", "FieldFacts", "Governance", "RunFacts"]


def __getattr__(name: str) -> object:
    if name != "Governance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.governance.service import Governance

    return Governance
