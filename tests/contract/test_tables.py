"""Both SQL backends pass the contract of the tables port."""

from __future__ import annotations

from mainspring.testing import TablesContract


class TestTables(TablesContract):
    """On SQLite and Postgres in turn: see the fixtures of conftest."""
