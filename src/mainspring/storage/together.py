"""Statements that travel to Postgres together: none waits for the answer of the one before.

A transaction of six small statements is six journeys to the server and back, and on a busy machine each is a wait for a
turn of the processor. In a block of `together` the prepared ones go out as they come; whoever asks for rows waits for
all that was sent until then, and so does the end of the block. What fails is raised there, as ever in the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mainspring.storage.bare import raised

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

_TOGETHER = "mainspring.together"


@contextmanager
def together(conn: Connection) -> Iterator[None]:
    """Send the prepared statements of the block without waiting in between. On SQLite it changes nothing.

    Statements that are not `Prepared` have no place in it: their results are looked at before they are there.

    Raises:
        sqlalchemy.exc.DBAPIError: A statement failed; the transaction has to be rolled back.
    """
    driver = _postgres_driver(conn)
    if driver is None:
        yield
        return
    conn.info[_TOGETHER] = driver
    try:
        with driver.pipeline():
            yield
    except _errors() as reason:
        raise raised(conn, reason) from reason
    finally:
        if not conn.invalidated:
            conn.info.pop(_TOGETHER, None)


def together_driver(conn: Connection) -> psycopg.Connection[Any] | None:
    """The driver's connection while a block of `together` is open on it, else None."""
    found: psycopg.Connection[Any] | None = conn.info.get(_TOGETHER)
    return found


def _errors() -> type[psycopg.Error]:
    import psycopg  # an extra: without it nobody is connected

    return psycopg.Error


def _postgres_driver(conn: Connection) -> psycopg.Connection[Any] | None:
    if conn.dialect.name != "postgresql":
        return None
    import psycopg

    driver = conn.connection.driver_connection
    return driver if isinstance(driver, psycopg.Connection) and psycopg.Pipeline.is_supported() else None
