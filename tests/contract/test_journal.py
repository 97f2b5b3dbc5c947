"""The journal on both SQL backends passes the contract of its port."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainspring.core.clock import ManualClock
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables
from mainspring.testing import JournalContract


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
