"""Searching for runs: the databases find what the reference finds, page by page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rooms.searched import Plain, Thing, in_order, is_found

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid
from mainspring.core.ids import new_id
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import Metric, Tracking
from mainspring.tracking.grammar.tree import Compare, Field, Node, Not, Order, all_of, any_of, written, written_order
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.records.search import narrow
from mainspring.tracking.records.search import runs as run_search
from mainspring.tracking.searching import Search

START = 1_700_000_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def tracking(tables: Tables, clock: ManualClock) -> Tracking:
    return Tracking(tables=tables, journal=SqlJournal(tables, clock), clock=clock)


@pytest.fixture
def search(tables: Tables, clock: ManualClock) -> Search:
    return Search(tables=tables, clock=clock)


KEYS = ("loss", "acc/top 1")
WORDS = (
    "a",
    "B",
    "b",
    "ab%",
    "a_b",
    "A[b]*",
    "it's",
    'say "x"',
    "back\\slash",
    "`tick`",
    "é",
    "É",
    "日本",
    "",
    " ",
    "a?c",
)
NUMBERS = (0.0, -1.5, 2.0, 1e300, -1e-300, math.inf, -math.inf, math.nan)

texts = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
numbers = st.sampled_from(NUMBERS) | st.floats(width=32)
some = st.fixed_dictionaries(
    {
        "metrics": st.dictionaries(st.sampled_from(KEYS), numbers),
        "params": st.dictionaries(st.sampled_from(KEYS), texts),
        "tags": st.dictionaries(st.sampled_from(KEYS), texts),
        "status": st.sampled_from(["running", "finished", "failed"]),
        "wait": st.integers(0, 2),
        "experiment": st.sampled_from(["one", "two", "three"]),
        "seed": st.none() | st.integers(-3, 3),
    }
)


def numeric(field: Field, values: st.SearchStrategy[float]) -> st.SearchStrategy[Node]:
    ops = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    return st.builds(Compare, st.just(field), ops, values) | present(field)


def textual(field: Field) -> st.SearchStrategy[Node]:
    ops = st.sampled_from(["=", "!=", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"])
    patterns = texts | st.text("ab%_[]*?É\\", max_size=6)
    lists = st.builds(
        Compare, st.just(field), st.sampled_from(["IN", "NOT IN"]), st.lists(texts, min_size=1, max_size=3).map(tuple)
    )
    return st.builds(Compare, st.just(field), ops, patterns) | lists | present(field)


def present(field: Field) -> st.SearchStrategy[Node]:
    return st.builds(Compare, st.just(field), st.sampled_from(["IS NULL", "IS NOT NULL"]))


finite = st.sampled_from([n for n in NUMBERS if not math.isnan(n)]) | st.floats(width=32, allow_nan=False)
leaves = st.one_of(
    *(numeric(Field("metrics", key), finite) for key in (*KEYS, "never")),
    *(textual(Field(entity, key)) for entity in ("params", "tags") for key in KEYS),
    textual(Field("attributes", "name")),
    textual(Field("attributes", "experiment")),
    numeric(Field("attributes", "seed"), st.integers(-3, 3) | st.sampled_from([0.5, math.inf])),
    numeric(Field("attributes", "started_at"), st.integers(START, START + 20)),
    numeric(Field("attributes", "duration"), st.sampled_from([0, 1.0, 3.5])),
    st.builds(
        Compare,
        st.just(Field("attributes", "status")),
        st.sampled_from(["=", "!="]),
        st.sampled_from(["running", "failed"]),
    ),
)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(all_of)
        | st.lists(inner, min_size=2, max_size=3).map(any_of)
    ),
    max_leaves=5,
)
sortable = [Field(entity, key) for entity in ("metrics", "params", "tags") for key in KEYS]
sortable += [
    Field("attributes", name)
    for name in ("name", "status", "started_at", "ended_at", "seed", "duration", "id", "experiment")
]
orders = st.lists(
    st.builds(Order, st.sampled_from(sortable), st.booleans()), max_size=3, unique_by=lambda item: item.field
)


class World:
    """Runs in a database, and the same as plain values."""

    def __init__(self, tracking: Tracking, clock: ManualClock, project: str, plans: list[dict[str, object]]) -> None:
        self.things = [self._make(tracking, clock, plan) for plan in plans]
        self.project = project

    def _make(self, tracking: Tracking, clock: ManualClock, plan: dict[str, object]) -> Thing:
        name = f"run {plan['wait']}"
        metrics, params, tags = plan["metrics"], plan["params"], plan["tags"]
        assert isinstance(metrics, dict) and isinstance(params, dict) and isinstance(tags, dict)
        seed, wait = plan["seed"], plan["wait"]
        assert seed is None or isinstance(seed, int)
        assert isinstance(wait, int)
        made = tracking.create_run(str(plan["experiment"]), name=name, seed=seed)
        points = [Metric(key, value, 0, 1) for key, value in metrics.items()]
        tracking.log_batch(made.id, metrics=points, params=params, tags=tags)
        clock.advance(wait)
        if plan["status"] != "running":
            tracking.finish(made.id, str(plan["status"]))
        ended = clock.now() if plan["status"] != "running" else None
        plain: dict[str, Plain] = {
            "id": made.id,
            "name": name,
            "status": str(plan["status"]),
            "experiment": str(plan["experiment"]),
            "seed": seed,
            "started_at": made.started_at,
            "ended_at": ended,
            "duration": None if ended is None else ended - made.started_at,
        }
        return Thing(plain, metrics, params, tags)

    def expected(self, node: Node, order: tuple[Order, ...]) -> list[Plain]:
        ties = (*order, *run_search.TIES)
        return [thing.attributes["id"] for thing in in_order([t for t in self.things if is_found(node, t)], ties)]


def pages(search: Search, text: str, order: list[str], limit: int, ids: list[str] | None = None) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page = search.runs(ids, text, order_by=order, limit=limit, page_token=token)
        found += [run.id for run in page.items]
        token = page.next_token
        if not token:
            return found
        assert len(page.items) == limit


@contextmanager
def world_of(
    tracking: Tracking, clock: ManualClock, plans: list[dict[str, object]], bounds: dict[str, int]
) -> Iterator[tuple[World, pytest.MonkeyPatch]]:
    """A project of its own with such runs, searched with other bounds than the usual."""
    project = f"p{new_id()}"
    with calling(Caller(project=project)), pytest.MonkeyPatch.context() as patch:
        for name, bound in bounds.items():
            patch.setattr(run_search, name, bound)
        yield World(tracking, clock, project, plans), patch


def agree(search: Search, world: World, questions: list[tuple[Node, list[Order]]], limit: int) -> None:
    for node, order in questions:
        expected = world.expected(node, tuple(order))
        assert pages(search, written(scaled(node)), [written_order(item) for item in order], limit) == expected


@pytest.mark.parametrize("examples", [12, pytest.param(60, marks=pytest.mark.long)])
def test_the_databases_find_what_the_reference_finds(
    tracking: Tracking, search: Search, clock: ManualClock, examples: int
) -> None:
    @settings(max_examples=examples)
    @given(
        plans=st.lists(some, max_size=6),
        questions=st.lists(st.tuples(filters, orders), min_size=3, max_size=6),
        limit=st.integers(1, 3),
        bounds=st.fixed_dictionaries(
            {
                "FEW": st.sampled_from([0, 2, 4000]),
                "STEPS": st.sampled_from([0, 1, 2, 3000]),
                "LEVELS": st.sampled_from([0, 1, 10]),
                "SOME": st.sampled_from([0, 1000]),
                "MANY": st.sampled_from([0, 1000]),
                "ROOMY": st.sampled_from([0, 10]),
                "SEPARATE": st.sampled_from([1, 50]),
            }
        ),
        sample=st.sampled_from([1, 9, 400]),
    )
    def holds(
        plans: list[dict[str, object]],
        questions: list[tuple[Node, list[Order]]],
        limit: int,
        bounds: dict[str, int],
        sample: int,
    ) -> None:
        with world_of(tracking, clock, plans, bounds) as (world, patch):
            patch.setattr(narrow, "SAMPLE", sample)
            agree(search, world, questions, limit)

    holds()


WAYS = ({"MANY": 0, "SOME": 0}, {"MANY": 9999, "SOME": 0}, {"MANY": 0, "SOME": 9999})
"""A walk that looks everything up, one along marks, and look-ups of all that passes."""


def test_pages_are_the_same_whichever_way_is_taken_to_them(
    tracking: Tracking, search: Search, clock: ManualClock
) -> None:
    values = [float(n) for n in range(9)] + [math.inf, -math.inf, math.nan]
    for number, value in enumerate(values):
        made = tracking.create_run("one")
        tracking.log_batch(made.id, metrics=[Metric("m", value), Metric("o", -float(number % 7))])
        clock.advance(1)
        tracking.finish(made.id)
    tracking.create_run("one")
    ids = search_ids(search)
    for text, order, count in (
        ("metrics.m > 2", "metrics.o", 7),
        ("metrics.m >= 2 and metrics.m < 7", "metrics.o desc", 5),
        ("metrics.m <= 8 and start_time > 0", "ended_at desc", 10),
        ("(metrics.m > 1 or metrics.o = 2) and metrics.m > 2", "start_time", 7),
    ):
        found = []
        for bounds in WAYS:
            with pytest.MonkeyPatch.context() as patch:
                for name, bound in {"FEW": 0, "STEPS": 0, "LEVELS": 0, **bounds}.items():
                    patch.setattr(run_search, name, bound)
                patch.setattr(narrow, "SAMPLE", 9)
                found.append(pages(search, text, [order], 4, ids))
        assert len(found[0]) == count and found[0] == found[1] == found[2]


def search_ids(search: Search) -> list[str]:
    return [experiment.id for experiment in search.experiments().items]


def scaled(node: Node) -> Node:
    """Durations are written in seconds and compared in microseconds."""
    if isinstance(node, Compare):
        if node.field.key == "duration" and isinstance(node.value, (int, float)):
            return Compare(node.field, node.op, node.value / 1e6)
        return node
    if isinstance(node, Not):
        return Not(scaled(node.part))
    return type(node)(tuple(scaled(part) for part in node.parts))


def test_groups_count_all_runs_and_average_their_last_finite_values(tracking: Tracking, search: Search) -> None:
    for experiment, depth, loss in (("a", "3", 0.5), ("b", "6", math.nan), ("b", "6", 0.1), ("b", "", 2.0)):
        made = tracking.create_run(experiment)
        tracking.log_batch(made.id, metrics=[Metric("loss", loss)], params={"depth": depth} if depth else {})
        tracking.finish(made.id)
    found = search.groups(None, "params.depth", metrics=["loss", "nothing"])
    assert [(one.value, one.runs, one.means) for one in found.groups] == [
        ("6", 2, {"loss": pytest.approx(0.1)}),
        ("3", 1, {"loss": 0.5}),
        (None, 1, {"loss": 2.0}),
    ]
    assert not found.cut
    few = search.groups(None, "params.depth", "metrics.loss > 0.2", metrics=["loss"])
    assert [(one.value, one.runs) for one in few.groups] == [("3", 1), (None, 1)]
    assert [(one.value, one.runs) for one in search.groups(None, "experiment").groups] == [("b", 3), ("a", 1)]
    assert [(one.value, one.runs) for one in search.groups(search.named(["b"]), "status").groups] == [("finished", 3)]
    for by in ("metrics.loss", "params.", "params.a, params.b", "", "nothing"):
        with pytest.raises(Invalid):
            search.groups(None, by)


def test_more_groups_than_are_shown_are_cut(
    tracking: Tracking, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.tracking.searching.MAX_GROUPS", 2)
    for depth in ("1", "2", "3"):
        tracking.log_batch(tracking.create_run("a").id, params={"depth": depth})
    found = search.groups(None, "params.depth")
    assert ([one.value for one in found.groups], found.cut) == (["1", "2"], True)


def test_deleted_runs_are_not_counted_in_their_experiment(
    tables: Tables, tracking: Tracking, clock: ManualClock
) -> None:
    runs = [tracking.create_run(name) for name in ("a", "a", "b")]
    Runs(tables=tables, journal=SqlJournal(tables, clock), clock=clock).delete(runs[0].id)
    assert {entry.name: entry.runs for entry in tracking.experiments()} == {"a": 1, "b": 1}
