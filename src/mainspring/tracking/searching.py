"""The verbs of searching: one language and one way of paging for runs, experiments and logged models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.tracking.grammar import (
    RUNS,
    Mark,
    Page,
    fingerprint,
    mark_of,
    read_fields,
    read_filter,
    read_order,
    token_of,
)
from mainspring.tracking.grammar.tree import Field
from mainspring.tracking.model import Run, Shown
from mainspring.tracking.records import experiments
from mainspring.tracking.records.runs import load_runs
from mainspring.tracking.records.search import runs as run_search

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

VIEWS = ("active", "deleted", "all")
MAX_LIMIT = 50_000
MORE = ("inputs", "code", "environment")
"""What can be asked of runs besides what the grammar knows."""


class Search:
    """Finds runs, experiments and logged models.

    Strict searches speak MLflow's language and nothing more; the others know all of `tracking.grammar`. A page token
    holds for the same filter, order, view and experiments only. Pages stay in step while things come and go.
    """

    def __init__(self, *, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def runs(
        self,
        experiment_ids: Sequence[str] | None,
        filter: str = "",
        *,
        view: str = "active",
        order_by: Sequence[str] = (),
        limit: int = 1000,
        page_token: str = "",
        fields: str = "",
        strict: bool = False,
    ) -> Page[Run]:
        """Runs; without an order the newest first.

        Args:
            experiment_ids: In which experiments; None for all of the project. Unknown ones have no runs.
            filter: Which runs, such as `metrics.loss < 0.1`.
            view: active, deleted or all.
            order_by: By what to sort, such as `metrics.loss DESC`. Missing values come last.
            limit: At most so many, up to 50000.
            page_token: From the page before.
            fields: What to load, such as `metrics.loss, params`; "" is all but code and environment.
            strict: Only MLflow's language.
        Raises:
            Invalid: The filter, order, view, fields, limit or token.
        """
        _check(view, limit)
        order = read_order(order_by, RUNS, strict=strict)
        shown = shown_by(read_fields(fields, RUNS, MORE))
        scope = None if experiment_ids is None else sorted(set(experiment_ids))
        question = fingerprint("runs", caller().project, scope, filter, list(order_by), view, strict)
        mark = self._mark(page_token, question, run_search.key_types(order))
        tree = read_filter(filter, RUNS, strict=strict, now=mark.now)
        with self._tables.read() as conn:
            numbers = None if scope is None else experiments.numbers_of(conn, caller().project, scope)
            search = run_search.RunSearch(caller().project, numbers, tree, order, view)
            hits = run_search.find(conn, search, after=mark.keys, limit=limit + 1)
            found = load_runs(conn, [hit.number for hit in hits[:limit]], shown)
        following = token_of(question, Mark(mark.now, hits[limit - 1].keys)) if len(hits) > limit else ""
        return Page(tuple(found), following)

    def _mark(self, token: str, question: str, types: Sequence[type]) -> Mark:
        """Where the page before ended. All pages count lengths of time back from when the first was asked for."""
        return mark_of(token, question, types) if token else Mark(self._clock.now(), ())


def shown_by(fields: Sequence[Field]) -> Shown:
    """What to load for the fields of an answer.

    >>> shown_by([Field("params", "lr"), Field("metrics", "")]).params
    frozenset({'lr'})
    """
    if not fields:
        return Shown()
    keys: dict[str, set[str] | None] = {"metrics": set(), "params": set(), "tags": set()}
    for field in fields:
        known = keys.get(field.entity)
        if field.entity in keys:
            keys[field.entity] = {*known, field.key} if field.key and known is not None else None
    asked = {field.entity for field in fields}
    some = {name: None if found is None else frozenset(found) for name, found in keys.items()}
    return Shown(**some, inputs="inputs" in asked, code="code" in asked, environment="environment" in asked)


def _check(view: str, limit: int, most: int = MAX_LIMIT) -> None:
    if view not in VIEWS:
        hint = did_you_mean(view, VIEWS) or f"use one of {', '.join(VIEWS)}"
        raise Invalid(f"there is no view {view[:40]!r}", where="view", hint=hint)
    if not 1 <= limit <= most:
        raise Invalid(f"a page of {limit}", where="limit", hint=f"use 1 to {most}")
