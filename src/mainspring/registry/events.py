"""What happened in the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mainspring.core.events import Fact


@dataclass(frozen=True, kw_only=True)
class VersionRegistered(Fact):
    """A new version of a model is there. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.version_registered"
    model: str
    version: int
    digest: str
    flavour: str
    run_id: str
    datasets: tuple[str, ...]
    reference: str


@dataclass(frozen=True, kw_only=True)
class AliasMoved(Fact):
    """An alias points to another version; `version` None: it was removed. Subject: `models/NAME`."""

    kind: ClassVar[str] = "registry.alias_moved"
    model: str
    alias: str
    version: int | None
    before: int | None
    reason: str
