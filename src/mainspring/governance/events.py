"""What governance says happened."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class CardWritten(Fact):
    """A revision of a model card was written. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "governance.card_written"
    model: str
    version: int
    revision: int
    digest: str
    sections: tuple[str, ...]
