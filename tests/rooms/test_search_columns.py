"""Searching by columns of metrics: they find what rows say, whatever was measured since they were built."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rooms.searched import Thing
from tests.rooms.test_search import KEYS, agree, filters, numbers, orders, pages, some, world_of

from mainspring.core.clock import ManualClock
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import Metric, Tracking
from mainspring.tracking import columns as turns
from mainspring.tracking.columns import Columns
from mainspring.tracking.grammar.tree import Node, Order
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.records import columns, points
from mainspring.tracking.records.search import columns as reading
from mainspring.tracking.records.search import runs as run_search
from mainspring.tracking.records.tables import metric_column, metric_column_late, metric_column_state
from mainspring.tracking.removal import Removal
from mainspring.tracking.searching import Search

START = 1_700_000_000_000_000
ALWAYS = {"FEW": 0, "STEPS": 0, "LEVELS": 0, "PASSED": 0}
"""Bounds with which a search goes by columns wherever it can."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def tracking(tables: Tables, clock: ManualClock) -> Tracking:
    return Tracking(tables=tables, journal=SqlJournal(tables, clock), clock=clock)


@pytest.fixture
def search(tables: Tables, clock: ManualClock) -> Search:
    return Search(tables=tables, clock=clock)


@pytest.fixture
def built(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Iterator[Columns]:
    """Columns of small blocks from the first run on."""
    with tables.write() as conn:
        for table in (metric_column, metric_column_late, metric_column_state):
            conn.execute(sa.delete(table))
    for module in (columns, reading):
        monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(turns, "LEAST", 0)
    monkeypatch.setattr(turns, "LATE", 3)
    for name, bound in ALWAYS.items():
        monkeypatch.setattr(run_search, name, bound)
    yield Columns(tables=tables)
    with tables.write() as conn:
        for table in (metric_column, metric_column_late, metric_column_state):
            conn.execute(sa.delete(table))


changes = st.lists(st.tuples(st.integers(0, 11), st.sampled_from(KEYS), numbers, st.integers(0, 3)), max_size=8)


@pytest.mark.parametrize("examples", [12, pytest.param(60, marks=pytest.mark.long)])
def test_columns_find_what_the_reference_finds(
    built: Columns, tracking: Tracking, search: Search, clock: ManualClock, examples: int
) -> None:
    @settings(max_examples=examples)
    @given(
        plans=st.lists(some, min_size=1, max_size=12),
        changed=changes,
        questions=st.lists(st.tuples(filters, orders), min_size=3, max_size=6),
        limit=st.integers(1, 3),
        bounds=st.fixed_dictionaries({"FEW": st.sampled_from([0, 2]), "PASSED": st.sampled_from([0, 2])}),
        pool=st.sampled_from([1, 4]),
    )
    def holds(
        plans: list[dict[str, object]],
        changed: list[tuple[int, str, float, int]],
        questions: list[tuple[Node, list[Order]]],
        limit: int,
        bounds: dict[str, int],
        pool: int,
    ) -> None:
        with world_of(tracking, clock, plans, bounds) as (world, patch):
            patch.setattr(reading, "_POOL", pool)
            built.turn(most=1000)
            for step, (place, key, value, more) in enumerate(changed, 1):
                thing = world.things[place % len(world.things)]
                tracking.log_batch(_id(thing), metrics=[Metric(key, value, step, 1)])
                thing.metrics[key] = value
                for _ in range(more):
                    built.turn(most=more)
            agree(search, world, questions, limit)

    holds()


def _id(thing: Thing) -> str:
    return str(thing.attributes["id"])


def _made(tracking: Tracking, count: int) -> list[str]:
    """Runs whose metric `o` falls where `m` rises."""
    made = [tracking.create_run("one").id for _ in range(count)]
    for place, run_id in enumerate(made):
        tracking.log_batch(run_id, metrics=[Metric("m", float(place)), Metric("o", -float(place))])
    return made


def _blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What grows when a search reads columns."""
    seen: list[object] = []
    plain = reading.stored

    def told(*args: object) -> object:
        found = plain(*args)  # type: ignore[arg-type]
        seen.append(found)
        return found

    monkeypatch.setattr(run_search, "stored", told)
    return seen


def test_an_order_against_its_filter_is_read_off_columns(
    built: Columns, tracking: Tracking, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(tracking, 20)
    assert built.turn(most=1000) > 0
    seen = _blocks_read(monkeypatch)
    assert pages(search, "metrics.m < 10", ["metrics.o"], 3) == made[9::-1]
    assert seen and all(isinstance(one, reading.Stored) for one in seen)


def test_runs_of_several_experiments_in_the_order_of_a_param_come_once(
    built: Columns, tracking: Tracking, search: Search
) -> None:
    made = [tracking.create_run(name).id for name in ("two", "one", "three", "one")]
    for run_id, value in zip(made, "dbca", strict=True):
        tracking.log_batch(run_id, metrics=[Metric("m", 1.0)], params={"p": value})
    built.turn(most=1000)
    assert pages(search, "NOT metrics.m > 1", ["params.p"], 2) == [made[3], made[1], made[2], made[0]]


def test_too_many_runs_outside_of_blocks_are_walked(
    built: Columns, tracking: Tracking, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(tracking, 12)
    built.turn(most=1000)
    made += _made(tracking, 9)
    monkeypatch.setattr(reading, "TAIL", 8)
    seen = _blocks_read(monkeypatch)
    assert len(pages(search, "metrics.m < 10", ["metrics.o"], 30)) == 19
    assert seen == [None]


def test_few_runs_get_no_columns(
    built: Columns, tables: Tables, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(tracking, 9)
    monkeypatch.setattr(turns, "LEAST", 2**40)
    assert built.turn() == 0
    with tables.read() as conn:
        assert columns.state(conn) == columns.State()
    tracking.log_batch(made[0], metrics=[Metric("m", 7.0, 1)])
    assert _late(tables) == []


def test_runs_that_measure_on_are_late_until_their_block_is_built_again(
    built: Columns, tables: Tables, tracking: Tracking, search: Search
) -> None:
    made = _made(tracking, 12)
    built.turn(most=1000)
    for step in (1, 2):
        for run_id in made[:4]:
            tracking.log_batch(run_id, metrics=[Metric("m", 100.0, step)])
    assert len(_late(tables)) == 4  # one more than may be
    assert built.turn() > 0 and built.turn() == 0
    assert _late(tables) == []
    assert pages(search, "metrics.m > 50", ["metrics.o"], 3) == made[3::-1]


def test_runs_of_another_state_are_left_out_and_removed_ones_leave_their_block(
    built: Columns, tables: Tables, tracking: Tracking, search: Search, clock: ManualClock
) -> None:
    made = _made(tracking, 16)
    built.turn(most=1000)
    runs = Runs(tables=tables, journal=SqlJournal(tables, clock), clock=clock)
    for run_id in made[2:6]:
        runs.delete(run_id)
    assert pages(search, "metrics.m < 8", ["metrics.o"], 3) == [made[7], made[6], made[1], made[0]]
    gone = search.runs(None, "metrics.m < 8", view="deleted", order_by=["metrics.o"])
    assert [run.id for run in gone.items] == made[5:1:-1]
    both = search.runs(None, "metrics.m < 8", view="all", order_by=["metrics.o"])
    assert [run.id for run in both.items] == made[7::-1]
    clock.advance(1)
    Removal(tables=tables, journal=SqlJournal(tables, clock)).remove(clock.now(), lambda: None)
    assert len(_late(tables)) == 4
    while built.turn():
        pass
    assert _late(tables) == []
    assert pages(search, "metrics.m < 8", ["metrics.o"], 3) == [made[7], made[6], made[1], made[0]]
    with tables.read() as conn:
        state = columns.state(conn)
        found = conn.execute(sa.select(metric_column.c.block, metric_column.c.numbers)).all()
        now = {block: columns.read(conn, block) for block in range(state.built // 4)}
    assert sorted((block, bytes(own)) for block, own in found) == sorted(
        (block, own) for block, kept in now.items() for _, own in kept.values()
    )


def test_a_block_that_was_read_before_another_turn_is_not_kept(
    built: Columns, tables: Tables, tracking: Tracking
) -> None:
    made = _made(tracking, 12)
    built.turn(most=1000)
    with tables.read() as conn:
        before = columns.state(conn)
        block = (before.built - 1) // 4
        old = columns.read(conn, block)
    for run_id in made:
        tracking.log_batch(run_id, metrics=[Metric("m", 100.0, 1)])
    assert built.turn() > 0
    with tables.write() as conn:
        assert columns.keep(conn, before, block, old) is None
        assert columns.announce(conn, before, before.announced) is None


def test_nothing_is_lost_that_is_measured_while_blocks_are_built(
    built: Columns, tables: Tables, tracking: Tracking, search: Search
) -> None:
    made = _made(tracking, 24)
    last: dict[str, float] = {}
    stop = threading.Event()

    def measure(own: list[str], salt: int) -> None:
        step = 0
        while not stop.is_set():
            step += 1
            run_id, value = own[step % len(own)], float((step * 7919 * salt) % 101)
            tracking.log_batch(run_id, metrics=[Metric("m", value, step)])
            last[run_id] = value

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(measure, made[place::3], place + 1) for place in range(3)]
        try:
            count = 0
            while count < 60 or len(last) < 24:
                count += built.turn(most=2)
                newer = tracking.create_run("one").id
                tracking.log_batch(newer, metrics=[Metric("m", 500.0), Metric("o", 500.0)])
        finally:
            stop.set()
    for writer in writers:
        writer.result()
    found = pages(search, "metrics.m <= 101", ["metrics.o"], 5)
    assert found == made[::-1]
    above = {run_id for run_id, value in last.items() if value > 50}
    assert set(pages(search, "metrics.m > 50 AND metrics.m < 200", ["metrics.o"], 5)) == above


def test_on_postgres_a_turn_begins_when_those_have_finished_who_write(
    built: Columns, tables: Tables, tracking: Tracking
) -> None:
    if tables.dialect != "postgresql":
        pytest.skip("there is one writer at a time")
    made = _made(tracking, 12)
    with tables.read() as conn:
        number, key = conn.execute(sa.text("SELECT run, key FROM metric_latest ORDER BY run LIMIT 1")).one()
    began, go = threading.Event(), threading.Event()

    def slow(conn: sa.Connection) -> None:
        points.add_points(conn, [(number, [("m", 9, 9, 0, 77.0)], {"m": key})])
        began.set()
        assert go.wait(30)

    def write() -> None:
        with tables.write() as conn:
            slow(conn)

    writer = threading.Thread(target=write)
    writer.start()
    assert began.wait(30)
    try:
        assert built.turn(most=1000) == 0  # the writer could not know of it
    finally:
        go.set()
        writer.join()
    assert built.turn(most=1000) > 0
    with tables.read() as conn:
        assert columns.state(conn).turn == 1
    assert _late(tables) == []
    tracking.log_batch(made[0], metrics=[Metric("m", math.nan, 10)])
    assert _late(tables) == [number]


def _late(tables: Tables) -> list[int]:
    with tables.read() as conn:
        return list(conn.execute(sa.select(metric_column_late.c.run).distinct()).scalars())
