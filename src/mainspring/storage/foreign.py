"""Reads the tables of another tool's database, SQLite or Postgres, without changing anything there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mainspring.core.errors import NotFound, Unavailable

Row = Mapping[str, Any]


class ForeignDatabase:
    """A database whose tables are known by name only.

    Args:
        url: `sqlite:///FILE`, a path of a SQLite file, or `postgresql://...`.
    Raises:
        NotFound: There is no such file.
        Unavailable: The database does not answer, or the file is none of a database.
    """

    def __init__(self, url: str) -> None:
        self.folder: Path | None = None
        if "://" in url:
            parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
        else:
            parsed = sa.URL.create("sqlite", database=url)
        if parsed.get_backend_name() == "sqlite":
            file = Path(parsed.database or "")
            if not file.is_file():
                raise NotFound(f"there is no file {str(file)!r}", where=url, hint="give the path of the database file")
            self.folder, self.label = file.parent, f"sqlite:{file.absolute()}"
            self._engine = sa.create_engine(
                sa.URL.create("sqlite", database=file.absolute().as_uri(), query={"mode": "ro", "uri": "true"})
            )
        else:
            parsed = parsed.set(drivername="postgresql+psycopg")
            self.label = parsed.set(username=None, password=None).render_as_string()
            self._engine = sa.create_engine(parsed)
        try:
            inspector = sa.inspect(self._engine)
            names = inspector.get_table_names()
            self._columns = {name: {c["name"] for c in inspector.get_columns(name)} for name in names}
        except sa.exc.DBAPIError as reason:
            self.close()
            raise Unavailable(f"the database does not answer: {reason.orig}", where=self.label) from None

    @property
    def tables(self) -> frozenset[str]:
        """Names of the tables."""
        return frozenset(self._columns)

    def rows(
        self,
        table: str,
        equal: Mapping[str, object] | None = None,
        *,
        order: Sequence[str] = (),
        after: str = "",
        limit: int = 0,
    ) -> Iterator[Row]:
        """Rows of a table with all its columns; none when there is no such table.

        Args:
            table: Its name.
            equal: Columns that must equal a value, or one of a list of values.
            order: Columns to sort by.
            after: Only rows whose first column of `order` is greater.
            limit: At most so many; 0 = all, which are read as they are taken.
        """
        equal = equal or {}
        if table not in self._columns or any(isinstance(value, list) and not value for value in equal.values()):
            return
        columns: dict[str, sa.ColumnClause[Any]] = {name: sa.column(name) for name in sorted(self._columns[table])}
        found = sa.select(*columns.values()).select_from(sa.table(table))
        for name, value in equal.items():
            found = found.where(columns[name].in_(value) if isinstance(value, list) else columns[name] == value)
        if after:
            found = found.where(columns[order[0]] > after)
        found = found.order_by(*(columns[name] for name in order))
        with self._engine.connect() as conn:
            for row in conn.execution_options(yield_per=5000).execute(found.limit(limit or None)).mappings():
                yield dict(row)

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()
