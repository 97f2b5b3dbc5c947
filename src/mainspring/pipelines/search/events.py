"""What happens in searches, in the past tense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mainspring.core.events import Fact
from mainspring.core.values import dataclass


@dataclass(frozen=True, kw_only=True)
class SearchStarted(Fact):
    """Somebody asked for a search. The subject of this and all below is `searches/ID`."""

    kind: ClassVar[str] = "pipelines.search_started"
    pipeline: str
    trials: int


@dataclass(frozen=True, kw_only=True)
class SearchResumed(Fact):
    """Somebody had it go on, up to so many trials."""

    kind: ClassVar[str] = "pipelines.search_resumed"
    trials: int


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Fact):
    """A trial finished, was pruned or failed; `values` are by metric."""

    kind: ClassVar[str] = "pipelines.trial_ended"
    trial: int
    state: str
    run: str
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class SearchEnded(Fact):
    """The search is over: finished, failed or cancelled. `best` are the numbers of the best trials."""

    kind: ClassVar[str] = "pipelines.search_ended"
    state: str
    best: tuple[int, ...]
    error: str
