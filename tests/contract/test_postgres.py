"""What only Postgres has: transactions that wait for each other's rows, deadlocks, and what it does not keep."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mainspring.core.errors import Invalid, Overloaded, TooLarge, Unavailable
from mainspring.storage import bare, migrations
from mainspring.storage.arrays import real, whole
from mainspring.storage.commits import Joint
from mainspring.storage.ports import Tables
from mainspring.storage.prepared import Prepared
from mainspring.storage.together import together
from mainspring.testing.postgres import PostgresServer
from mainspring.tracking.records import points

pytestmark = pytest.mark.postgres
PATIENCE_S = 60.0
SOON = "20ms"


class Crossing:
    """Two transactions that take the rows 1 and 2 in opposite order, so that one of them has to give way."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.has_first, self.has_second, self.have_met = threading.Event(), threading.Event(), threading.Event()
        with tables.write() as conn:
            conn.execute(sa.text("CREATE TABLE lamp (id int PRIMARY KEY, lit int)"))
            conn.execute(sa.text("INSERT INTO lamp VALUES (1, 0), (2, 0)"))

    def forwards(self, conn: sa.Connection, deadlock_timeout: str) -> None:
        self._light(conn, 1, deadlock_timeout)
        self.has_first.set()
        self.has_second.wait(PATIENCE_S)
        self._let_the_other_wait(deadlock_timeout)
        self._light(conn, 2, deadlock_timeout)

    def backwards(self, conn: sa.Connection, deadlock_timeout: str) -> None:
        self._light(conn, 2, deadlock_timeout)
        self.has_second.set()
        self.has_first.wait(PATIENCE_S)
        self._let_the_other_wait(deadlock_timeout)
        self._light(conn, 1, deadlock_timeout)

    def lit(self) -> list[int]:
        with self.tables.read() as conn:
            return list(conn.execute(sa.text("SELECT lit FROM lamp ORDER BY id")).scalars())

    def _let_the_other_wait(self, deadlock_timeout: str) -> None:
        """Whoever is to give way looks for a deadlock once, soon: the other must have come to wait by then."""
        deadline = time.monotonic() + PATIENCE_S
        while deadlock_timeout == SOON and not self.have_met.is_set() and time.monotonic() < deadline:
            with self.tables.read() as conn:
                if conn.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
                    self.have_met.set()  # once: the second try of a work finds nobody
            time.sleep(0.005)

    def _light(self, conn: sa.Connection, lamp: int, deadlock_timeout: str) -> None:
        conn.execute(sa.text(f"SET LOCAL deadlock_timeout = '{deadlock_timeout}'"))
        conn.execute(sa.text("UPDATE lamp SET lit = lit + 1 WHERE id = :id"), {"id": lamp})


def test_a_submitted_work_that_has_to_give_way_is_run_again(postgres_tables: Tables) -> None:
    crossing = Crossing(postgres_tables)

    def write() -> None:
        with postgres_tables.write() as conn:
            crossing.backwards(conn, "60s")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        postgres_tables.submit(lambda conn: crossing.forwards(conn, SOON)).result(PATIENCE_S)
        writing.result(PATIENCE_S)
    assert crossing.lit() == [2, 2]


def test_a_write_that_has_to_give_way_says_to_try_again(postgres_tables: Tables) -> None:
    crossing = Crossing(postgres_tables)

    def write() -> None:
        with postgres_tables.write() as conn:
            crossing.backwards(conn, SOON)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        postgres_tables.submit(lambda conn: crossing.forwards(conn, "60s")).result(PATIENCE_S)
        with pytest.raises(Overloaded, match="waited for each other"):
            writing.result(PATIENCE_S)
    assert crossing.lit() == [1, 1]


def test_what_postgres_can_not_keep_is_the_fault_of_who_sent_it(postgres_tables: Tables) -> None:
    with postgres_tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE wall (name text PRIMARY KEY)"))
    written = sa.text("INSERT INTO wall VALUES (:name)")
    noise = "".join(map(chr, random.Random(1).choices(range(32, 50_000), k=9000)))
    for name, kind in (("a\x00", Invalid), (noise, TooLarge)):
        with pytest.raises(kind), postgres_tables.write() as conn:
            conn.execute(written, {"name": name})
        with pytest.raises(kind):
            postgres_tables.submit(lambda conn, name=name: conn.execute(written, {"name": name})).result(PATIENCE_S)  # type: ignore[misc]


DIE = Prepared(lambda _: sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.fixture
def lamps(postgres_tables: Tables) -> Tables:
    with postgres_tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE lamp (id int PRIMARY KEY, lit int)"))
    return postgres_tables


def lit(tables: Tables) -> list[int]:
    with tables.read() as conn:
        return list(conn.execute(sa.text("SELECT id FROM lamp ORDER BY id")).scalars())


def light(name: int) -> Prepared:
    return Prepared(lambda _: sa.text(f"INSERT INTO lamp VALUES ({name}, 1)"))


def test_statements_that_travel_together_are_stored_in_one_transaction(lamps: Tables) -> None:
    count = Prepared(lambda _: sa.select(sa.func.count()).select_from(sa.table("lamp")))
    with lamps.write() as conn:
        with together(conn):
            light(1).run(conn, {})
            assert count.rows(conn, {}) == [(1,)]
            light(2).run(conn, {})
        assert lit(lamps) == []
        light(3).run(conn, {})
    assert lit(lamps) == [1, 2, 3]


def test_one_of_many_that_fails_takes_the_others_back_and_says_why(lamps: Tables) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="lamp_pkey"), lamps.write() as conn, together(conn):
        for name in (1, 2, 1, 3):
            light(name).run(conn, {})
    with pytest.raises(RuntimeError, match="enough"), lamps.write() as conn, together(conn):
        light(4).run(conn, {})
        raise RuntimeError("enough")
    with lamps.write() as conn, together(conn):
        light(5).run(conn, {})
    assert lit(lamps) == [5]


def test_a_server_that_goes_while_statements_travel_is_away(lamps: Tables) -> None:
    with pytest.raises(Unavailable), lamps.write() as conn, together(conn):
        light(1).run(conn, {})
        DIE.run(conn, {})
        light(2).run(conn, {})
    with lamps.write() as conn, together(conn):
        light(3).run(conn, {})
    assert lit(lamps) == [3]


def test_packed_columns_arrive_as_they_were(postgres_tables: Tables) -> None:
    numbers = [0, 1, -1, 2**63 - 1, -(2**63)]
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, -math.inf]
    statement = "SELECT * FROM unnest(?::bigint[], ?::float8[])"
    with postgres_tables.write() as conn:
        for count in (5, 1, 0):
            rows = list(zip(numbers[:count], values[:count], strict=True))
            found = bare.rows(conn, statement, [whole(numbers[:count]), real(values[:count])])
            assert repr(found) == repr(rows)


def test_a_statement_that_commits_by_itself_is_planned_once(postgres_tables: Tables) -> None:
    found: list[Any] = []

    def at_once(conn: sa.Connection, given: Sequence[int]) -> bool:
        bare.rows(conn, "SELECT ?::int + count(*) FROM unnest(?::bigint[])", [given[0], whole(range(given[0]))])
        plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE ?"
        found.extend(bare.rows(conn, plans, ["%unnest($2::bigint[])%"]))
        return True

    for number in range(20):
        postgres_tables.submit(Joint(lambda *_: None, number, at_once=at_once)).result(30)
    planned_once, planned_anew = found[-1]
    assert (planned_once > 10, planned_anew) == (True, 0)


def test_the_one_plan_for_points_finds_runs_by_their_numbers(postgres_tables: Tables) -> None:
    migrations.migrate(postgres_tables)
    asked = "EXPLAIN (GENERIC_PLAN) " + "".join(
        part if number == 0 else f"${number}{part}" for number, part in enumerate(points.STORED_AT.split("?"))
    )
    found: list[str] = []

    def at_once(conn: sa.Connection, _: Sequence[int]) -> bool:
        found.extend(line for (line,) in bare.rows(conn, asked, []))
        return True

    postgres_tables.submit(Joint(lambda *_: None, 1, at_once=at_once)).result(30)
    place = next(number for number, line in enumerate(found) if "Scan using pk_run on run" in line)
    assert found[place + 1].strip().startswith("Index Cond: (number = ")
    assert not [line for line in found if "Seq Scan" in line and "metric_column_state" not in line]


OPENED_FIRST = """
import sys
from pathlib import Path
from mainspring.storage import bare, open_tables
from mainspring.storage.arrays import whole
tables = open_tables(sys.argv[1], Path(sys.argv[2]))
for open in (tables.write, tables.read):
    with open() as conn:
        print(bare.rows(conn, "SELECT * FROM unnest(?::bigint[])", [whole([7])]))
tables.close()
"""


def test_packed_columns_are_taken_by_the_first_connections_of_a_process(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", OPENED_FIRST, postgres_server.url(), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout.split("\n") == ["[(7,)]", "[(7,)]", ""]


def test_a_statement_that_fails_in_the_driver_is_told_like_any_other(postgres_tables: Tables) -> None:
    with pytest.raises(sa.exc.IntegrityError), postgres_tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE once (n int PRIMARY KEY)"))
        bare.run(conn, "INSERT INTO once VALUES (?), (?)", [1, 1])
    with pytest.raises(Invalid, match="NUL"), postgres_tables.write() as conn:
        bare.rows(conn, "SELECT ?::text", ["\x00"])
    with pytest.raises(Unavailable, match="does not answer"), postgres_tables.write() as conn:
        bare.run(conn, "SELECT pg_terminate_backend(pg_backend_pid())", [])
    with postgres_tables.write() as conn:
        assert bare.rows(conn, "SELECT ?::int", [1]) == [(1,)]
