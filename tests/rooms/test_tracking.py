"""Tracking on real storage: atomic and idempotent batches, special values, pages, files."""

from __future__ import annotations

import math
import struct
import threading
from array import array
from concurrent.futures import Future

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import ManualClock, SystemClock
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import CodeState, Environment, Metric, Run, RunInput, Search, Tracking
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import Packed
from mainspring.tracking.records import points as stored_points
from mainspring.tracking.records.tables import metric
from mainspring.tracking.records.tables import run as runs
from mainspring.tracking.rules import latest, rank


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def journal(tables: Tables, clock: ManualClock) -> SqlJournal:
    return SqlJournal(tables, clock)


@pytest.fixture
def tracking(tables: Tables, journal: SqlJournal, clock: ManualClock) -> Tracking:
    return Tracking(tables=tables, journal=journal, clock=clock)


@pytest.fixture
def run(tracking: Tracking) -> Run:
    return tracking.create_run("flights", name="first")


def test_a_run_comes_back_with_all_that_was_logged(tracking: Tracking, clock: ManualClock) -> None:
    code = CodeState(commit="c" * 40, branch="main", dirty=True, diff="+x", entry="train.py")
    where = Environment(python="3.11.7", platform="Linux", cpus=2, gpus=("H200",), packages={"polars": "2.1"})
    made = tracking.create_run("flights", tags={"team": "ops"}, code=code, environment=where, seed=7)
    tracking.log_batch(made.id, metrics=[Metric("auc", 0.75, 1)], params={"depth": "6"}, tags={"team": "sea"})
    tracking.log_input(made.id, "datasets/flights/1", "training")
    tracking.log_input(made.id, "datasets/flights/1", "training")
    clock.advance(50)
    ended = tracking.finish(made.id)
    assert (ended.code, ended.environment, ended.seed) == (code, where, 7)
    assert (ended.params, ended.tags) == ({"depth": "6"}, {"team": "sea"})
    assert ended.metrics == {"auc": Metric("auc", 0.75, 1, 1_000)}
    assert ended.inputs == (RunInput("datasets/flights/1", "training"),)
    assert (ended.status, ended.started_at, ended.ended_at) == ("finished", 1_000, 1_050)
    assert tracking.get(made.id) == ended


def test_start_and_end_are_on_record_once(tracking: Tracking, journal: SqlJournal) -> None:
    made = tracking.create_run("flights", run_id="0" * 32)
    assert tracking.create_run("flights", run_id="0" * 32) == made
    for _ in range(2):
        tracking.finish(made.id, "failed")
    kinds = [event.kind for event in journal.read(subject=made.ref)]
    assert kinds == ["tracking.run_started", "tracking.run_ended"]


def test_a_run_ends_in_one_way(tracking: Tracking, run: Run) -> None:
    tracking.finish(run.id, "failed")
    with pytest.raises(Conflict, match="failed already"):
        tracking.finish(run.id, "finished")


def test_a_run_that_ended_goes_on_and_ends_again(tracking: Tracking, run: Run, journal: SqlJournal) -> None:
    tracking.finish(run.id, "killed")
    again = tracking.resume(run.id)
    assert (again.status, again.ended_at) == ("running", None)
    assert tracking.resume(run.id) == again
    assert tracking.finish(run.id).status == "finished"
    kinds = [event.kind.removeprefix("tracking.run_") for event in journal.read(subject=run.ref)]
    assert kinds == ["started", "ended", "resumed", "ended"]


def test_a_run_told_of_later_keeps_its_own_times(tracking: Tracking) -> None:
    made = tracking.create_run("flights", started_at=100)
    ended = tracking.finish(made.id, "failed", ended_at=200)
    assert (ended.started_at, ended.ended_at) == (100, 200)


def test_a_run_told_of_when_it_has_ended_is_on_record_as_any_other(tracking: Tracking, journal: SqlJournal) -> None:
    made = tracking.create_run("flights", run_id="1" * 32, started_at=900, params={"depth": "6"}, status="failed")
    assert (made.status, made.started_at, made.ended_at) == ("failed", 900, 1_000)
    assert tracking.get(made.id) == made
    assert tracking.create_run("flights", run_id="1" * 32, status="finished") == made
    kinds = [event.kind for event in journal.read(subject=made.ref)]
    assert kinds == ["tracking.run_started", "tracking.run_ended"]
    with pytest.raises(Invalid, match="over"):
        tracking.create_run("flights", status="over")


def test_a_batch_with_one_bad_part_stores_nothing(tracking: Tracking, run: Run) -> None:
    tracking.log_batch(run.id, params={"depth": "6"})
    with pytest.raises(Conflict):
        tracking.log_batch(
            run.id, metrics=[Metric("auc", 0.5)], params={"depth": "7", "new": "1"}, tags={"seen": "yes"}
        )
    found = tracking.get(run.id)
    assert (found.metrics, found.params, found.tags) == ({}, {"depth": "6"}, {})


def test_a_batch_for_a_run_that_is_not_there_is_refused(tracking: Tracking) -> None:
    with pytest.raises(NotFound, match="there is no run"):
        tracking.log_batch("f" * 32, metrics=[Metric("auc", 0.5)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Metric,
            st.sampled_from(["loss", "val/auc"]),
            st.floats(),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(1, 2**62),
        ),
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_points_are_a_set_however_they_are_cut_and_sent_again(
    tracking: Tracking, points: list[Metric], cut: int
) -> None:
    made = tracking.create_run("flights")
    for batch in (points[:cut], points[cut:], points[:cut], points):
        tracking.log_batch(made.id, metrics=batch)
    found = tracking.get(made.id).metrics
    assert {key: rank(point) for key, point in found.items()} == {k: rank(p) for k, p in latest(points).items()}
    for key in ("loss", "val/auc"):
        stored = [rank(point) for point in tracking.history(made.id, key)]
        assert stored == sorted({rank(point) for point in points if point.key == key})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # the run; the last is in another project
            st.lists(
                st.builds(Metric, st.sampled_from(["a", "b"]), st.floats(), st.integers(0, 3), st.integers(1, 3)),
                max_size=4,
            ),
            st.booleans(),  # whether it has a tag too, and so is stored alone
        ),
        min_size=2,
        max_size=30,
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_batches_that_wait_together_are_stored_as_one_by_one(
    tracking: Tracking,
    tables: Tables,
    journal: SqlJournal,
    batches: list[tuple[int, list[Metric], bool]],
    one_is_bad: bool,
    known: bool,
    some_are_tagged: bool,
) -> None:
    ids = [tracking.create_run(f"flights {n % 2}").id for n in range(3)]
    with calling(Caller(actor="ada", project="theirs")):
        ids.append(tracking.create_run("flights 0").id)
    expected: list[list[Metric]] = [[] for _ in ids]
    if known:
        for number, run_id in enumerate(ids):
            expected[number] = [Metric(key, 0.5, 1, 2) for key in ("a", "b")]
            with calling(Caller(actor="ada", project="theirs" if number == 3 else caller().project)):
                tracking.log_batch(run_id, metrics=expected[number])
    if one_is_bad:
        Runs(tables=tables, journal=journal, clock=SystemClock()).delete(ids[1])
    held, entered = threading.Event(), threading.Event()

    def hold(_: sa.Connection) -> None:
        entered.set()
        assert held.wait(30)

    tables.submit(hold)
    assert entered.wait(30)
    done: list[Future[None]] = []
    for number, points, tagged in batches:
        with calling(Caller(actor="ada", project="theirs" if number == 3 else caller().project)):
            tags = {"last": str(len(done))} if tagged and some_are_tagged else {}
            done.append(tracking.submit_batch(ids[number], metrics=points, tags=tags))
        if not (one_is_bad and number == 1):
            expected[number] += points
    held.set()
    for future, (number, _, _) in zip(done, batches, strict=True):
        wrong = Conflict if one_is_bad and number == 1 else type(None)
        assert isinstance(future.exception(30), wrong)
    for number, points in enumerate(expected):
        with calling(Caller(actor="ada", project="theirs" if number == 3 else caller().project)):
            found = tracking.get(ids[number]).metrics
            assert {key: rank(point) for key, point in found.items()} == {k: rank(p) for k, p in latest(points).items()}
            for key in ("a", "b"):
                stored = [rank(point) for point in tracking.history(ids[number], key)]
                assert stored == sorted({rank(point) for point in points if point.key == key})


def test_points_of_a_known_run_are_stored_without_a_transaction_around_them_on_postgres(
    tracking: Tracking, tables: Tables, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking.log_batch(run.id, metrics=[Metric("loss", 0.5, 1)])
    with monkeypatch.context() as patched:
        if tables.dialect == "postgresql":  # on SQLite a transaction needs no turn
            patched.delattr(stored_points, "add_points")
        tracking.log_batch(run.id, metrics=[Metric("loss", 0.25, 2), Metric("loss", 0.1, 0)])
    repeated = [Metric("loss", 0.25, 2), Metric("loss", 0.2, 1), Metric("loss", 0.5, 1)]
    tracking.log_batch(run.id, metrics=[*repeated, *repeated])
    assert tracking.get(run.id).metrics == {"loss": Metric("loss", 0.25, 2, 1_000)}
    assert [(point.step, point.value) for point in tracking.history(run.id, "loss")] == [
        (0, 0.1),
        (1, 0.2),
        (1, 0.5),
        (2, 0.25),
    ]
    tracking.log_batch(run.id, metrics=[Metric("other", 1.0, 1)])
    assert set(tracking.get(run.id).metrics) == {"loss", "other"}


def test_a_run_that_was_known_and_is_another_one_now_keeps_its_points_to_itself(
    tracking: Tracking, tables: Tables, run: Run
) -> None:
    tracking.log_batch(run.id, metrics=[Metric("loss", 0.5, 1)])
    with tables.write() as conn:
        number = conn.execute(sa.update(runs).values(id="f" * 32).returning(runs.c.number)).scalar_one()
    with pytest.raises(NotFound):
        tracking.log_batch(run.id, metrics=[Metric("loss", 0.25, 2)])
    with tables.read() as conn:
        assert conn.execute(sa.select(metric.c.step).where(metric.c.run == number)).scalars().all() == [1]


@pytest.mark.parametrize("count", [9, 10, 101, 237, 1000])
def test_batches_of_any_length_are_stored_whole_and_say_the_latest(tracking: Tracking, run: Run, count: int) -> None:
    points = [Metric(f"m{n % 150}", n + 0.5, n // 150, 7) for n in range(count)]
    tracking.log_batch(run.id, metrics=[*points[::-1], *points[: 1000 - count]])
    stored = [point for key in {point.key for point in points} for point in tracking.history(run.id, key)]
    assert sorted(stored, key=lambda point: point.value) == points
    assert tracking.get(run.id).metrics == latest(points)


def test_nan_and_infinities_come_back(tracking: Tracking, run: Run) -> None:
    values = [math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]
    tracking.log_batch(run.id, metrics=[Metric("loss", value, step) for step, value in enumerate(values)])
    back = [point.value for point in tracking.history(run.id, "loss")]
    assert [repr(value) for value in back] == [repr(value) for value in values]


def test_a_packed_history_has_every_number_to_the_bit(tracking: Tracking, run: Run) -> None:
    values = [0.1, math.nan, -math.inf, math.inf, 5e-324, -1.7976931348623157e308, *(1 / n for n in range(1, 700))]
    points = [Metric("loss", value, -(2**63) + step, 2**62 - step) for step, value in enumerate(values)]
    tracking.log_batch(run.id, metrics=points[::-1])
    found = tracking.packed(run.id, "loss")
    assert array("q", found.steps).tolist() == [point.step for point in points]
    assert array("q", found.times).tolist() == [point.at for point in points]
    assert found.values == struct.pack(f"{len(values)}d", *values)
    assert tracking.packed(run.id, "none") == Packed("none", b"", b"", b"")


def test_many_threads_lose_no_point(tracking: Tracking, run: Run) -> None:
    def log(worker: int) -> None:
        for step in range(10):
            tracking.log_batch(run.id, metrics=[Metric(f"loss-{worker}", 1.0, step), Metric("all", worker, step)])

    threads = [threading.Thread(target=log, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tracking.history(run.id, "all")) == 60
    assert all(len(tracking.history(run.id, f"loss-{worker}")) == 10 for worker in range(6))


def test_one_bad_batch_does_not_hurt_its_neighbours(tracking: Tracking, run: Run) -> None:
    good = [tracking.submit_batch(run.id, metrics=[Metric("a", float(step), step)]) for step in range(5)]
    bad = tracking.submit_batch("f" * 32, metrics=[Metric("a", 0.0)])
    good += [tracking.submit_batch(run.id, metrics=[Metric("a", float(step), step)]) for step in range(5, 9)]
    for future in good:
        future.result(timeout=30)
    assert isinstance(bad.exception(timeout=30), NotFound)
    assert len(tracking.history(run.id, "a")) == 9


def test_runs_come_in_pages_newest_first(tracking: Tracking, clock: ManualClock) -> None:
    made = []
    for number in range(5):
        made.append(tracking.create_run("flights" if number % 2 else "other").id)
        clock.advance(number % 2)
    search = Search(tables=tracking._tables, clock=clock)
    pages = [search.runs(None, limit=2)]
    while pages[-1].next_token:
        pages.append(search.runs(None, limit=2, page_token=pages[-1].next_token))
    assert [run.id for page in pages for run in page.items] == [made[4], made[2], made[3], made[0], made[1]]
    assert [run.id for run in search.runs(search.named(["flights"])).items] == [made[3], made[1]]
    assert [(entry.name, entry.runs) for entry in tracking.experiments()] == [("flights", 2), ("other", 3)]


def test_projects_do_not_see_each_other(tracking: Tracking, run: Run) -> None:
    with calling(Caller(project="other")):
        assert Search(tables=tracking._tables, clock=SystemClock()).runs(None).items == ()
        with pytest.raises(NotFound):
            tracking.log_batch(run.id, metrics=[Metric("a", 1.0)])
        with pytest.raises(Conflict):
            tracking.create_run("flights", run_id=run.id)


def test_a_child_run_needs_its_parent(tracking: Tracking, run: Run) -> None:
    assert tracking.create_run("flights", parent=run.id).parent == run.id
    with pytest.raises(NotFound):
        tracking.create_run("flights", parent="f" * 32)
    with pytest.raises(Invalid, match="its own parent"):
        tracking.create_run("flights", run_id="e" * 32, parent="e" * 32)
    assert tracking.experiments()[0].runs == 2


def test_a_child_that_is_sent_again_needs_no_parent_any_more(tracking: Tracking, run: Run, tables: Tables) -> None:
    child = tracking.create_run("flights", parent=run.id)
    with tables.write() as conn:
        conn.execute(runs.delete().where(runs.c.id == run.id))
    assert tracking.create_run("flights", run_id=child.id, parent=run.id) == child
