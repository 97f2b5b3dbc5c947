"""Another tool's database is read and never written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.core.errors import NotFound, Unavailable
from mainspring.storage.foreign import ForeignDatabase


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "their own #1.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute('create table lamp (id text, "order" integer, colour text)')
        conn.executemany(
            "insert into lamp values (?, ?, ?)", [(f"l{i}", i, "red" if i % 2 else None) for i in range(9)]
        )
        conn.commit()
    return path


def test_rows_are_found_by_value_by_list_and_after_a_key(file: Path) -> None:
    database = ForeignDatabase(str(file))
    assert database.tables == {"lamp"}
    assert [row["id"] for row in database.rows("lamp", {"colour": "red"}, order=("id",), limit=2)] == ["l1", "l3"]
    assert [row["order"] for row in database.rows("lamp", {"id": ["l8", "l2"]}, order=("order",))] == [2, 8]
    assert [row["id"] for row in database.rows("lamp", order=("id",), after="l6")] == ["l7", "l8"]
    assert list(database.rows("lamp", {"id": []})) == []
    assert list(database.rows("a table of a later release")) == []
    database.close()


def test_reading_leaves_the_file_as_it_is(file: Path) -> None:
    before = file.read_bytes()
    file.chmod(0o444)
    database = ForeignDatabase(f"sqlite:///{file}")
    assert len(list(database.rows("lamp"))) == 9
    database.close()
    assert (file.read_bytes(), sorted(file.parent.iterdir())) == (before, [file])


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        ForeignDatabase(str(tmp_path / "nothing.db"))
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(Unavailable, match="does not answer"):
        ForeignDatabase(str(text))
    with pytest.raises(Unavailable) as raised:
        ForeignDatabase("postgresql://somebody:secret@127.0.0.1:1/nothing")
    assert "secret" not in f"{raised.value} {raised.value.where}"
