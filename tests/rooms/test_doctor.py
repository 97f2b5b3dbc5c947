"""Doctor looks and changes nothing; what is wrong in a command or in the settings is said in three lines."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainspring.cli import main
from mainspring.cli.root import root
from mainspring.core.errors import Invalid
from mainspring.core.settings import Settings
from mainspring.server.house import check_rooms
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[gate.good]\nchecks = [{metrc = "roc_auc"}]\n',
            "no kind of check has 'metrc', at mainspring.toml, line 1 (gate.good.checks[0])",
        ),
        ("[gate.good]\nalpha = 2\n", "alpha is 2.0, at mainspring.toml, line 1 (gate.good.alpha)"),
        ('[policy.keep]\ndeploymnt = "d"\n', 'try: did you mean "deployment"?'),
        ("[monitor]\nchek_every = 3\n", "unknown setting 'chek_every', at mainspring.toml, line 1 (monitor)"),
    ],
)
def test_what_is_wrong_in_the_sections_of_rooms_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    (tmp_path / "mainspring.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    code, found = doctor(tmp_path / "data")
    assert code == 1
    assert "WRONG  settings" in found
    assert says in found


def test_a_policy_names_a_gate_that_there_is() -> None:
    policy = {"deployment": "d", "model": "m", "pipeline": "p.py:f", "gate": "promot"}
    gate = {"promote": {"checks": [{"metric": "roc_auc", "floor": 0.5}]}}
    with pytest.raises(
        Invalid, match=r"there is no gate 'promot'\nwhere: policy.keep.gate\ntry: did you mean .promote."
    ):
        check_rooms(Settings(tables={"gate": gate, "policy": {"keep": policy}}))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["dctor"], "No such command 'dctor': did you mean \"doctor\"?\nwhere: mainspring\ntry: mainspring --help\n"),
        (["gate", "shw"], "where: mainspring gate\ntry: mainspring gate --help\n"),
        (["up", "--port", "x"], "where: mainspring up\ntry: mainspring up --help\n"),
    ],
)
def test_a_command_that_is_wrong_gets_three_lines_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["mainspring", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(says)
    assert len(said.splitlines()) == 3
