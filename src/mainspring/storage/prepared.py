"""Statements of hot paths: put together and compiled once for each database, then run as text.

SQLAlchemy builds a statement anew from its parts each time a function writes it down, which costs ten times what SQLite
takes to run it. A statement that is made once, with a named parameter for each value, costs the running only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from mainspring.storage.bare import sqlite_driver
from mainspring.storage.schema import Real
from mainspring.storage.together import together_driver

if TYPE_CHECKING:
    import psycopg

_Turn = Callable[[Any], Any]


class Prepared:
    """A statement whose values are all named parameters, of the types of their columns. Safe to share.

    Args:
        make: Writes the statement for the database of a connection.
    """

    def __init__(self, make: Callable[[sa.Connection], sa.Executable]) -> None:
        self._make = make
        self._texts: dict[str, _Text] = {}

    def run(self, conn: sa.Connection, values: Mapping[str, object]) -> int:
        """Run it with these values by name; how many rows it changed, -1 when it was sent `together` with others."""
        return self._text(conn).cursor(conn, values).rowcount

    def rows(self, conn: sa.Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Its rows, for a query."""
        text = self._text(conn)
        return [text.row(row) for row in text.cursor(conn, values)]

    def _text(self, conn: sa.Connection) -> _Text:
        found = self._texts.get(conn.dialect.name)
        if found is None:
            found = self._texts[conn.dialect.name] = _Text(self._make(conn), conn.dialect)
        return found


class _Text:
    """The text of a statement in one dialect, and how values go in and come out."""

    def __init__(self, statement: sa.Executable, dialect: Dialect) -> None:
        assert isinstance(statement, sa.ClauseElement)
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.Compiled)
        self._text = str(compiled)
        self._order: list[str] | None = getattr(compiled, "positiontup", None)
        binds: Mapping[str, sa.BindParameter[Any]] = getattr(compiled, "binds", {})
        self._fixed = {name: bind.value for name, bind in binds.items() if not bind.required}
        found = {name: _bind(bind.type, dialect) for name, bind in binds.items()}
        self._turns = [(name, turn) for name, turn in found.items() if turn is not None]
        columns = getattr(statement, "exported_columns", ())
        self._out = [_back(column.type, dialect) for column in columns]

    def cursor(
        self, conn: sa.Connection, values: Mapping[str, object]
    ) -> sqlite3.Cursor | psycopg.Cursor[Any] | sa.CursorResult[Any]:
        given = {**self._fixed, **values}
        for name, turn in self._turns:
            given[name] = turn(given[name])
        driver = sqlite_driver(conn)
        if driver is not None and self._order is not None:
            return driver.execute(self._text, [given[name] for name in self._order])
        together = together_driver(conn)
        if together is not None:
            return together.cursor().execute(self._text, given)
        return conn.exec_driver_sql(self._text, given)

    def row(self, row: Sequence[object]) -> tuple[Any, ...]:
        return tuple([turn(value) if turn else value for value, turn in zip(row, self._out, strict=True)])


def _bind(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Turn | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _back(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Turn | None:
    if isinstance(kind, Real):
        return None  # both drivers give a float; SQLAlchemy would ask by which code of the database it came
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def given(column: sa.Column[Any], name: str = "") -> sa.BindParameter[Any]:
    """A parameter for a value of a column, under the column's name or another."""
    return sa.bindparam(name or column.key, type_=column.type)
