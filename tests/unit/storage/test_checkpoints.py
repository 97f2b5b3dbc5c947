"""The write-ahead log is brought to the database beside the writer, and does not grow meanwhile."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.storage.checkpoints import Checkpointer

PAGES = 40
ROWS = 50
TEXT = "x" * 400


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "d.sqlite", isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=NORMAL")
        conn.execute("PRAGMA wal_autocheckpoint=0")  # nobody else brings anything
        conn.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
        yield conn


def write(conn: sqlite3.Connection, checkpointer: Checkpointer) -> None:
    conn.execute("BEGIN IMMEDIATE")
    conn.executemany("INSERT INTO note(text) VALUES (?)", [(TEXT,)] * ROWS)
    conn.execute("COMMIT")
    checkpointer.look(conn)


def sizes(folder: Path) -> tuple[int, int]:
    """Pages in the database and in its log."""
    return (folder / "d.sqlite").stat().st_size // 4096, (folder / "d.sqlite-wal").stat().st_size // 4096


def write_until(conn: sqlite3.Connection, checkpointer: Checkpointer, folder: Path, pages: int) -> int:
    """Write until the database has that many pages; the rows that were written."""
    rows, deadline = 0, time.monotonic() + 60
    while sizes(folder)[0] < pages:
        write(conn, checkpointer)
        rows += ROWS
        assert time.monotonic() < deadline, f"database and log have {sizes(folder)} pages"
    return rows


def test_a_log_under_a_writer_that_never_pauses_stays_short(tmp_path: Path, writer: sqlite3.Connection) -> None:
    checkpointer = Checkpointer(tmp_path / "d.sqlite", PAGES)
    rows, longest = write_until(writer, checkpointer, tmp_path, 100 * PAGES), sizes(tmp_path)[1]
    rows += write_until(writer, checkpointer, tmp_path, 300 * PAGES + longest)
    checkpointer.close()
    assert sizes(tmp_path)[1] < 200 * PAGES + longest  # it was begun anew in between, however slow the thread was
    assert writer.execute("SELECT count(*), sum(length(text)) FROM note").fetchone() == (rows, rows * len(TEXT))


def test_a_reader_in_the_way_is_waited_for_by_nobody(tmp_path: Path, writer: sqlite3.Connection) -> None:
    checkpointer = Checkpointer(tmp_path / "d.sqlite", PAGES)
    with closing(sqlite3.connect(tmp_path / "d.sqlite", isolation_level=None)) as reader:
        write(writer, checkpointer)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM note").fetchone() == (ROWS,)
        for _ in range(100):
            write(writer, checkpointer)
        assert reader.execute("SELECT count(*) FROM note").fetchone() == (ROWS,)
        assert sizes(tmp_path)[1] > 10 * PAGES  # what the reader must not see stays in the log
        reader.execute("COMMIT")
    rows = write_until(writer, checkpointer, tmp_path, 100 * PAGES)
    checkpointer.close()
    assert writer.execute("SELECT count(*) FROM note").fetchone() == (101 * ROWS + rows,)


def test_nothing_is_started_for_few_rows(tmp_path: Path, writer: sqlite3.Connection) -> None:
    before = threading.active_count()
    checkpointer = Checkpointer(tmp_path / "d.sqlite", 100 * ROWS)
    write(writer, checkpointer)
    assert threading.active_count() == before
    checkpointer.close()
