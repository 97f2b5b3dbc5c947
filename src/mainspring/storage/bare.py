"""Statements handed to the driver as they are: for the few that run hundreds of times a second, where what SQLAlchemy
does around a statement costs more than the statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from mainspring.storage.light import light_of
from mainspring.storage.sql import sa

if TYPE_CHECKING:
    import psycopg
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
        _execute(conn, statement, values)
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
        return _execute(conn, statement, values).fetchall()
    return driver.execute(statement, values).fetchall()


def binary_rows(conn: Connection, statement: str, values: Sequence[object]) -> Iterator[Any]:
    """As `rows`, one by one and for columns of many bytes: Postgres gives them as they are, not spelled out in hex."""
    driver = sqlite_driver(conn)
    if driver is not None:
        return iter(driver.execute(statement, values))
    asked = conn.exec_driver_sql(statement.replace("?", "%s"), tuple(values), execution_options={BINARY: True})
    return iter(asked.all())


def sqlite_driver(conn: Connection) -> sqlite3.Connection | None:
    """The driver's own connection to SQLite."""
    light = light_of(conn)
    if light is not None:
        return light.driver
    driver = conn.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None


def raised(conn: Connection, reason: Exception) -> sa.exc.DBAPIError:
    """What the driver of Postgres raised, as SQLAlchemy would have; a connection that is gone is given up."""
    gone = conn.dialect.is_disconnect(reason, None, None)  # type: ignore[arg-type]  # a class of the driver
    if gone:
        conn.invalidate(reason)
    told = sa.exc.DBAPIError.instance(
        None, None, reason, conn.dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=conn.dialect
    )
    return cast("sa.exc.DBAPIError", told)


def _execute(conn: Connection, statement: str, values: Sequence[object]) -> psycopg.Cursor[Any]:
    driver = cast("psycopg.Connection[Any]", conn.connection.driver_connection)
    try:
        return driver.execute(_for_postgres(statement), tuple(values))
    except conn.dialect.loaded_dbapi.Error as reason:
        raise raised(conn, reason) from reason


@lru_cache(1024)
def _for_postgres(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()
