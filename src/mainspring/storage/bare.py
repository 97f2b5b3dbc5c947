"""Statements handed to the driver as they are: for the few that run hundreds of times a second, where what SQLAlchemy
does around a statement costs more than the statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

BINARY = "mainspring_binary"
"""The option of a statement whose rows Postgres is to give in binary."""


def run(conn: Connection, statement: str, values: Sequence[object]) -> None:
    """Run a statement that gives no rows.

    Args:
        conn: The connection.
        statement: With `?` for each value.
        values: They.
    """
    driver = sqlite_driver(conn)
    if driver is None:
        conn.exec_driver_sql(statement.replace("?", "%s"), tuple(values))
    else:
        driver.execute(statement, values)


def run_all(conn: Connection, statement: str, values: Sequence[Sequence[object]]) -> None:
    """Run a statement that gives no rows once for each row of values; without any it is not run."""
    driver = sqlite_driver(conn)
    if values and driver is None:
        conn.exec_driver_sql(statement.replace("?", "%s"), [tuple(row) for row in values])
    elif values and driver is not None:
        driver.executemany(statement, values)


def rows(conn: Connection, statement: str, values: Sequence[object]) -> list[Any]:
    """All rows of a statement, which has `?` for each value."""
    driver = sqlite_driver(conn)
    if driver is None:
        return list(conn.exec_driver_sql(statement.replace("?", "%s"), tuple(values)).all())
    return driver.execute(statement, values).fetchall()


def binary_rows(conn: Connection, statement: str, values: Sequence[object]) -> Iterator[Any]:
    """As `rows`, one by one and for columns of many bytes: Postgres gives them as they are, not spelled out in hex."""
    driver = sqlite_driver(conn)
    if driver is not None:
        return iter(driver.execute(statement, values))
    asked = conn.exec_driver_sql(statement.replace("?", "%s"), tuple(values), execution_options={BINARY: True})
    return iter(asked.all())


def sqlite_driver(conn: Connection) -> sqlite3.Connection | None:
    """The driver's own connection to SQLite. Postgres keeps SQLAlchemy's, whose errors are looked at for contention."""
    driver = conn.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None
