"""SQLite behind the tables port: WAL, one writer at a time per process, readers that never wait."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from mainspring.core.errors import Corrupt, Failed, Overloaded
from mainspring.storage import migrations
from mainspring.storage.checkpoints import PAGES, Checkpointer
from mainspring.storage.commits import GroupCommit, forget_hooks, run_hooks
from mainspring.storage.files import disk_full
from mainspring.storage.regular import found

T = TypeVar("T")
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
BUSY_S = 30.0
"""How long a statement waits for a writer of another process."""
CHECKPOINT_PAGES = 4 * PAGES
"""How many pages of 4 KB the write-ahead log takes before SQLite itself brings them to the database while the writer
waits: only where the checkpointer has not done it long before."""


class SqliteTables:
    """A SQLite file. Every writing transaction takes the write lock at its start, so none fails half way.

    Args:
        path: The database file; it and its folder are made when absent.
    """

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._writing = threading.Lock()
        self._thread = threading.local()
        self._pid = os.getpid()
        url = sa.URL.create("sqlite", database=str(path))
        self._writers = sa.create_engine(
            url, poolclass=NullPool, connect_args={"timeout": BUSY_S, "check_same_thread": False}
        )
        self._readers = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", max_overflow=64, connect_args={"timeout": BUSY_S}
        )
        sa.event.listen(self._writers, "connect", _prepare_writer)
        sa.event.listen(self._writers, "begin", _begin_immediate)
        sa.event.listen(self._readers, "connect", _prepare_reader)
        self._writer: sa.Connection | None = None
        self._group = GroupCommit(self._transaction)
        self._checkpointer = Checkpointer(path)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """See `ports.Tables.write`."""
        self._check_outside()
        with self._transaction() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """See `ports.Tables.read`."""
        with _plainly(self._path), self._readers.connect() as conn:
            yield conn

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """See `ports.Tables.submit`."""
        self._check_outside()
        return self._group.submit(work)

    def migrate(self) -> None:
        """See `ports.Tables.migrate`."""
        migrations.migrate(self)

    def now(self, conn: sa.Connection) -> int:
        """See `ports.Tables.now`: the database runs in this process, so its time is the machine's."""
        return time.time_ns() // 1000

    def close(self) -> None:
        """See `ports.Tables.close`."""
        self._group.close()
        self._checkpointer.close()
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._readers.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._writing:
            conn = self._connection()
            self._thread.writing = True
            try:
                with _plainly(self._path), conn.begin():
                    yield conn
            except BaseException:
                forget_hooks(conn)
                raise
            finally:
                self._thread.writing = False
            run_hooks(conn)
            self._checkpointer.look(_bare(conn))

    def _connection(self) -> sa.Connection:
        if self._pid != os.getpid():
            raise Failed("these tables were opened before a fork", where=str(self._path), hint="open them in the child")
        if self._writer is None:
            with _plainly(self._path):
                self._writer = self._writers.connect()
        return self._writer

    def _check_outside(self) -> None:
        if getattr(self._thread, "writing", False):
            raise Failed("a write inside a write would wait for itself", hint="pass the connection on instead")


def _prepare_writer(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin_immediate` does
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("regexp", 2, found, deterministic=True)


def _prepare_reader(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.execute("PRAGMA query_only=ON")
    connection.create_function("regexp", 2, found, deterministic=True)


def _bare(conn: sa.Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, conn.connection.dbapi_connection)


def _begin_immediate(conn: sa.Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL once per file. The switch ignores the busy timeout when another process is at it, so try again."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",):
                return
        except sqlite3.OperationalError as reason:
            if time.monotonic() > deadline or "locked" not in str(reason):
                raise
        time.sleep(0.01)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as reason:
        told = reason.orig if isinstance(reason, DatabaseError) else reason
        name = str(getattr(told, "sqlite_errorname", ""))
        if name in _NO_ROOM:
            raise disk_full(path) from reason
        if name.startswith(_DAMAGED):
            hint = f"put a copy from before in its place; what can still be read: sqlite3 {path} .recover"
            raise Corrupt(f"the database is damaged: {told}", where=str(path), hint=hint) from reason
        if "database is locked" not in str(told):
            raise
        raise Overloaded(
            f"another process has held the database for {BUSY_S:.0f} s", where=str(path), hint="try again in a moment"
        ) from reason
