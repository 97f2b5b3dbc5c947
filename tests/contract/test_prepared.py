"""Statements that were compiled before the release, and the connection that needs SQLAlchemy only for others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from mainspring.storage import open_tables
from mainspring.storage.bare import rows, run
from mainspring.storage.light import light_of, whole
from mainspring.storage.ports import Tables
from mainspring.storage.prepared import Prepared, before_release

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare.py"
PROGRAM = """
import mainspring as ms
from mainspring.pipelines import flow

@ms.step
def first(number: int) -> int:
    return number + 1

@ms.step(retries=1, retry_in_s=0.0)
def broken(number: int) -> int:
    raise ValueError("it is broken")

@ms.step
def numbers(count: int) -> list[int]:
    return list(range(count))

@ms.pipeline
def chain(number: int = 0) -> int:
    return first(first(number))

@ms.pipeline
def fails(number: int = 0) -> int:
    return broken(first(number))

@ms.pipeline
def wide(count: int = 30) -> list[int]:
    return first.map(numbers(count))
"""
MAIN = """
import sys
from mainspring.cli import main
try:
    main()
finally:
    print([name for name in sys.modules if name == "sqlalchemy"])
"""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    opened = open_tables("", tmp_path)
    with opened.write() as conn:
        run(conn, "CREATE TABLE word (text TEXT) STRICT", ())
    return opened


def words(tables: Tables) -> list[str]:
    with tables.read() as conn:
        return [text for (text,) in rows(conn, "SELECT text FROM word ORDER BY text", ())]


def test_what_was_compiled_is_what_the_statements_say_now() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, check=False)
    assert done.returncode == 0, "run: python scripts/prepare.py"


@pytest.mark.parametrize("name", ["chain", "fails", "wide"])
def test_a_run_in_a_folder_needs_no_sqlalchemy(tmp_path: Path, name: str) -> None:
    (tmp_path / "all.py").write_text(PROGRAM)
    for _ in range(2):  # in an empty folder, and with what is there then
        given = [sys.executable, "-c", MAIN, "pipeline", "run", f"all.py:{name}"]
        done = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (name == "fails"), done.stderr
        assert done.stdout.endswith("[]\n")


def test_a_statement_that_nobody_knew_is_compiled(tables: Tables) -> None:
    statement = Prepared(lambda _: sa.select(sa.literal_column("text")).select_from(sa.text("word")))
    assert before_release()
    with tables.write() as conn:
        run(conn, "INSERT INTO word VALUES ('spring')", ())
        assert statement.rows(conn, {}) == [("spring",)]


def test_sqlalchemy_goes_on_in_the_transaction_that_the_driver_began(tables: Tables) -> None:
    with tables.write() as conn:
        run(conn, "INSERT INTO word VALUES ('driver')", ())
        conn.execute(sa.text("INSERT INTO word VALUES ('whole')"))
        run(conn, "INSERT INTO word VALUES ('after')", ())
        assert conn.execute(sa.text("SELECT count(*) FROM word")).scalar_one() == 3
        assert words(tables) == []  # nothing is committed on the way
    assert words(tables) == ["after", "driver", "whole"]


def test_a_rollback_takes_back_what_either_did(tables: Tables) -> None:
    def undone() -> None:
        with tables.write() as conn:
            run(conn, "INSERT INTO word VALUES ('driver')", ())
            conn.execute(sa.text("INSERT INTO word VALUES ('whole')"))
            raise KeyError

    for _ in range(2):  # before SQLAlchemy is there, and after
        with pytest.raises(KeyError):
            undone()
        assert words(tables) == []
    with tables.write() as conn:
        conn.execute(sa.text("INSERT INTO word VALUES ('kept')"))
    assert words(tables) == ["kept"]


def test_a_savepoint_of_sqlalchemy_ends_alone(tables: Tables) -> None:
    with tables.write() as conn:
        run(conn, "INSERT INTO word VALUES ('before')", ())
        with pytest.raises(KeyError), conn.begin_nested():
            run(conn, "INSERT INTO word VALUES ('inside')", ())
            raise KeyError
    assert words(tables) == ["before"]


def test_functions_of_the_connection_stay_ours(tables: Tables) -> None:
    with tables.read() as conn:
        asked = "SELECT NULL REGEXP 'a'"  # null in SQLAlchemy's
        before = rows(conn, asked, ())
        assert light_of(conn) is not None
        assert whole(conn).execute(sa.text(asked)).scalar_one() == 0
        assert rows(conn, asked, ()) == before == [(0,)]


def test_readers_cannot_write_and_are_used_again(tables: Tables) -> None:
    seen = set()
    for _ in range(3):
        with tables.read() as conn:
            seen.add(id(conn))
            with pytest.raises(Exception, match="readonly"):
                run(conn, "INSERT INTO word VALUES ('no')", ())
    assert len(seen) == 1
