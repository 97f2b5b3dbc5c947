"""Doctor looks and changes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainspring.cli.root import root
from mainspring.storage import FILE, migrations, open_tables


def doctor(folder: Path, *flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(root, ["--data", str(folder), *flags, "doctor"])
    return done.exit_code, done.output


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, text = doctor(tmp_path / "data")
    assert code == 0, text
    assert f"{FILE} (new)" in text
    assert not (tmp_path / "data").exists()


def test_an_empty_database_is_not_migrated(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / FILE).close()
    code, text = doctor(tmp_path)
    assert code == 0, text
    assert f"(schema none yet; the next start brings it to {migrations.HEAD})" in text
    with sqlite3.connect(tmp_path / FILE) as conn:
        assert conn.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    conn.close()


def test_a_database_of_an_older_step_stays_there(tmp_path: Path) -> None:
    tables = open_tables("", tmp_path)
    tables.migrate()
    with tables.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    tables.close()
    before = hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
    code, text = doctor(tmp_path)
    assert code == 0, text
    assert f"(schema 0000; the next start brings it to {migrations.HEAD})" in text
    assert hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest() == before


def test_a_database_of_a_newer_release_is_wrong(tmp_path: Path) -> None:
    tables = open_tables("", tmp_path)
    tables.migrate()
    with tables.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    tables.close()
    code, text = doctor(tmp_path)
    assert code == 1
    assert "WRONG  database" in text
    assert "try: install the release that wrote it" in text


@pytest.mark.parametrize("address", ["postgresql://nobody:secret@127.0.0.1:1/none"])
def test_a_database_that_does_not_answer_is_wrong_and_its_password_is_not_shown(tmp_path: Path, address: str) -> None:
    code, text = doctor(tmp_path, "--db", address)
    assert code == 1
    assert "does not answer" in text
    assert "secret" not in text
