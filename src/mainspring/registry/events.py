"""What happened in the registry."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelCreated(Fact):
    """A name for versions is there. Subject: `models/NAME`."""

    kind: ClassVar[str] = "registry.model_created"
    model: str


@dataclass(frozen=True, kw_only=True)
class Described(Fact):
    """The description of a model, or of one of its versions, is another. Subject: `models/NAME[/NUMBER]`."""

    kind: ClassVar[str] = "registry.described"
    model: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class ModelRenamed(Fact):
    """A model goes by another name; the old one still finds it. Subject: `models/NAME` with the new name."""

    kind: ClassVar[str] = "registry.model_renamed"
    model: str
    before: str


@dataclass(frozen=True, kw_only=True)
class ModelDeleted(Fact):
    """A model and its versions are gone. Subject: `models/NAME`."""

    kind: ClassVar[str] = "registry.model_deleted"
    model: str
    versions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TagsChanged(Fact):
    """Tags of a model, or of one of its versions, were set or taken away. Subject: `models/NAME[/NUMBER]`."""

    kind: ClassVar[str] = "registry.tags_changed"
    model: str
    version: int | None
    keys: tuple[str, ...]
    removed: bool


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
    source: str


@dataclass(frozen=True, kw_only=True)
class AliasMoved(Fact):
    """An alias points to another version; `version` None: it was removed. Subject: `models/NAME`."""

    kind: ClassVar[str] = "registry.alias_moved"
    model: str
    alias: str
    version: int | None
    before: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class VersionDeleted(Fact):
    """A version is gone; its number is never given again. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.version_deleted"
    model: str
    version: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class StageMoved(Fact):
    """A version is in another stage. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.stage_moved"
    model: str
    version: int
    stage: str
    before: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class WebhookChanged(Fact):
    """A webhook was created, updated or deleted. Subject: `webhooks/ID`."""

    kind: ClassVar[str] = "registry.webhook_changed"
    name: str
    change: str


@dataclass(frozen=True, kw_only=True)
class VersionRemoved(Fact):
    """The package of a version that was deleted long ago is gone for good. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.version_removed"
    model: str
    version: int


@dataclass(frozen=True, kw_only=True)
class PickleGranted(Fact):
    """A person allowed to load one pickle until a time (microseconds UTC). Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.pickle_granted"
    model: str
    version: int
    digest: str
    reason: str
    expires_at: int
    despite_scan: bool
    scan: str


@dataclass(frozen=True, kw_only=True)
class GrantRevoked(Fact):
    """A grant was taken back. Subject: `models/NAME/NUMBER`."""

    kind: ClassVar[str] = "registry.grant_revoked"
    model: str
    version: int
    digest: str
    reason: str
