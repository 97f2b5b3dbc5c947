"""What only Postgres has: transactions that wait for each other's rows, deadlocks, and what it does not keep."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mainspring.core.errors import Invalid, Overloaded, TooLarge
from mainspring.storage.ports import Tables

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
