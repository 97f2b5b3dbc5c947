"""A connection to SQLite that is SQLAlchemy's only where somebody asks for what the driver cannot do.

Most of what a small run of a pipeline does to its tables is statements that are known beforehand (`prepared`, `bare`):
they need the driver and nothing else. SQLAlchemy, which takes half as long to load as such a run does, is laid over the
same connection once a statement has to be put together.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class Sqlite:
    """What is asked of a dialect without SQLAlchemy."""

    name = "sqlite"


class LightConnection:
    """Stands for a connection of SQLAlchemy to SQLite; it begins and ends no transactions by itself.

    Args:
        driver: The connection of the driver, without an isolation level: it begins nothing by itself either.
        teach: Gives the driver its functions. SQLAlchemy puts its own in their place, so they are given again then.
    """

    dialect = Sqlite()

    def __init__(self, driver: sqlite3.Connection, teach: Callable[[sqlite3.Connection], None]) -> None:
        self.driver = driver
        self.info: dict[Any, Any] = {}
        self._teach = teach
        self._whole: Connection | None = None
        teach(driver)

    def whole(self) -> Connection:
        """The connection of SQLAlchemy over the same one of the driver, in the transaction that is under way."""
        if self._whole is None:
            self._whole = _connected(self.driver)
            self._teach(self.driver)
        return self._whole

    def close(self) -> None:
        """Let the connection go."""
        if self._whole is not None:
            self._whole.close()
        self.driver.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole(), name)


def _connected(driver: sqlite3.Connection) -> Connection:
    engine, hand, taking = _engine()
    with taking:
        hand.append(driver)
        return engine.connect()


@cache
def _engine() -> tuple[Engine, list[sqlite3.Connection], threading.Lock]:
    """An engine that connects to what was put into the list.

    The first connection is to a database in memory: what SQLAlchemy finds out by it ends with a rollback, which must
    not be of a transaction that is under way.
    """
    import sqlalchemy as sa

    hand = [sqlite3.connect(":memory:")]
    engine = sa.create_engine("sqlite://", creator=hand.pop, poolclass=sa.pool.NullPool)
    engine.connect().close()
    return engine, hand, threading.Lock()


def light_of(conn: object) -> LightConnection | None:
    """The connection itself where it is a light one: for the types of callers it is one of SQLAlchemy."""
    return conn if isinstance(conn, LightConnection) else None


def whole(conn: Connection) -> Connection:
    """The connection of SQLAlchemy itself, for what looks at its kind."""
    light = light_of(conn)
    return conn if light is None else light.whole()
