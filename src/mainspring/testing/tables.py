"""What every backend of the tables port must do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection as Pipe

import pytest
import sqlalchemy as sa

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Failed, Invalid
from mainspring.storage.commits import after_commit
from mainspring.storage.ports import Tables
from mainspring.storage.schema import Flag, Id, Json, Micros, Real
from mainspring.testing.processes import apart

Database = Callable[[], Tables]
metadata = sa.MetaData()
probe = sa.Table(
    "contract_probe",
    metadata,
    sa.Column("name", Id, primary_key=True),
    sa.Column("number", Micros),
    sa.Column("real", Real),
    sa.Column("flag", Flag),
    sa.Column("json", Json),
    sqlite_strict=True,
)
part = sa.Table("contract_part", metadata, sa.Column("probe", Id, sa.ForeignKey(probe.c.name), nullable=False))
PATIENCE_S = 60.0


def add(conn: sa.Connection, name: str, number: int = 0) -> None:
    conn.execute(probe.insert().values(name=name, number=number))


def names(tables: Tables) -> list[str]:
    with tables.read() as conn:
        return list(conn.execute(sa.select(probe.c.name).order_by(probe.c.name)).scalars())


def count_up(database: Database, times: int) -> None:
    """Add one to the same number `times` times, each in a transaction that reads first."""
    tables = database()
    for _ in range(times):
        with tables.write() as conn:
            conn.execute(sa.select(sa.func.count()).select_from(part)).scalar_one()
            conn.execute(probe.update().values(number=probe.c.number + 1))
    tables.close()


def hold_a_write(database: Database, pipe: Pipe) -> None:
    """Write a row, say so, and never commit."""
    with database().write() as conn:
        add(conn, "half done")
        pipe.send("written")
        pipe.recv()


class TablesContract:
    """Needs the fixtures `tables`, and `database`: opens the same tables again, also in another process."""

    @pytest.fixture(autouse=True)
    def probes(self, tables: Tables) -> Iterator[None]:
        with tables.write() as conn:
            metadata.create_all(conn)
        yield

    def test_a_name_with_a_zero_byte_is_refused(self, tables: Tables) -> None:
        with pytest.raises(Invalid, match="NUL"), tables.write() as conn:
            add(conn, "a\x00")
        with pytest.raises(Invalid, match="NUL"):
            tables.submit(lambda conn: add(conn, "a\x00")).result(PATIENCE_S)
        with pytest.raises(Invalid, match="NUL"), tables.read() as conn:
            conn.execute(sa.select(probe).where(probe.c.name == "a\x00"))

    def test_what_was_written_is_read(self, tables: Tables) -> None:
        with tables.write() as conn:
            add(conn, "a")
        assert names(tables) == ["a"]

    def test_a_block_that_raises_leaves_nothing(self, tables: Tables) -> None:
        with pytest.raises(ZeroDivisionError), tables.write() as conn:
            add(conn, "a")
            raise ZeroDivisionError
        assert names(tables) == []

    def test_after_a_refused_statement_the_next_write_works(self, tables: Tables) -> None:
        with tables.write() as conn:
            add(conn, "a")
        with pytest.raises(sa.exc.IntegrityError), tables.write() as conn:
            add(conn, "a")
        with tables.write() as conn:
            add(conn, "b")
        assert names(tables) == ["a", "b"]

    def test_a_write_inside_a_write_is_refused(self, tables: Tables) -> None:
        with tables.write(), pytest.raises(Failed, match="pass the connection"), tables.write():
            pass

    def test_submitting_inside_a_write_is_refused(self, tables: Tables) -> None:
        with tables.write(), pytest.raises(Failed, match="pass the connection"):
            tables.submit(lambda conn: None)

    def test_writing_inside_a_submitted_work_is_refused(self, tables: Tables) -> None:
        def work(_: sa.Connection) -> None:
            with tables.write():
                pass

        with pytest.raises(Failed, match="pass the connection"):
            tables.submit(work).result(PATIENCE_S)

    def test_readers_cannot_write(self, tables: Tables) -> None:
        with tables.read() as conn, pytest.raises(sa.exc.DBAPIError):
            add(conn, "a")
        assert names(tables) == []

    def test_readers_do_not_wait_for_a_writer_and_see_only_what_is_committed(self, tables: Tables) -> None:
        with tables.read() as reader, tables.write() as writer:
            add(writer, "a")
            assert reader.execute(sa.select(sa.func.count()).select_from(probe)).scalar_one() == 0
        assert names(tables) == ["a"]

    def test_references_to_nothing_are_refused(self, tables: Tables) -> None:
        with pytest.raises(sa.exc.IntegrityError), tables.write() as conn:
            conn.execute(part.insert().values(probe="nobody"))

    def test_values_come_back_as_they_were(self, tables: Tables) -> None:
        deep = {"a": [1, 2.5, None, True, "ü\u2028\\u0000"], "b": {"c": {}}}
        row = {"name": "ünï/1", "number": -(2**63), "real": 0.1, "flag": True, "json": deep}
        with tables.write() as conn:
            conn.execute(probe.insert().values(row))
        with tables.read() as conn:
            back = dict(conn.execute(probe.select()).mappings().one())
        assert back == row
        assert [type(value) for value in back.values()] == [str, int, float, bool, dict]

    def test_missing_values_stay_missing(self, tables: Tables) -> None:
        with tables.write() as conn:
            conn.execute(probe.insert().values(name="a", json=None, flag=None))
        with tables.read() as conn:
            assert conn.execute(probe.select().where(probe.c.json.is_(None))).one()[1:] == (None, None, None, None)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, {"a": "\x00"}])
    def test_what_is_not_plain_json_is_refused(self, tables: Tables, value: object) -> None:
        with pytest.raises((Invalid, sa.exc.StatementError), match="JSON"), tables.write() as conn:
            conn.execute(probe.insert().values(name="a", json=value))

    def test_ids_sort_by_their_bytes(self, tables: Tables) -> None:
        mixed = ["a", "B", "a/1", "a-1", "a0", "A", "ä", "_", "10", "9"]
        with tables.write() as conn:
            for name in mixed:
                add(conn, name)
        assert names(tables) == sorted(mixed, key=str.encode)

    def test_time_goes_on_inside_a_transaction(self, tables: Tables) -> None:
        with tables.write() as conn:
            first = tables.now(conn)
            while (later := tables.now(conn)) == first:
                pass
        assert later > first > 1_700_000_000_000_000

    def test_migrating_again_changes_nothing(self, tables: Tables) -> None:
        with tables.write() as conn:
            add(conn, "a")
        tables.migrate()
        assert names(tables) == ["a"]

    def test_a_submitted_work_is_committed_when_its_future_resolves(self, tables: Tables, database: Database) -> None:
        def work(conn: sa.Connection) -> str:
            add(conn, "a")
            return "done"

        assert tables.submit(work).result(PATIENCE_S) == "done"
        other = database()
        assert names(other) == ["a"]
        other.close()

    def test_a_failing_work_does_not_hurt_those_that_share_its_commit(self, tables: Tables) -> None:
        def bad(conn: sa.Connection) -> None:
            add(conn, "bad")
            add(conn, "bad")

        futures = self._share_one_commit(tables, [lambda c: add(c, "a"), bad, lambda c: add(c, "b")])
        assert [type(future.exception(PATIENCE_S)) for future in futures] == [
            type(None),
            sa.exc.IntegrityError,
            type(None),
        ]
        assert names(tables) == ["a", "b"]

    def test_works_that_wait_together_share_one_commit(self, tables: Tables) -> None:
        commits: list[int] = []
        seen: set[int] = set()

        def work(conn: sa.Connection) -> None:
            transaction = id(conn.get_transaction())
            if transaction not in seen:
                seen.add(transaction)
                after_commit(conn, lambda: commits.append(1))

        for future in self._share_one_commit(tables, [work] * 50):
            future.result(PATIENCE_S)
        assert len(commits) == 1

    def test_a_work_runs_on_behalf_of_whoever_submitted_it(self, tables: Tables) -> None:
        with calling(Caller(actor="ada", project="p1")):
            future = tables.submit(lambda conn: caller())
        assert future.result(PATIENCE_S) == Caller(actor="ada", project="p1")

    def test_a_cancelled_work_does_not_run(self, tables: Tables) -> None:
        started, go = threading.Event(), threading.Event()

        def hold(_: sa.Connection) -> None:
            started.set()
            go.wait(PATIENCE_S)

        first = tables.submit(hold)
        assert started.wait(PATIENCE_S)
        second = tables.submit(lambda conn: add(conn, "a"))
        assert second.cancel()
        go.set()
        first.result(PATIENCE_S)
        tables.submit(lambda conn: None).result(PATIENCE_S)
        assert names(tables) == []

    def test_closing_commits_what_was_submitted(self, database: Database, tables: Tables) -> None:
        other = database()
        futures = [other.submit(partial(add, name=f"{n:02}")) for n in range(20)]
        other.close()
        other.close()
        assert all(future.done() for future in futures)
        assert len(names(tables)) == 20
        with pytest.raises(Failed, match="closed"):
            other.submit(lambda conn: None)

    def test_hooks_run_after_the_commit_and_not_after_a_rollback(self, tables: Tables) -> None:
        seen: list[list[str]] = []
        with suppress(ZeroDivisionError), tables.write() as conn:
            after_commit(conn, lambda: seen.append(["never"]))
            raise ZeroDivisionError
        with tables.write() as conn:
            add(conn, "a")
            after_commit(conn, lambda: seen.append(names(tables)))
        assert seen == [["a"]]

    def test_many_threads_write_at_once(self, tables: Tables) -> None:
        def work(n: int) -> None:
            if n % 2:
                with tables.write() as conn:
                    add(conn, str(n))
            else:
                tables.submit(lambda conn: add(conn, str(n))).result(PATIENCE_S)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(120)))
        assert len(names(tables)) == 120

    @pytest.mark.slow
    def test_four_processes_write_at_once_and_none_is_refused(self, tables: Tables, database: Database) -> None:
        with tables.write() as conn:
            add(conn, "total")
        processes = [apart.Process(target=count_up, args=(database, 100)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE_S)
        assert [process.exitcode for process in processes] == [0, 0, 0, 0]
        with tables.read() as conn:
            assert conn.execute(sa.select(probe.c.number)).scalar_one() == 400

    def test_a_writer_killed_half_way_leaves_nothing_and_holds_nothing(
        self, tables: Tables, database: Database
    ) -> None:
        here, there = apart.Pipe()
        process = apart.Process(target=hold_a_write, args=(database, there))
        process.start()
        assert here.poll(PATIENCE_S)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(PATIENCE_S)
        with tables.write() as conn:
            add(conn, "after")
        assert names(tables) == ["after"]

    def _share_one_commit(self, tables: Tables, works: list[Callable[[sa.Connection], None]]) -> list[Future[None]]:
        """Submit works while an earlier one holds the writer, so that they wait together."""
        started, go = threading.Event(), threading.Event()

        def hold(_: sa.Connection) -> None:
            started.set()
            go.wait(PATIENCE_S)

        first = tables.submit(hold)
        assert started.wait(PATIENCE_S)
        futures = [tables.submit(work) for work in works]
        go.set()
        first.result(PATIENCE_S)
        return futures
