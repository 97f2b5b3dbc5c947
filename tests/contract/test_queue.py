"""The queue on both SQL backends passes the contract of its port."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainspring.core.clock import SECOND_US, ManualClock
from mainspring.storage.ports import Queue, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.testing import QueueContract


class TestQueue(QueueContract):
    """On SQLite and Postgres in turn: see the fixtures of conftest."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(1000 * SECOND_US)

    @pytest.fixture
    def queue(self, tables: Tables, clock: ManualClock) -> SqlQueue:
        return SqlQueue(tables, lambda conn: clock.now())

    @pytest.fixture
    def make_queue(self) -> Callable[[Tables], Queue]:
        return SqlQueue
