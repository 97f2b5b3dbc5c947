"""What only SQLite has: the write-ahead log, processes that hold the lock, forks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mainspring.core.errors import Corrupt, Failed, Overloaded
from mainspring.storage import sqlite as backend
from mainspring.storage.sqlite import SqliteTables


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    tables = SqliteTables(tmp_path / "t.sqlite")
    with tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE lamp (id INTEGER PRIMARY KEY)"))
    yield tables
    tables.close()


def test_it_writes_ahead_and_syncs_at_checkpoints(tables: SqliteTables) -> None:
    with tables.write() as conn:
        pragmas = [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        foreign_keys = conn.exec_driver_sql("PRAGMA foreign_keys").scalar()
    assert (pragmas, foreign_keys) == (["wal", 1], 1)


def test_a_lock_that_is_held_too_long_is_overload_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "BUSY_S", 0.05)
    path = tmp_path / "t.sqlite"
    tables = SqliteTables(path)
    with tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE lamp (id INTEGER PRIMARY KEY)"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Overloaded, match="another process"), tables.write():
        pass
    with pytest.raises(Overloaded):
        tables.submit(lambda conn: None).result(30)
    other.execute("ROLLBACK")
    other.close()
    with tables.write() as conn:
        conn.execute(sa.text("INSERT INTO lamp VALUES (1)"))
    tables.close()


@pytest.mark.parametrize("spoilt", [b"no database at all " * 500, b""], ids=["the head", "all but the head"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "t.sqlite"
    tables = SqliteTables(path)
    tables.migrate()
    tables.close()
    path.write_bytes(spoilt or path.read_bytes()[:5000])
    tables = SqliteTables(path)
    with pytest.raises(Corrupt, match="the database is damaged") as caught:
        tables.migrate()
    with pytest.raises(Corrupt), tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE lamp (id INTEGER PRIMARY KEY)"))
    tables.close()
    assert caught.value.where == str(path)
    assert ".recover" in caught.value.hint


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_tables_that_were_opened_before_a_fork_are_refused_in_the_child(tables: SqliteTables) -> None:
    child = os.fork()
    if child == 0:
        try:
            with tables.write():
                os._exit(1)
        except Failed:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_closed_file_needs_nothing_beside_it(tmp_path: Path) -> None:
    tables = SqliteTables(tmp_path / "t.sqlite")
    with tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE lamp (id INTEGER PRIMARY KEY)"))
    tables.close()
    assert [path.name for path in tmp_path.iterdir()] == ["t.sqlite"]
