"""The verbs of searching: one language and one way of paging for runs, experiments and logged models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.tracking.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    RUNS,
    Mark,
    Page,
    fingerprint,
    fitting,
    mark_of,
    names_of,
    place_in,
    read_fields,
    read_filter,
    read_order,
    token_of,
    values_for,
)
from mainspring.tracking.grammar.tree import ATTRIBUTES, EVERYTHING, Field, Order, written_field, written_order
from mainspring.tracking.model import Completion, Experiment, KnownKeys, LoggedModel, ModelOrder, Run, RunGroups, Shown
from mainspring.tracking.records import experiments, logged_models
from mainspring.tracking.records.runs import load_runs
from mainspring.tracking.records.search import experiments as experiment_search
from mainspring.tracking.records.search import logged_models as model_search
from mainspring.tracking.records.search import runs as run_search
from mainspring.tracking.records.search.keys import Keys, keys_of, owned
from mainspring.tracking.records.search.known import known_keys, known_texts
from mainspring.tracking.records.search.paged import Hit
from mainspring.tracking.rules import check_ids

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Tables

VIEWS = ("active", "deleted", "all")
MAX_LIMIT = 50_000
MAX_DATASETS = 100
MAX_MEANS = 20
MAX_GROUPS = 200
GROUPED = 200_000
"""How many runs are counted by their value of a field."""
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
            Invalid: The filter, order, view, fields, limit or token, or too many experiments.
        """
        _check(view, limit)
        order = read_order(order_by, RUNS, strict=strict)
        shown = shown_by(read_fields(fields, RUNS, MORE))
        scope = None if experiment_ids is None else check_ids(experiment_ids, "experiments")
        question = fingerprint("runs", caller().project, scope, filter, list(order_by), view, strict)
        mark = self._mark(page_token, question, run_search.key_types(order))
        tree = read_filter(filter, RUNS, strict=strict, now=mark.now)
        with self._tables.read() as conn:
            numbers = None if scope is None else experiments.numbers_of(conn, caller().project, scope)
            search = run_search.RunSearch(caller().project, numbers, tree, order, view)
            hits = run_search.find(conn, search, after=mark.keys, limit=limit + 1)
            found = load_runs(conn, [hit.number for hit in hits[:limit]], shown)
        return Page(tuple(found), _next(question, mark, hits, limit))

    def groups(
        self,
        experiment_ids: Sequence[str] | None,
        by: str,
        filter: str = "",
        *,
        view: str = "active",
        metrics: Sequence[str] = (),
    ) -> RunGroups:
        """Runs counted by their value of a field; at most 200 groups of the newest 200,000 runs.

        Args:
            experiment_ids: In which experiments; None for all of the project.
            by: The field, such as `params.depth`, `tags.team` or `status`.
            filter: Which runs.
            view: active, deleted or all.
            metrics: Names of metrics whose means are wanted, at most 20.
        Raises:
            Invalid: The filter or view, or a field that runs are not grouped by.
        """
        _check(view, 1)
        field = _grouping(by)
        if len(metrics) > MAX_MEANS:
            raise Invalid(f"{len(metrics)} metrics", where="metrics", hint=f"name at most {MAX_MEANS}")
        scope = None if experiment_ids is None else check_ids(experiment_ids, "experiments")
        tree = read_filter(filter, RUNS, strict=False, now=self._clock.now())
        with self._tables.read() as conn:
            numbers = None if scope is None else experiments.numbers_of(conn, caller().project, scope)
            search = run_search.RunSearch(caller().project, numbers, tree, (), view)
            unique = list(dict.fromkeys(metrics))
            found, cut = run_search.groups(conn, search, field, unique, most=GROUPED, limit=MAX_GROUPS)
        return RunGroups(written_field(field), tuple(found), cut)

    def named(self, names: Sequence[str]) -> list[str]:
        """The ids of experiments by their names.

        Raises:
            NotFound: There is none of a name.
        """
        with self._tables.read() as conn:
            found = {name: experiments.by_name(conn, caller().project, name) for name in names}
            missing = next((name for name, kept in found.items() if kept is None), None)
            if missing is not None:
                known = [kept.name for kept in experiments.list_all(conn, caller().project)]
                hint = did_you_mean(missing, known) or "leave it out to see all runs"
                raise NotFound(f"there is no experiment {missing[:60]!r}", where="experiments", hint=hint)
        return [kept[1].id for kept in found.values() if kept is not None]

    def keys(self, experiment_ids: Sequence[str] | None) -> KnownKeys:
        """The names of metrics, params and tags that runs of some experiments logged; None is all of the project."""
        with self._tables.read() as conn:
            return known_keys(conn, _numbers(conn, experiment_ids))

    def completions(self, experiment_ids: Sequence[str] | None, text: str, *, limit: int = 12) -> list[Completion]:
        """How a filter of runs that is being written may go on: names, operators, values that there are.

        Args:
            text: The filter up to where it is being written.
            limit: How many ways are told at most.
        """
        place = place_in(text, RUNS)
        offers = list(place.words)
        with self._tables.read() as conn:
            if place.want == "name":
                known = known_keys(conn, _numbers(conn, experiment_ids))
                logged = (("metrics", known.metrics), ("params", known.params), ("tags", known.tags))
                offers = [*names_of(RUNS, logged), *(offers if place.word else ())]
            elif place.want == "value" and place.field is not None and place.attribute is not None:
                part = place.word.strip("'\"")
                texts = known_texts(conn, _numbers(conn, experiment_ids), place.field, part, limit)
                offers = values_for(place.attribute, texts)
        head = place.head if place.word or place.head[-1:] in ("", " ", "(") else f"{place.head} "
        found = fitting(place.word, offers, limit, begins=place.want in ("operator", "word"))
        return [Completion(f"{head}{offer} ", offer, place.want) for offer in found]

    def experiments(
        self,
        filter: str = "",
        *,
        view: str = "active",
        order_by: Sequence[str] = (),
        limit: int = 1000,
        page_token: str = "",
        strict: bool = False,
    ) -> Page[Experiment]:
        """Experiments with their tags, without the number of their runs; without an order the newest first.

        Raises:
            Invalid: The filter, order, view, limit or token.
        """
        _check(view, limit)
        order = read_order(order_by, EXPERIMENTS, strict=strict)
        project = caller().project
        question = fingerprint("experiments", project, filter, list(order_by), view, strict)
        types = experiment_search.question(project, EVERYTHING, order, view, "sqlite").types
        mark = self._mark(page_token, question, types)
        tree = read_filter(filter, EXPERIMENTS, strict=strict, now=mark.now)
        with self._tables.read() as conn:
            asked = experiment_search.question(project, tree, order, view, self._tables.dialect)
            hits = asked.sort(conn, after=mark.keys, limit=limit + 1)
            found = experiments.load(conn, [hit.number for hit in hits[:limit]])
        return Page(tuple(found), _next(question, mark, hits, limit))

    def logged_models(
        self,
        experiment_ids: Sequence[str] | None,
        filter: str = "",
        *,
        datasets: Sequence[tuple[str, str]] = (),
        order_by: Sequence[str | ModelOrder] = (),
        limit: int = 100,
        page_token: str = "",
        strict: bool = False,
    ) -> Page[LoggedModel]:
        """Logged models that are not deleted; without an order the newest first.

        Args:
            experiment_ids: In which experiments; None for all of the project.
            filter: Which models, such as `metrics.acc > 0.9`.
            datasets: Names and digests (a digest of "" is any), at most 100. Only what was measured on these counts;
                without a comparison of metrics, models that were measured on one of them.
            order_by: By what to sort; texts are as for runs.
            limit: At most so many, up to 50000.
            page_token: From the page before.
            strict: Only MLflow's language.
        Raises:
            Invalid: The filter, order, limit or token, or too many experiments or datasets.
        """
        _check("active", limit)
        if any(not name for name, _ in datasets):
            raise Invalid("a dataset without a name", where="datasets", hint="name it, or ask for no dataset")
        if len(datasets) > MAX_DATASETS:
            raise Invalid(f"{len(datasets)} datasets", where="datasets", hint=f"name at most {MAX_DATASETS}")
        order = _model_order(order_by, strict=strict)
        scope = None if experiment_ids is None else check_ids(experiment_ids, "experiments")
        written = [[written_order(item), list(dataset) if dataset else None] for item, dataset in order]
        question = fingerprint("models", caller().project, scope, filter, written, [list(d) for d in datasets], strict)
        search = model_search.ModelSearch(caller().project, None, EVERYTHING, order, tuple(datasets))
        mark = self._mark(page_token, question, model_search.question(search, Keys({}), "sqlite").types)
        tree = read_filter(filter, LOGGED_MODELS, strict=strict, now=mark.now)
        with self._tables.read() as conn:
            numbers = None if scope is None else experiments.numbers_of(conn, caller().project, scope)
            search = replace(search, experiments=numbers, filter=tree)
            keys = keys_of(conn, search.project, numbers, tree, [item for item, _ in order])
            asked = model_search.question(search, keys, self._tables.dialect)
            hits = asked.sort(conn, after=mark.keys, limit=limit + 1)
            found = logged_models.load(conn, [hit.number for hit in hits[:limit]])
        return Page(tuple(found), _next(question, mark, hits, limit))

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


def _grouping(by: str) -> Field:
    fields = read_fields(by, RUNS, ())
    if len(fields) != 1 or fields[0].entity not in ("params", "tags", ATTRIBUTES) or not fields[0].key:
        hint = "use one param, tag or attribute, such as params.depth"
        raise Invalid(f"runs are not grouped by {by[:60]!r}", where="group", hint=hint)
    return fields[0]


def _numbers(conn: Connection, experiment_ids: Sequence[str] | None) -> Sequence[int]:
    """The numbers that experiments are interned as; None is all of the project."""
    if experiment_ids is None:
        return tuple(conn.execute(owned(caller().project)).scalars())
    return experiments.numbers_of(conn, caller().project, experiment_ids)


def _next(question: str, mark: Mark, hits: Sequence[Hit], limit: int) -> str:
    """The token for what follows a page, "" when nothing does; `hits` are one more than the page, if there is one."""
    return token_of(question, Mark(mark.now, hits[limit - 1].keys)) if len(hits) > limit else ""


def _model_order(
    order_by: Sequence[str | ModelOrder], *, strict: bool
) -> tuple[tuple[Order, tuple[str, str] | None], ...]:
    found: list[tuple[Order, tuple[str, str] | None]] = []
    for item in order_by:
        if isinstance(item, ModelOrder):
            entity, dot, key = item.field.partition(".")
            field = Field(entity, key) if dot else Field(ATTRIBUTES, entity)
            (order,) = read_order([written_order(Order(field, item.descending))], LOGGED_MODELS, strict=strict)
            found.append((order, item.dataset))
        else:
            found += [(order, None) for order in read_order([item], LOGGED_MODELS, strict=strict)]
    return tuple(found)


def _check(view: str, limit: int, most: int = MAX_LIMIT) -> None:
    if view not in VIEWS:
        hint = did_you_mean(view, VIEWS) or f"use one of {', '.join(VIEWS)}"
        raise Invalid(f"there is no view {view[:40]!r}", where="view", hint=hint)
    if not 1 <= limit <= most:
        raise Invalid(f"a page of {limit}", where="limit", hint=f"use 1 to {most}")
