"""INSERT ... ON CONFLICT, which both databases spell alike but SQLAlchemy keeps in two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql


def insert_into(conn: sa.Connection, table: sa.Table) -> postgresql.Insert:
    """An insert for the connection's database with `on_conflict_do_nothing`, `on_conflict_do_update` and `excluded`.

    The SQLite class has the same methods with the same arguments, except `constraint=`: name the columns instead.
    """
    from sqlalchemy.dialects import postgresql, sqlite  # here, as prepared statements do without them

    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)  # type: ignore[return-value]  # the same methods under another class
    return postgresql.insert(table)
