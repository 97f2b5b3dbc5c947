"""The prediction log of one worker: a SQLite file in WAL mode, many rows to a commit, committed before they leave."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec

from mainspring.core.errors import Unavailable

SCHEMA = """
create table if not exists prediction(
  seq integer primary key, deployment text not null, id text not null, request_id text not null,
  at integer not null, event_at integer not null, version integer not null, arm text not null, propensity real,
  key text not null, rollout text not null, inputs blob, outputs blob, latency_us integer not null,
  status integer not null, error text not null, caller text not null, wait_us integer not null,
  model_us integer not null, marks text not null);
create table if not exists signature(deployment text, version integer, inputs text, primary key(deployment, version));
"""
INSERT = f"insert into prediction values({','.join('?' * 20)})"
Row = tuple[
    str,
    str,
    str,
    int,
    int,
    int,
    str,
    float | None,
    str,
    str,
    bytes | None,
    bytes | None,
    int,
    int,
    str,
    str,
    int,
    int,
    str,
]
Entry = tuple[Sequence[Row], "asyncio.Future[None]"]
pack = msgspec.msgpack.Encoder().encode


class Spool:
    """Appends rows in groups: whatever queued while the last commit ran is the next commit.

    Args:
        path: The file, new for each life of a worker: rows are numbered from 1.
        durability: "fsync" survives a power cut (synchronous=FULL), "process" survives the death of the process.
        loop: Where futures are resolved.
    """

    def __init__(self, path: Path, durability: str, loop: asyncio.AbstractEventLoop) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._alive = path.with_suffix(".lock").open("ab")
        fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by any death: then the file is an orphan
        self.rows = 0
        self.failures = 0
        self.waiting_rows = 0
        self._loop = loop
        self._queue: SimpleQueue[Entry | Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        self._sync = {"fsync": "FULL", "process": "OFF"}[durability]
        self._prepare()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        conn = sqlite3.connect(self.path, isolation_level=None)
        conn.execute("pragma journal_mode=wal")
        conn.executescript(SCHEMA)
        conn.close()

    def append(self, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Log rows; the future resolves once they are committed, or raises `Unavailable`."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting_rows += len(rows)
        self._queue.put((rows, future))
        return future

    def declare(self, deployment: str, version: int, inputs: Sequence[tuple[str, str]]) -> None:
        """Keep a version's input columns beside its rows, so that the file explains itself. Queued before any row."""
        text = msgspec.json.encode(list(inputs)).decode()
        statement = "insert or replace into signature values(?,?,?)"
        self._queue.put(lambda conn: _void(conn.execute(statement, (deployment, version, text))))

    def close(self) -> None:
        """Commit what was appended, then let the file go."""
        self._queue.put(None)
        self._thread.join()
        self._alive.close()

    def _run(self) -> None:
        conn = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
        conn.execute(f"pragma synchronous={self._sync}")
        conn.execute("pragma wal_autocheckpoint=4000")
        open_ = True
        while open_:
            entries = [self._queue.get()]
            while not self._queue.empty():
                entries.append(self._queue.get())
            open_ = None not in entries
            self._commit(conn, [entry for entry in entries if entry is not None])
        conn.close()

    def _commit(
        self, conn: sqlite3.Connection, entries: Sequence[Entry | Callable[[sqlite3.Connection], None]]
    ) -> None:
        waiting = [entry for entry in entries if isinstance(entry, tuple)]
        rows = [row for part, _ in waiting for row in part]
        failure: sqlite3.Error | None = None
        try:
            conn.execute("begin immediate")
            for entry in entries:
                if not isinstance(entry, tuple):
                    entry(conn)
            conn.executemany(INSERT, [(self.rows + i, *row) for i, row in enumerate(rows, start=1)])
            conn.execute("commit")
            self.rows += len(rows)
        except sqlite3.Error as reason:
            failure = reason
            self.failures += len(rows)
            if conn.in_transaction:
                conn.execute("rollback")
        if waiting:
            self._loop.call_soon_threadsafe(self._resolve, waiting, failure)

    def _resolve(self, entries: Sequence[Entry], failure: sqlite3.Error | None) -> None:
        for rows, future in entries:
            self.waiting_rows -= len(rows)
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(Unavailable(f"the prediction log can't be written: {failure}"))


def _void(_: object) -> None:
    return None
