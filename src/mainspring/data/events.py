"""Facts of the data room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mainspring.core.events import Fact


@dataclass(frozen=True, kw_only=True)
class VersionAdded(Fact):
    """A dataset got a new version. Subject: `datasets/NAME/N`."""

    kind: ClassVar[str] = "data.version_added"
    rows: int
    quarantined: int
    digest: str
    parents: tuple[str, ...]
    source: str
