"""Storage: five small ports and one file per backend. Rooms import the ports; the roof opens the backends.

This package is light: SQLAlchemy and the drivers are imported when tables are opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

FILE = "mainspring.sqlite"


def open_tables(url: str, data_dir: Path) -> Tables:
    """Open the metadata database. Call `migrate()` on it before the first use.

    Args:
        url: `postgresql://user@host/name`, `sqlite:///path`, or "" for the file `mainspring.sqlite` in `data_dir`.
        data_dir: The data folder.
    Raises:
        Invalid: The address is of neither kind.
        Unavailable: The Postgres driver is not installed.
    """
    if url.startswith(("postgresql://", "postgres://")):
        from mainspring.storage.postgres import PostgresTables

        return PostgresTables(url)
    if url and not url.startswith("sqlite:///"):
        kind = url.split(":", 1)[0]
        raise Invalid(f"unknown kind of database {kind!r}", where="storage.db", hint="use postgresql:// or nothing")
    from mainspring.storage.sqlite import SqliteTables

    return SqliteTables(Path(url.removeprefix("sqlite:///")) if url else data_dir / FILE)
