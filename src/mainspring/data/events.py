"""Facts of the data room."""

from __future__ import annotations

from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class VersionAdded(Fact):
    """A dataset got a new version. Subject: `datasets/NAME/N`."""

    kind: ClassVar[str] = "data.version_added"
    rows: int
    quarantined: int
    digest: str
    parents: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class FeatureViewAdded(Fact):
    """A feature view got a new version. Subject: `feature-views/NAME/N`."""

    kind: ClassVar[str] = "data.feature_view_added"
    dataset: str
    features: tuple[str, ...]
    digest: str


@dataclass(frozen=True, kw_only=True)
class FeatureViewMaterialized(Fact):
    """The newest values of a feature view can be looked up. Subject: `feature-views/NAME/N`."""

    kind: ClassVar[str] = "data.feature_view_materialized"
    materialization: str
    dataset: str
    as_of: int
    entities: int


@dataclass(frozen=True, kw_only=True)
class SplitMade(Fact):
    """The rows of a dataset version were parted. Subject: `splits/NAME/N`."""

    kind: ClassVar[str] = "data.split_made"
    dataset: str
    how: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class TestOpened(Fact):
    """Somebody opened the sealed rows of a split, for the how-manieth time and what for. Subject: `splits/NAME/N`."""

    __test__: ClassVar[bool] = False  # pytest takes every Test... for one of its own
    kind: ClassVar[str] = "data.test_opened"
    use: int
    purpose: str
