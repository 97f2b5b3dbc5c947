"""Bringing a database to the schema of this release: one linear history, steps that only add.

`HEAD` names the newest step. Comparing it with the database is all that happens when nothing is to be done. An empty
database gets what all steps come to as plain SQL, `whole.<dialect>.sql`: importing Alembic would be a tenth of a first
start. Steps only add tables, columns and indexes, so that the release before keeps working on the new schema while
processes are replaced one by one. `scripts/new_migration.py` writes the next step and the SQL of the whole.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Unavailable
from mainspring.storage import bare, light

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Tables

HEAD = "0001"
FOLDER = Path(__file__).parent
_LOCK = 0x6D61696E_73707267  # "mainsprg": the advisory lock of Postgres under which one process migrates


def migrate(tables: Tables) -> None:
    """Bring the schema of `tables` to `HEAD`, in one transaction.

    Raises:
        Unavailable: The database has a step that this release does not know.
    """
    with tables.read() as conn:
        if version(conn) == HEAD:
            return
    with tables.write() as conn:
        if tables.dialect == "postgresql":
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        at = version(conn)
        if not at:
            _create(conn)
        elif at != HEAD:
            _upgrade(conn)


def step_of(tables: Tables) -> str:
    """The step a database is at, without changing anything; "" for an empty one.

    Raises:
        Unavailable: Nobody answers at the address.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        with tables.read() as conn:
            return version(conn)
    except (DBAPIError, sqlite3.Error) as reason:
        told = reason.orig if isinstance(reason, DBAPIError) else reason
        raise Unavailable(f"the database does not answer: {told}", hint="check storage.db") from None


def version(conn: Connection) -> str:
    """The step the database is at, "" for an empty database."""
    if conn.dialect.name == "sqlite":
        if not bare.rows(conn, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'", ()):
            return ""
    elif not bare.rows(conn, "SELECT to_regclass('alembic_version') IS NOT NULL", ())[0][0]:
        return ""
    return next((str(step) for (step,) in bare.rows(conn, "SELECT version_num FROM alembic_version", ())), "")


def whole(dialect: str) -> Path:
    """The file with what all steps come to for "sqlite" or "postgresql": statements, with an empty line after each."""
    return FOLDER / f"whole.{dialect}.sql"


def _create(conn: Connection) -> None:
    statements = whole(conn.dialect.name).read_text().split("\n\n")
    if conn.dialect.name == "sqlite":
        for statement in statements:
            bare.run(conn, statement, ())
        return
    plain = conn.execution_options(no_parameters=True)  # else a percent sign would begin a parameter of psycopg
    for statement in statements:
        plain.exec_driver_sql(statement)


def _upgrade(conn: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = light.whole(conn)
    try:
        command.upgrade(config, "head")
    except CommandError as reason:
        raise Unavailable(
            f"the database is at step {version(conn)!r}, this release ends at {HEAD!r}",
            where=str(reason),
            hint="install the release that wrote it, or a newer one",
        ) from reason
