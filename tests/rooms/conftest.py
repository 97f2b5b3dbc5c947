"""Houses that begin with their tables: the steps that make them are proven in `tests/contract`, not here each time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.storage.sqlite import SqliteTables


@pytest.fixture(scope="module", autouse=True)
def _new_databases_are_migrated(sqlite_template: Path) -> Iterator[None]:
    """A SQLite file that is opened first begins as a copy of a migrated one."""
    opened = SqliteTables.__init__

    def begin(self: SqliteTables, path: Path) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sqlite_template, path)
        opened(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteTables, "__init__", begin)
        yield


@pytest.fixture(scope="module", autouse=True)
def _programs_begin_warm(warm_programs: None) -> None:
    """All that a room's tests start."""
