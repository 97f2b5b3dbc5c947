"""SQLite behind the tables port: WAL, one writer at a time per process, readers that never wait."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mainspring.core.errors import Corrupt, Failed, Overloaded
from mainspring.storage import migrations
from mainspring.storage.checkpoints import PAGES, Checkpointer
from mainspring.storage.commits import GroupCommit, forget_hooks, run_hooks
from mainspring.storage.files import disk_full
from mainspring.storage.light import LightConnection
from mainspring.storage.regular import found

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
KEPT = 5
"""How many connections of readers stay open when nobody reads."""
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
        self._closed = False
        self._readers: deque[LightConnection] = deque()
        self._writer: LightConnection | None = None
        self._group = GroupCommit(self._transaction)
        self._checkpointer = Checkpointer(path)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `ports.Tables.write`."""
        self._check_outside()
        with self._transaction() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `ports.Tables.read`."""
        with _plainly(self._path):
            conn = self._reader()
            try:
                yield cast("Connection", conn)
            finally:
                if len(self._readers) < KEPT and not self._closed:
                    self._readers.append(conn)
                else:
                    conn.close()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """See `ports.Tables.submit`."""
        self._check_outside()
        return self._group.submit(work)

    def migrate(self) -> None:
        """See `ports.Tables.migrate`."""
        migrations.migrate(self)

    def now(self, conn: Connection) -> int:
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
        self._closed = True
        while self._readers:
            self._readers.pop().close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writing:
            light = self._connection()
            conn = cast("Connection", light)  # it becomes one when it is asked for more than the driver can do
            self._thread.writing = True
            try:
                with _plainly(self._path), _immediate(light.driver):
                    yield conn
            except BaseException:
                forget_hooks(conn)
                raise
            finally:
                self._thread.writing = False
            run_hooks(conn)
            self._checkpointer.look(light.driver)

    def _connection(self) -> LightConnection:
        if self._pid != os.getpid():
            raise Failed("these tables were opened before a fork", where=str(self._path), hint="open them in the child")
        if self._writer is None:
            with _plainly(self._path):
                self._writer = LightConnection(_opened(self._path, _prepare_writer), _teach)
        return self._writer

    def _reader(self) -> LightConnection:
        try:
            return self._readers.pop()
        except IndexError:
            return LightConnection(_opened(self._path, _prepare_reader), _teach)

    def _check_outside(self) -> None:
        if getattr(self._thread, "writing", False):
            raise Failed("a write inside a write would wait for itself", hint="pass the connection on instead")


def _opened(path: Path, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """A connection that begins nothing by itself, for whichever thread has it."""
    made = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        prepare(made)
    except BaseException:
        made.close()
        raise
    return made


def _prepare_writer(connection: sqlite3.Connection) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")


def _teach(connection: sqlite3.Connection) -> None:
    connection.create_function("regexp", 2, found, deterministic=True)


@contextmanager
def _immediate(driver: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the write lock from its start."""
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield
        driver.execute("COMMIT")
    except BaseException:
        if driver.in_transaction:  # some errors end it by themselves
            driver.execute("ROLLBACK")
        raise


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
    except Exception as reason:
        told = getattr(reason, "orig", reason)  # what SQLAlchemy has of the driver, where it is loaded
        if not isinstance(told, sqlite3.DatabaseError):
            raise
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
