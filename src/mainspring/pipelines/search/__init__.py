"""Searches: the parameters of a pipeline for which its result is best.

Nouns: search, trial, space, objective. Invariants: a trial is a run of the pipeline, so what no searched parameter
touches is taken from the cache, and whatever is killed goes on; what was tried is kept in our own tables and nowhere
else; a search that cannot work is refused before its first trial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mainspring.pipelines.decorators import Pipeline
from mainspring.pipelines.search.model import Search, SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.rules import search_of

__all__ = ["Search", "SearchState", "Study", "Trial", "TrialState", "declared", "search"]

P = TypeVar("P", bound=Pipeline[..., object])


def search(**spec: object) -> Callable[[P], P]:
    """Say over a pipeline how it is to be searched: `@search(...)` above `@pipeline`.

    The names are those of `[search.NAME]` in `mainspring.toml`, see `Search`; what a command says counts more.

    >>> from mainspring import pipeline
    >>> @search(space={"rate": {"low": 0.01, "high": 0.3, "log": True}}, objective={"roc_auc": "maximize"})
    ... @pipeline
    ... def train(rate: float = 0.1) -> float:
    ...     return rate
    >>> declared(train).trials
    20
    """
    found = search_of(spec, where="@search")

    def mark(pipeline: P) -> P:
        vars(pipeline)["search"] = found
        return pipeline

    return mark


def declared(pipeline: Pipeline[..., object]) -> Search | None:
    """What `@search` says over a pipeline; None when it says nothing."""
    found: Search | None = vars(pipeline).get("search")
    return found
