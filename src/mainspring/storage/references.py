"""Which columns name blobs. A blob that no row names may be taken away, so every column of digests says what it is.

A column declares itself where it is defined, with `info=names_blob()`, `info=names_blobs(find)` or
`info=names_no_blob(why)`. A test walks all tables and fails for a column that looks like digests and says nothing, and
for one in which the digest of a stored blob turns up undeclared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mainspring.core.errors import Unavailable
from mainspring.storage import migrations

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

Find = Callable[[Any], Iterable[str]]
_FIND = "mainspring.blobs"
_NONE = "mainspring.no_blob"
_PAGE = 2_000


def names_blob() -> dict[Any, Any]:
    """For the `info` of a column that holds the digest of a blob, or nothing."""
    return {_FIND: lambda value: (value,) if value else ()}


def names_blobs(find: Find) -> dict[Any, Any]:
    """For the `info` of a column in whose values `find` finds digests of blobs."""
    return {_FIND: find}


def names_no_blob(what: str) -> dict[Any, Any]:
    """For the `info` of a column of digests that keep no blob. `what` says what they are digests of."""
    return {_NONE: what}


def is_declared(column: sa.Column[Any]) -> bool:
    """Whether a column says which blobs it names, or that it names none."""
    return _FIND in column.info or _NONE in column.info


def naming_columns(metadata: sa.MetaData) -> list[tuple[sa.Column[Any], Find]]:
    """The columns that name blobs, each with what finds the digests in its values."""
    columns = (column for table in metadata.sorted_tables for column in table.columns)
    return [(column, column.info[_FIND]) for column in columns if _FIND in column.info]


def references(tables: Tables, metadata: sa.MetaData) -> Iterator[str]:
    """The digest of every blob that a row names, some more than once, all as of one moment.

    Raises:
        Unavailable: The database is at another step than this release, so it may name blobs in ways not known here.
    """
    with _snapshot(tables) as conn:
        step = migrations.version(conn)
        if step != migrations.HEAD:
            raise Unavailable(
                f"the database is at step {step!r}, this release knows {migrations.HEAD!r}",
                where="blobs",
                hint="collect with the release that runs the server",
            )
        for column, find in naming_columns(metadata):
            query = sa.select(column).where(column.is_not(None)).execution_options(yield_per=_PAGE)
            for value in conn.execute(query).scalars():
                yield from find(value)


@contextmanager
def _snapshot(tables: Tables) -> Iterator[sa.Connection]:
    """A connection that sees one state throughout: a row that moves meanwhile is not missed in both places."""
    begin = "BEGIN" if tables.dialect == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    with tables.read() as conn:
        conn.exec_driver_sql(begin)
        try:
            yield conn
        finally:
            conn.exec_driver_sql("ROLLBACK")
