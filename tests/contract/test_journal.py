"""The journal on both SQL backends passes the contract of its port."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring.core.clock import ManualClock
from mainspring.storage import journal as module
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables
from mainspring.testing import JournalContract
from mainspring.testing.journal import append


class TestJournal(JournalContract):
    """On SQLite and Postgres in turn: see the fixtures of conftest."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(1000)

    @pytest.fixture
    def journal(self, tables: Tables, clock: ManualClock) -> Journal:
        return SqlJournal(tables, clock)

    @pytest.fixture
    def make_journal(self) -> Callable[[Tables], Journal]:
        return SqlJournal


def test_news_of_the_same_process_is_not_waited_for_by_polling(
    sqlite_tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 60)
    journal = SqlJournal(sqlite_tables)
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        for n in range(20):
            waiting = pool.submit(journal.wait, n, 60)
            assert append(sqlite_tables, journal, "a") == n + 1
            assert waiting.result()
    assert time.monotonic() - started < 30
