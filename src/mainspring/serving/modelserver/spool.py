"""The prediction log of one worker: a SQLite file in WAL mode, many rows to a commit, committed before they leave."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Protocol

import msgspec

from mainspring.core.errors import Unavailable

SCHEMA = """
create table if not exists prediction(
  seq integer primary key, deployment text not null, count integer not null, rows blob not null);
create table if not exists signature(deployment text, version integer, inputs text, primary key(deployment, version));
"""
INSERT = "insert into prediction values(?,?,?,?)"
COLUMNS = (
    "id", "request_id", "at", "event_at", "version", "arm", "propensity", "key", "rollout", "inputs", "outputs",
    "latency_us", "status", "error", "caller", "wait_us", "model_us", "marks", "features",
)  # fmt: skip
"""What a row says; `inputs` are the cells in the order of the signature, `outputs` the answer by name or None.

Inputs that came as one array of numbers are written as they lie in memory, eight bytes for each: to take the numbers
out of it one by one is left to whoever reads the row, and nobody waits for that.
"""
Row = tuple[
    str, str, int, int, int, str, float | None, str, str, Sequence[object] | bytes, Mapping[str, object] | None, int,
    int, str, str, int, int, Sequence[str], Sequence[object],
]  # fmt: skip
Entry = tuple[str, Sequence[Row], "asyncio.Future[None]"]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[list[object]]).decode


def begin(path: Path) -> BinaryIO:
    """Make a spool, whose first row will have the number 1. It has a living writer as long as what is returned is open.

    The lock is freed by any death: then the file is an orphan.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    alive = path.with_suffix(".lock").open("ab")
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("pragma journal_mode=wal")
    conn.executescript(SCHEMA)
    conn.close()
    return alive


def connect(path: Path, durability: str) -> sqlite3.Connection:
    """A connection that writes to a spool: "fsync" survives a power cut, "process" the death of the process."""
    conn = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    conn.execute(f"pragma synchronous={ {'fsync': 'FULL', 'process': 'OFF'}[durability] }")
    conn.execute("pragma wal_autocheckpoint=4000")
    return conn


def entries_of(groups: Mapping[str, Sequence[Row]], last: int) -> tuple[list[tuple[int, str, int, bytes]], int]:
    """The rows of each endpoint as one entry, as `INSERT` takes it, and the number of the last row.

    Args:
        groups: Rows by endpoint.
        last: The number of the last row before them.
    """
    packed = []
    for deployment, found in groups.items():
        last += len(found)
        packed.append((last, deployment, len(found), _pack(found)))
    return packed, last


class Log(Protocol):
    """Where the rows of answers go: how many went, failed and wait, and a way to append more."""

    rows: int
    failures: int
    waiting_rows: int

    def append(self, deployment: str, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Log rows of an endpoint; the future resolves once they are committed, or raises `Unavailable`."""
        ...


class Spool:
    """Appends rows in groups: whatever queued while the last commit ran is the next commit.

    The rows of an endpoint that are committed together are one entry, packed: a row of SQL for each would cost several
    times as much. The entry has the number of its last row.

    Args:
        path: The file, new for each life of a worker: rows are numbered from 1.
        durability: "fsync" survives a power cut (synchronous=FULL), "process" survives the death of the process.
        loop: Where futures are resolved.
    """

    def __init__(self, path: Path, durability: str, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self._alive = begin(path)
        self.rows = 0
        self.failures = 0
        self.waiting_rows = 0
        self._loop = loop
        self._queue: SimpleQueue[list[Entry] | Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        self._ready: list[Entry] = []
        self._durability = durability
        self._owed: list[Callable[[sqlite3.Connection], None]] = []
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, deployment: str, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Log rows of an endpoint; the future resolves once they are committed, or raises `Unavailable`.

        What is appended in one turn of the loop is handed over at its end, together: the thread is woken once.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting_rows += len(rows)
        if not self._ready:
            self._loop.call_soon(self._hand_over)
        self._ready.append((deployment, rows, future))
        return future

    def _hand_over(self) -> None:
        ready, self._ready = self._ready, []
        if ready:
            self._queue.put(ready)

    def declare(self, deployment: str, version: int, inputs: Sequence[tuple[str, str]]) -> None:
        """Keep a version's input columns beside its rows, so that the file explains itself. Queued before any row.

        They are written with the first commit that succeeds: rows are unreadable without.
        """
        text = msgspec.json.encode(list(inputs)).decode()
        statement = "insert or replace into signature values(?,?,?)"
        self._queue.put(lambda conn: _void(conn.execute(statement, (deployment, version, text))))

    def close(self) -> None:
        """Commit what was appended, then let the file go."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        self._alive.close()

    def _run(self) -> None:
        conn = connect(self.path, self._durability)
        open_ = True
        while open_:
            waiting: list[Entry] = []
            found = self._queue.get()
            while True:
                if found is None:
                    open_ = False
                elif isinstance(found, list):
                    waiting += found
                else:
                    self._owed.append(found)
                if self._queue.empty():
                    break
                found = self._queue.get()
            self._commit(conn, waiting)
        conn.close()

    def _commit(self, conn: sqlite3.Connection, waiting: Sequence[Entry]) -> None:
        failure: Exception | None = None
        try:
            groups: dict[str, list[Row]] = {}
            for deployment, rows, _ in waiting:
                groups.setdefault(deployment, []).extend(rows)
            packed, last = entries_of(groups, self.rows)
            conn.execute("begin immediate")
            for statement in self._owed:
                statement(conn)
            for values in packed:
                conn.execute(INSERT, values)
            conn.execute("commit")
            self.rows = last
            self._owed.clear()
        except Exception as reason:  # noqa: BLE001 - the edge of the thread: the requests hear of it and the next goes on
            failure = reason
            self.failures += sum(len(rows) for _, rows, _ in waiting)
            if conn.in_transaction:
                conn.execute("rollback")
        if waiting:
            self._loop.call_soon_threadsafe(self._resolve, waiting, failure)

    def _resolve(self, entries: Sequence[Entry], failure: Exception | None) -> None:
        for _, rows, future in entries:
            self.waiting_rows -= len(rows)
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(Unavailable(f"the prediction log can't be written: {failure}"))


def entries_after(
    conn: sqlite3.Connection, deployment: str, after: int, until: int, *, limit: int
) -> dict[str, list[Any]]:
    """Rows of an endpoint whose numbers are above `after` and up to `until`: "seq", the number, and all `COLUMNS`.

    Args:
        conn: To a spool.
        deployment: The endpoint.
        after: The number of the last row of an entry, or -1.
        until: Likewise.
        limit: Whole entries are read until there are so many rows.
    Returns: The values of each column, as long as each other; an entry is turned over at once, so that no more than
        its own rows are held.
    """
    select = "select seq, count, rows from prediction where deployment = ? and seq > ? and seq <= ? order by seq"
    numbers: list[int] = []
    columns: list[list[object]] = [[] for _ in COLUMNS]
    for seq, count, rows in conn.execute(select, (deployment, after, until)):
        numbers.extend(range(seq - count + 1, seq + 1))
        for name, column, values in zip(COLUMNS, columns, zip(*_unpack(rows), strict=True), strict=True):
            column.extend(map(_numbers, values) if name == "inputs" else values)
        if len(numbers) >= limit:
            break
    return {"seq": numbers, **dict(zip(COLUMNS, columns, strict=True))}


def _numbers(inputs: object) -> object:
    return memoryview(inputs).cast("d").tolist() if type(inputs) is bytes else inputs


def _void(_: object) -> None:
    return None
