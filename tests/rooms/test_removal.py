"""Retention: what was deleted stays restorable for its grace, then it is gone for good, in small pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from sklearn.linear_model import LinearRegression

from mainspring.core.clock import DAY_US
from mainspring.core.errors import NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.storage.jobs import NewJob
from mainspring.storage.ports import Blobs, Journal, Queue, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.testing.schema import all_metadata
from mainspring.tracking import Files, Metric, Tracking
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import Span, Trace
from mainspring.tracking.records import removal, tables
from mainspring.tracking.traces import Traces
from mainspring.upkeep import Upkeep

LONG_AGO = 40 * DAY_US


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wiring]:
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "p"\n')
    address = ""
    if request.param == "postgres":
        request.getfixturevalue("postgres_database")
        address = request.getfixturevalue("postgres_database").args[0]
    wiring = open_house(load(tmp_path, environ={}, flags={"storage.db": address or None}))
    yield wiring
    wiring.close()


def tables_of(house: Wiring) -> Tables:
    return house.get(Tables)  # type: ignore[type-abstract]


def a_run(house: Wiring, experiment: str = "first", points: int = 10) -> str:
    tracking, files = house.get(Tracking), house.get(Files)
    run = tracking.create_run(experiment, tags={"team": "ops"})
    metrics = [Metric(f"m{n % 3}", float(n), n, n + 1) for n in range(points)]
    tracking.log_batch(run.id, metrics=metrics, params={"depth": "3"})
    tracking.log_input(run.id, "datasets/lines/1")
    files.put(f"{files.run_folder(run.id)}note.txt", run.id.encode())
    return run.id


def rows(house: Wiring) -> dict[str, int]:
    """How many rows of tracking there are, tables without rows left out."""
    names = [name for name in all_metadata().tables if getattr(tables, name, None) is not None]
    with tables_of(house).read() as conn:
        counts = {
            name: conn.execute(sa.select(sa.func.count()).select_from(all_metadata().tables[name])).scalar_one()
            for name in names
        }
    return {name: count for name, count in counts.items() if count}


def age(house: Wiring, table: sa.Table, micros: int = LONG_AGO) -> None:
    with tables_of(house).write() as conn:
        conn.execute(table.update().values(deleted_at=table.c.deleted_at - micros))


def kinds(house: Wiring) -> list[tuple[str, str]]:
    events = house.get(Journal).read(limit=1000)  # type: ignore[type-abstract]
    return [(event.kind, event.subject) for event in events if event.kind.endswith("_removed")]


def test_a_deleted_run_comes_back_within_the_grace_and_is_gone_with_everything_after_it(house: Wiring) -> None:
    kept, lost = a_run(house), a_run(house)
    before = rows(house)
    house.get(Runs).delete(lost)
    age(house, tables.run, 29 * DAY_US)
    assert house.get(Upkeep).run().is_idle
    house.get(Runs).restore(lost)
    assert rows(house) == before
    house.get(Runs).delete(lost)
    age(house, tables.run)
    assert house.get(Upkeep).run(dry_run=True).removed["runs"] == 1
    assert rows(house) == before
    assert house.get(Upkeep).run().removed["runs"] == 1
    with pytest.raises(NotFound):
        house.get(Tracking).get(lost)
    after = rows(house)
    assert {name: count for name, count in after.items() if count != before[name]} == {
        name: before[name] // 2 for name in ("run", "metric", "metric_latest", "param", "tag", "artifact", "run_input")
    }
    assert house.get(Tracking).get(kept).params == {"depth": "3"}
    assert house.get(Files).read(f"{house.get(Files).run_folder(kept)}note.txt") == kept.encode()
    assert kinds(house) == [("tracking.run_removed", f"runs/{lost}")]
    assert house.get(Upkeep).run().is_idle


def test_the_files_of_a_removed_run_are_garbage(house: Wiring) -> None:
    lost = a_run(house)
    house.get(Runs).delete(lost)
    age(house, tables.run)
    house.get(Upkeep).run()
    from mainspring.storage.references import references

    assert list(references(tables_of(house), all_metadata())) == []
    assert len(list(house.get(Blobs).digests())) == 1  # type: ignore[type-abstract]


def test_an_experiment_goes_with_its_runs_and_its_name_and_numbers_are_free_or_never_given_again(house: Wiring) -> None:
    a_run(house, "gone")
    a_run(house, "gone")
    stays = a_run(house, "stays")
    experiment = house.get(Experiments).named("gone")
    made = Trace("tr-1", experiment.id, "work", "ok", 1, tags={"a": "b"})
    house.get(Traces).start(made)
    house.get(Traces).add_spans([(made, [Span("a" * 16, 1, "{}")])])
    attached = f"{experiment.id}/traces/tr-1/artifacts/a.txt"
    house.get(Files).put(attached, b"of a trace")
    house.get(Experiments).delete(experiment.id)
    for table in (tables.experiment, tables.run):
        age(house, table)
    removed = house.get(Upkeep).run().removed
    assert (removed["experiments"], removed["runs"]) == (1, 2)
    with pytest.raises(NotFound):
        house.get(Files).find(attached)
    again = a_run(house, "gone", points=3)
    assert house.get(Experiments).named("gone").id != experiment.id
    assert not {"trace", "trace_tag", "span"} & set(rows(house))
    assert [point.value for point in house.get(Tracking).history(again, "m0")] == [0.0]
    assert len(house.get(Tracking).history(stays, "m0")) == 4
    with tables_of(house).read() as conn:
        numbers = list(conn.execute(sa.select(tables.run.c.number).order_by(tables.run.c.number)).scalars())
    assert numbers == [3, 4]


def test_a_turn_that_is_cut_off_anywhere_goes_on_where_it_was(house: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "ROWS", 7)
    stays = a_run(house)
    gone = [a_run(house, points=30) for _ in range(3)]
    for run in gone:
        house.get(Runs).delete(run)
    age(house, tables.run)

    class Cut(Exception):
        pass

    upkeep, turns = house.get(Upkeep), 0
    for most in range(1, 200):
        turns += 1
        left = iter(range(most % 13 + 1))

        def pause(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Cut

        monkeypatch.setattr(upkeep, "_pause", pause)
        try:
            upkeep.run()
            break
        except Cut:
            continue
    assert turns > 5
    found = rows(house)
    assert found["run"] == 1
    assert found["metric"] == 10
    assert house.get(Tracking).get(stays).params == {"depth": "3"}
    assert sorted(kinds(house)) == sorted(("tracking.run_removed", f"runs/{run}") for run in gone)


def test_every_table_that_holds_numbers_of_runs_experiments_or_models_is_emptied() -> None:
    hanging = {
        (table.name, column.name)
        for owner in (tables.run, tables.logged_model, tables.experiment)
        for table, column in removal.hanging(owner)
    }
    owners = {"run": tables.run, "experiment": tables.experiment, "model": tables.logged_model, "trace": tables.trace}
    wanted = {
        (table.name, column.name)
        for name, table in all_metadata().tables.items()
        if getattr(tables, name, None) is not None and table not in (tables.run, tables.experiment, tables.logged_model)
        for column in table.columns
        if column.name in owners and isinstance(column.type, type(tables.run.c.number.type))
    }
    assert wanted - hanging == {("metric_column_late", "run")}  # removed runs stay noted until blocks are built again
    assert hanging <= wanted


def test_a_deleted_version_loses_its_package_and_keeps_its_number(house: Wiring) -> None:
    model = LinearRegression().fit(np.arange(6.0).reshape(-1, 1), np.arange(6.0))
    registry = house.get(Registry)
    for _ in range(2):
        registry.register("line", model, example=pl.DataFrame({"x": [1.0, 2.0]}))
    registry.delete_version("line", 1)
    from mainspring.registry.records.tables import model_version

    with tables_of(house).write() as conn:
        conn.execute(model_version.update().values(deleted_at=model_version.c.deleted_at - LONG_AGO))
    assert house.get(Upkeep).run().removed["versions"] == 1
    assert registry.verify("line", 2)
    assert kinds(house) == [("registry.version_removed", "models/line/1")]
    assert registry.register("line", model, example=pl.DataFrame({"x": [1.0, 2.0]})).number == 3
    assert house.get(Upkeep).run().is_idle


def test_jobs_that_were_over_long_ago_are_forgotten_and_others_stay(tables: Tables) -> None:
    queue = SqlQueue(tables)
    with tables.write() as conn:
        ids = [queue.put(conn, NewJob(queue="q", kind="k")) for _ in range(4)]
        now = tables.now(conn)
    for name in ids[:2]:
        with tables.write() as conn:
            queue.cancel(conn, name)
    assert queue.prune(now) == 0
    assert queue.prune(now + DAY_US, dry_run=True) == 2
    assert queue.prune(now + DAY_US) == 2
    assert sorted(job.id for job in queue.find()) == sorted(ids[2:])
    assert isinstance(queue, Queue)
