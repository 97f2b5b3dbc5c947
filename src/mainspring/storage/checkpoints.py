"""Bringing SQLite's write-ahead log to the database beside the writer, which otherwise stands still for it.

SQLite does that in the commit that makes the log longer than `wal_autocheckpoint`: every second or so under load one
commit takes 50 to 90 ms instead of one, and whoever waits for it waits as long. Here a thread does most of it while the
writer goes on, and the writer the little that came meanwhile, so that the log begins anew and does not grow. SQLite's
own limit stays as the upper one, for a writer that is faster than the thread.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

PAGES = 4000
"""How long the log gets, in pages of 4 KB, before it is brought to the database."""
_LEAST, _MOST = 0.05, 20.0
"""Pages of the log that a changed row is taken to cost: a count that went wrong must not keep the log for ever."""


class Checkpointer:
    """Looks after the log of one database; `look` is for the writer, the rest is done in a thread.

    Args:
        path: The database.
        pages: How long the log may get.
    """

    def __init__(self, path: Path, pages: int = PAGES) -> None:
        self._path = path
        self._pages = pages
        self._began = 0  # the writer's count of changed rows when the log began
        self._rows = 0  # that were changed from then on until the log was to be brought
        self._pages_per_row = 1.0  # as the last log had it
        self._brought: int | None = 0  # pages, once the thread has; None while it is at it
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def look(self, writer: sqlite3.Connection) -> None:
        """After each commit of the writer, in its thread and before the next one."""
        if self._brought is None:
            return
        if self._brought and self._rows:
            self._pages_per_row = min(max(self._brought / self._rows, _LEAST), _MOST)
            _bring(writer)  # what came meanwhile: little, and then nothing is left, so that the log begins anew
            self._began, self._rows, self._brought = writer.total_changes, 0, 0
        rows = writer.total_changes - self._began
        if rows * self._pages_per_row >= self._pages:
            self._rows, self._brought = rows, None
            self._asked.put(True)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread after what is under way; call it while the writer is open still."""
        self._asked.put(False)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as conn:
            conn.execute("PRAGMA synchronous=NORMAL")
            while self._asked.get():
                self._brought = _bring(conn)


def _bring(conn: sqlite3.Connection) -> int:
    """Bring what is committed and no reader needs in the log; the pages that the log has, 0 when it could not be.

    Such as for want of disk, or because another process is at it: it is tried again, if by nobody else by SQLite.
    """
    try:
        busy, pages, _ = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error:
        return 0
    return 0 if busy else max(int(pages), 0)
