"""Statements of hot paths: put together and compiled once for each database, then run as text.

SQLAlchemy builds a statement anew from its parts each time a function writes it down, which costs ten times what SQLite
takes to run it. A statement that is made once, with a named parameter for each value, costs the running only.

Those that a run of a pipeline needs on SQLite are compiled before the release, by `scripts/prepare.py` into
`prepared.sqlite.json`: loading SQLAlchemy would be half of a small run. One that is not there is compiled when it is
first run, as all are for Postgres.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.storage.bare import sqlite_driver
from mainspring.storage.light import whole
from mainspring.storage.together import together_driver
from mainspring.storage.values import SQLITE_IN, SQLITE_OUT

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy as sa
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect

FILE = Path(__file__).parent / "prepared.sqlite.json"
_Turn = Callable[[Any], Any]
_Words = tuple[object, ...]


class Prepared:
    """A statement whose values are all named parameters, of the types of their columns. Safe to share.

    Args:
        make: Writes the statement for the database of a connection; or where that function is, "package.module:name".
        words: What else it is told.
    """

    def __init__(self, make: Callable[[Connection], sa.Executable] | str, *words: object) -> None:
        self._make = make
        self._words = words
        self._texts: dict[str, _Text] = {}

    def run(self, conn: Connection, values: Mapping[str, object]) -> int:
        """Run it with these values by name; how many rows it changed, -1 when it was sent `together` with others."""
        return self._text(conn).cursor(conn, values).rowcount

    def run_all(self, conn: Connection, values: Sequence[Mapping[str, object]]) -> None:
        """Run it once for each of these; without any it is not run."""
        if values:
            self._text(conn).run_all(conn, values)

    def rows(self, conn: Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Its rows, for a query."""
        text = self._text(conn)
        return [text.row(row) for row in text.cursor(conn, values)]

    def named(self, conn: Connection, values: Mapping[str, object]) -> list[dict[str, Any]]:
        """Its rows by the names of their columns."""
        text = self._text(conn)
        return [dict(zip(text.names, text.row(row), strict=True)) for row in text.cursor(conn, values)]

    def _text(self, conn: Connection) -> _Text:
        dialect = conn.dialect.name
        found = self._texts.get(dialect)
        if found is None:
            found = self._texts[dialect] = self._known(dialect) or self._compiled(conn)
        return found

    def _known(self, dialect: str) -> _Text | None:
        known = before_release().get(key_of(self._make, self._words)) if dialect == "sqlite" else None
        return None if known is None else _Text.from_plain(known)

    def _compiled(self, conn: Connection) -> _Text:
        make = self._make
        if isinstance(make, str):
            module, _, name = make.partition(":")
            make = getattr(import_module(module), name)
        made = _Text.compiled(make(conn, *self._words), whole(conn).dialect)
        if conn.dialect.name == "sqlite" and isinstance(self._make, str):
            compiled_here[key_of(self._make, self._words)] = made.to_plain()
        return made


compiled_here: dict[str, dict[str, object]] = {}
"""What was compiled in this process for SQLite and could have been before."""


def key_of(make: object, words: _Words) -> str:
    """What a statement is kept under."""
    return f"{make}{[str(each) if isinstance(each, str) else _plain(each) for each in words]}"


def _plain(word: object) -> object:
    return [str(each) for each in word] if isinstance(word, tuple) else word


@cache
def before_release() -> Mapping[str, Mapping[str, Any]]:
    """What was compiled for SQLite before the release."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_bytes())
    return found


class _Text:
    """The text of a statement in one dialect, and how values go in and come out.

    Args:
        text: The statement.
        order: Names of its parameters where they have places and no names.
        fixed: Values that are always the same, by name.
        turns: What is done with a value on its way in, by the name of its parameter.
        names: The columns of its rows.
        out: What is done with each on its way out.
        kinds: Names of the types by parameter, and of those of the columns, where `values` knows them by these.
    """

    def __init__(
        self,
        text: str,
        order: list[str] | None,
        fixed: Mapping[str, object],
        *,
        turns: Mapping[str, _Turn],
        names: Sequence[str],
        out: Sequence[_Turn | None],
        kinds: tuple[Mapping[str, str], Sequence[str]],
    ) -> None:
        self.names = names
        self._text = text
        self._order = order
        self._fixed = fixed
        self._turns = list(turns.items())
        self._out = out
        self._kinds = kinds

    @classmethod
    def compiled(cls, statement: sa.Executable, dialect: Dialect) -> _Text:
        """Compile a statement."""
        import sqlalchemy as sa

        assert isinstance(statement, sa.ClauseElement)
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.Compiled)
        found: Mapping[str, sa.BindParameter[Any]] = getattr(compiled, "binds", {})
        binds = {name: bind for name, bind in found.items() if not name.startswith("%(")}  # those stand for others
        columns = list(getattr(statement, "exported_columns", ()))
        turns = {name: _bind(bind.type, dialect) for name, bind in binds.items()}
        inward = {name: type(bind.type).__name__ for name, bind in binds.items()}
        return cls(
            str(compiled),
            getattr(compiled, "positiontup", None),
            {name: bind.value for name, bind in binds.items() if not bind.required},
            turns={name: turn for name, turn in turns.items() if turn is not None},
            names=[column.key or "" for column in columns],
            out=[_back(column.type, dialect) for column in columns],
            kinds=(inward, [type(column.type).__name__ for column in columns]),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> _Text:
        """As `to_plain` gave it."""
        inward, outward = plain["in"], plain["out"]
        return cls(
            plain["text"],
            plain["order"],
            plain["fixed"],
            turns={name: SQLITE_IN[kind] for name, kind in inward.items()},
            names=plain["names"],
            out=[SQLITE_OUT.get(kind) for kind in outward],
            kinds=(inward, outward),
        )

    def to_plain(self) -> dict[str, object]:
        """As JSON, for SQLite."""
        inward, outward = self._kinds
        return {
            "text": self._text,
            "order": self._order,
            "fixed": {name: str(value) if isinstance(value, str) else value for name, value in self._fixed.items()},
            "in": {name: kind for name, kind in inward.items() if kind in SQLITE_IN},
            "names": list(self.names),
            "out": [kind if kind in SQLITE_OUT else "" for kind in outward],
        }

    def cursor(
        self, conn: Connection, values: Mapping[str, object]
    ) -> sqlite3.Cursor | psycopg.Cursor[Any] | sa.CursorResult[Any]:
        given = self._given(values)
        driver = sqlite_driver(conn)
        if driver is not None and self._order is not None:
            return driver.execute(self._text, [given[name] for name in self._order])
        together = together_driver(conn)
        if together is not None:
            return together.cursor().execute(self._text, given)
        return conn.exec_driver_sql(self._text, given)

    def run_all(self, conn: Connection, values: Sequence[Mapping[str, object]]) -> None:
        driver, order = sqlite_driver(conn), self._order
        if driver is not None and order is not None:
            given = map(self._given, values)
            driver.executemany(self._text, ([each[name] for name in order] for each in given))
        else:
            conn.exec_driver_sql(self._text, [self._given(each) for each in values])

    def _given(self, values: Mapping[str, object]) -> dict[str, Any]:
        given = {**self._fixed, **values}
        for name, turn in self._turns:
            given[name] = turn(given[name])
        return given

    def row(self, row: Sequence[object]) -> tuple[Any, ...]:
        return tuple([turn(value) if turn else value for value, turn in zip(row, self._out, strict=True)])


def _bind(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Turn | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _back(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Turn | None:
    if type(kind).__name__ == "Real":
        return None  # both drivers give a float; SQLAlchemy would ask by which code of the database it came
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def given(column: sa.Column[Any], name: str = "") -> sa.BindParameter[Any]:
    """A parameter for a value of a column, under the column's name or another."""
    import sqlalchemy as sa

    return sa.bindparam(name or column.key, type_=column.type)
