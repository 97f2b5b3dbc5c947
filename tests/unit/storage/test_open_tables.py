from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.core.errors import Invalid
from mainspring.storage import open_tables


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://", "nothing"])
def test_other_databases_are_refused_with_what_to_use(url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="use postgresql://"):
        open_tables(url, tmp_path)


def test_without_an_address_the_file_is_in_the_data_folder(tmp_path: Path) -> None:
    tables = open_tables("", tmp_path / "new" / "folder")
    with tables.write():
        pass
    tables.close()
    assert (tmp_path / "new" / "folder" / "mainspring.sqlite").is_file()


def test_a_sqlite_address_names_the_file(tmp_path: Path) -> None:
    tables = open_tables(f"sqlite:///{tmp_path}/other.db", tmp_path / "unused")
    with tables.write():
        pass
    tables.close()
    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_the_ports_load_neither_sql_nor_data_frames() -> None:
    code = (
        "import sys, mainspring.storage.ports, mainspring.storage.jobs;"
        "print(sorted({'sqlalchemy', 'polars', 'numpy', 'alembic', 'psycopg'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
