"""A long queue costs a worker no more than a short one: the next job comes from an index, without sorting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import pytest
import sqlalchemy as sa

from mainspring.storage.ports import Tables
from mainspring.storage.queue import SqlQueue
from mainspring.storage.schema import job

JOBS = 100_000
SHORT = 100


def fill(tables: Tables, count: int, *, queue: str = "q") -> None:
    """Jobs of three priorities; every second one is due, the others in a year. The database makes them itself."""
    later = time.time_ns() // 1000 + 365 * 86_400_000_000
    first = sa.select(sa.literal(0).label("n")).cte("numbered", recursive=True)
    numbered = first.union_all(sa.select(first.c.n + 1).where(first.c.n < count - 1))
    n = numbered.c.n
    columns: dict[str, sa.ColumnElement[Any]] = {column.name: sa.literal("") for column in job.c}
    columns |= {
        "id": sa.literal(f"{queue}-") + sa.func.substr(sa.cast(100_000_000 + n, sa.Text), 2),
        "payload": sa.literal({}, job.c.payload.type),
        "result": sa.null(),
        "state": sa.literal("queued"),
        "attempt": sa.literal(0),
        "max_attempts": sa.literal(1000),
        "finished_at": sa.literal(0),
        "lease_until": sa.literal(0),
        "project": sa.literal("default"),
        "queue": sa.literal(queue),
        "kind": sa.literal("k"),
        "priority": n % 3,
        "run_at": sa.case((n % 2 == 1, sa.literal(later, job.c.run_at.type)), else_=n),
        "created_at": n,
    }
    with tables.write() as conn:
        conn.execute(job.insert().from_select(list(columns), sa.select(*columns.values())))
    if tables.dialect == "postgresql":
        with tables.write() as conn:
            conn.exec_driver_sql("ANALYZE job")


@contextmanager
def watched() -> Iterator[list[tuple[str, object]]]:
    """The statements that are executed in the block, with their parameters."""
    seen: list[tuple[str, object]] = []

    def note(conn: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        seen.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def plans(tables: Tables, statements: list[tuple[str, object]]) -> list[str]:
    explain = "EXPLAIN QUERY PLAN " if tables.dialect == "sqlite" else "EXPLAIN "
    found = []
    with tables.write() as conn:
        for statement, parameters in statements:
            if "FROM job" in statement or "UPDATE job" in statement:
                rows = conn.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
                found.append(statement + "\n  " + "\n  ".join(str(tuple(row)) for row in rows))
    return found


def test_the_next_job_of_a_long_queue_is_found_without_sorting_or_reading_it_all(tables: Tables) -> None:
    fill(tables, 20_000)
    queue = SqlQueue(tables)
    with watched() as statements:
        lease = queue.lease("w", ["q", "other"])
    assert lease is not None
    assert lease.job.id == "q-00000002"  # priority 2, the earliest that is due
    found = plans(tables, statements)
    assert len(found) >= 4
    for plan in found:
        assert "TEMP B-TREE" not in plan or "GROUP BY" in plan, plan  # grouping the few that run is fine
        assert "SCAN job\n" not in plan and not plan.endswith("SCAN job"), plan
        assert "Seq Scan on job" not in plan, plan
        assert "Sort" not in plan or "GROUP BY" in plan, plan


def test_a_queue_with_limits_is_looked_at_with_care_after_one_try(tables: Tables) -> None:
    fill(tables, SHORT)
    queue = SqlQueue(tables)
    queue.set_limits("q", limit=2)
    with watched() as statements:
        assert queue.lease("w", ["q"]) is not None
    tries = [statement for statement, _ in statements if statement.startswith("UPDATE job")]
    assert len(tries) <= 3, tries  # in one statement, which limits forbid; what lapsed is swept; the one that was found


@pytest.mark.slow
def test_a_lease_from_100_000_queued_jobs_costs_about_what_it_costs_from_100(tables: Tables) -> None:
    queue = SqlQueue(tables)
    fill(tables, SHORT, queue="short")
    fill(tables, JOBS, queue="long")

    def seconds(name: str) -> float:
        taken = []
        for _ in range(30):
            started = time.perf_counter()
            lease = queue.lease("w", [name])
            taken.append(time.perf_counter() - started)
            assert lease is not None
            with tables.write() as conn:
                assert queue.cancel(conn, lease.job.id)
        return median(taken)

    short, long = seconds("short"), seconds("long")
    print(f"{tables.dialect}: {short * 1e3:.2f} ms from {SHORT}, {long * 1e3:.2f} ms from {JOBS:,}")
    assert long < 4 * short + 0.002
