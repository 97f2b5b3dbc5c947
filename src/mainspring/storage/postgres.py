"""Postgres behind the tables port: psycopg 3, a pool of writers and a pool of read-only autocommit readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from mainspring.core.errors import Failed, Invalid, Overloaded, TooLarge, Unavailable
from mainspring.storage import arrays, migrations
from mainspring.storage.bare import BINARY
from mainspring.storage.commits import GroupCommit, forget_hooks, run_hooks
from mainspring.storage.files import disk_full
from mainspring.storage.statements import NOW

T = TypeVar("T")
_CONTENTION = ("40001", "40P01")  # serialization_failure, deadlock_detected
_DISK_FULL, _TOO_LONG = "53100", "54000"
_AWAY = ("08", "57P")
"""Beginnings of the states of a lost connection, and of a server that ends or begins."""
_PLANNED_ONCE = " ".join(
    f"-c {setting}"
    for setting in (
        "plan_cache_mode=force_generic_plan",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
    )
)
"""For statements that commit by themselves: few, of many rows each, that find rows by their keys. Postgres would plan
each of them anew for the rows it is given, which for a hundred points costs as much as half of storing them. The plan
that it keeps is one for tables of any size."""
_NOW = sa.select(NOW)
_SURE_S = 1.0
"""So long after its last use a connection is taken to be alive; later it is asked first."""


class PostgresTables:
    """A Postgres database, version 15 or newer.

    Args:
        url: For instance `postgresql://user@host/name`.
        pool: How many connections writers and readers each keep open; as many again for a burst. One more is for
            statements that commit by themselves.
    Raises:
        Unavailable: The driver is not installed.
        Invalid: The address cannot be read.
    """

    dialect = "postgresql"

    def __init__(self, url: str, *, pool: int = 8) -> None:
        self._writers = _engine(url, pool)
        self._readers = _engine(url, pool, options="-c default_transaction_read_only=on", autocommit=True)
        self._thread = threading.local()
        self._alone = _engine(url, 1, options=_PLANNED_ONCE, autocommit=True)
        self._group = GroupCommit(
            self._transaction, separate=self._alone.connect, plainly=self._plainly, again=_is_contention
        )

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """See `ports.Tables.write`."""
        self._check_outside()
        with self._transaction() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """See `ports.Tables.read`."""
        with self._plainly(), self._readers.connect() as conn:
            yield conn

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """See `ports.Tables.submit`."""
        self._check_outside()
        return self._group.submit(work)

    def migrate(self) -> None:
        """See `ports.Tables.migrate`.

        Raises:
            Unavailable: Nobody answers at the address, or it says no.
        """
        try:
            self._readers.connect().close()
        except sa.exc.OperationalError as reason:
            where = self._readers.url.render_as_string(hide_password=True)
            what = " ".join(f"no answer from Postgres: {reason.orig}".split())
            raise Unavailable(what, where=where, hint="check storage.db") from None
        migrations.migrate(self)

    def now(self, conn: sa.Connection) -> int:
        """See `ports.Tables.now`."""
        return int(conn.execute(_NOW).scalar_one())

    def close(self) -> None:
        """See `ports.Tables.close`."""
        self._group.close()
        self._alone.dispose()
        self._writers.dispose()
        self._readers.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._plainly(), self._writers.connect() as conn:
            self._thread.writing = True
            try:
                with self._plainly(), conn.begin():
                    yield conn
            except BaseException as reason:
                forget_hooks(conn)
                if _is_contention(reason):
                    raise Overloaded("two transactions waited for each other", hint="try again in a moment") from reason
                raise
            finally:
                self._thread.writing = False
            run_hooks(conn)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """What a caller can do something about, in the words of this package."""
        try:
            yield
        except sa.exc.DBAPIError as reason:
            state = getattr(reason.orig, "sqlstate", "")
            where = self._writers.url.render_as_string(hide_password=True)
            if state == _DISK_FULL:
                raise disk_full(where) from reason
            if _is_away(reason):
                hint = "it may be starting again: try again in a moment"
                raise Unavailable("the database does not answer", where=where, hint=hint) from reason
            if state == _TOO_LONG:
                raise TooLarge("a text is too long for the index it stands in", hint="use a shorter one") from reason
            if isinstance(reason, sa.exc.DataError) and "NUL" in str(reason.orig):
                raise Invalid("a text can't hold the character NUL", hint="take the character out") from reason
            raise

    def _check_outside(self) -> None:
        if getattr(self._thread, "writing", False):
            raise Failed("a write inside a write would wait for itself", hint="pass the connection on instead")


def _is_contention(reason: BaseException) -> bool:
    """Whether Postgres ended a transaction for the good of another, so that the same may succeed when tried again."""
    cause = reason.__cause__ if isinstance(reason, Overloaded) else reason
    return isinstance(cause, sa.exc.DBAPIError) and getattr(cause.orig, "sqlstate", "") in _CONTENTION


def _is_away(reason: sa.exc.DBAPIError) -> bool:
    """Whether the server is gone, or lets nobody in for now. What it says itself has a state."""
    state = getattr(reason.orig, "sqlstate", None)
    silent = state is None and isinstance(reason, sa.exc.OperationalError)
    return reason.connection_invalidated or silent or str(state).startswith(_AWAY)


def _engine(url: str, pool: int, *, options: str = "", autocommit: bool = False) -> sa.Engine:
    try:
        address = sa.make_url(url).set(drivername="postgresql+psycopg")
    except sa.exc.ArgumentError:
        raise Invalid("the database address cannot be read", hint="write postgresql://user@host/name") from None
    try:
        arrays.teach()  # first: SQLAlchemy gives its connections what the driver knows by now
        made = sa.create_engine(
            address,
            pool_size=pool,
            max_overflow=pool,
            pool_use_lifo=True,  # the same few again and again: Postgres keeps what a statement needs for each apart
            execution_options={"preserve_rowcount": True},  # also of inserts, as on SQLite
            connect_args={"options": options} if options else {},
            isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
        )
    except ModuleNotFoundError:
        raise Unavailable("the Postgres driver is not installed", hint='pip install "mainspring[postgres]"') from None
    _ask_after_rests(made)
    sa.event.listen(made, "before_cursor_execute", _in_binary)
    return made


def _in_binary(_: sa.Connection, cursor: Any, *told: Any) -> None:
    """Have Postgres give rows in binary to a statement that asks for it; `told` ends with its context and a flag."""
    if told[2] is not None and told[2].execution_options.get(BINARY):
        cursor.format = 1


def _ask_after_rests(engine: sa.Engine) -> None:
    """Have connections that rested asked whether they are alive: each time, it would cost as much as a statement."""

    def rested(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["rested"] = time.monotonic()

    def taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        if time.monotonic() - record.info.get("rested", time.monotonic()) > _SURE_S and not _is_alive(
            engine, connection
        ):
            raise sa.exc.InvalidatePoolError("the connection broke while it rested")  # the pool takes a new one

    sa.event.listen(engine, "checkin", rested)
    sa.event.listen(engine, "checkout", taken)


def _is_alive(engine: sa.Engine, connection: DBAPIConnection) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except Exception as reason:
        if isinstance(reason, engine.dialect.loaded_dbapi.Error) and engine.dialect.is_disconnect(reason, None, None):
            return False
        raise
