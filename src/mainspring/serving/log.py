"""From the spools of the model server to the table of predictions, exactly once."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainspring.serving.frames import Columns, frame_of
from mainspring.serving.modelserver.plan import shadows_of
from mainspring.serving.modelserver.spool import entries_after
from mainspring.storage.ports import Delta

if TYPE_CHECKING:
    import polars as pl

PERSONAL = ("inputs", "key", "features")
"""Columns of predictions that may say who somebody is: no least and greatest values are kept of them."""
_CHUNK_ROWS = 20_000
_PART_ROWS = 2_000
_POLL_S = 0.01
_TRIM_ENTRIES = 500
_COMPACT_EVERY = 200


def table_of(endpoint: str) -> str:
    """The Delta table with the predictions of an endpoint."""
    return f"predictions/{endpoint}"


def after(position: Mapping[str, int]) -> pl.Expr:
    """Rows of a log behind a position: a row's place is its spool and its number in there.

    Literals, not a join: files whose statistics say that they hold older rows are not read.

    Args:
        position: The last number that was read, by spool; all of other spools is new.
    """
    import polars as pl

    new = [(pl.col("spool") == spool) & (pl.col("seq") > done) for spool, done in position.items()]
    return pl.any_horizontal(~pl.col("spool").is_in(list(position)), *new)


def holds_predictions(table: str) -> bool:
    """Whether a Delta table is one with the predictions of an endpoint, or of its shadows."""
    return table.startswith((table_of(""), shadows_of("")))


Notice = Callable[[str, "pl.DataFrame"], None]
"""Gets an endpoint and rows of it that are about to be moved; after a kill it may get them again."""


class Compactor:
    """Moves logged rows to Delta tables and trims the spools.

    A row is moved exactly once: a batch is named by its spool and its last row's number, the table keeps the last
    number it has of each spool in the same commit as the rows, and the spool is trimmed after that commit.

    Args:
        folder: Where the spools are.
        delta: Where the predictions go.
        notice: Is shown the rows before they are moved.
    """

    def __init__(self, folder: Path, delta: Delta, notice: Notice | None = None) -> None:
        self._folder = folder
        self._delta = delta
        self._notice = notice

    def run(self, *, wait_s: float = 0.0) -> int:
        """Move everything that is committed now. Returns how many rows moved; 0 too when another process is at it.

        Args:
            wait_s: How long to wait for that other one, for who reads the tables next.
        """
        moved = 0
        with _exclusive(self._folder / "compact.lock", wait_s) as mine:
            if mine:
                for path in sorted(self._folder.glob("*.sqlite")):
                    moved += self._drain(path)
        return moved

    def _drain(self, path: Path) -> int:
        with _exclusive(path.with_suffix(".lock")) as dead:  # its worker holds this lock as long as it lives
            moved = self._move(path)
            if dead:
                # The file that is looked for goes last: killed in between, the next turn finds the rest.
                for suffix in (".sqlite-wal", ".sqlite-shm", ".lock", ".sqlite"):
                    path.with_suffix(suffix).unlink(missing_ok=True)
        return moved

    def _move(self, path: Path) -> int:
        moved = 0
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as conn:
            if not conn.execute("select 1 from sqlite_master where name = 'prediction'").fetchone():
                return 0  # its worker died before the first table was made
            # No further than what is there now: under load a reader that wants all of it never ends.
            ends = conn.execute("select deployment, max(seq) from prediction group by deployment").fetchall()
            for endpoint, end in ends:
                moved += self._move_endpoint(conn, path.stem, endpoint, end)
        return moved

    def _move_endpoint(self, conn: sqlite3.Connection, spool: str, endpoint: str, end: int) -> int:
        shadows = endpoint.startswith(shadows_of(""))
        table, moved = (endpoint if shadows else table_of(endpoint)), 0
        last = self._delta.batch(table, spool)
        for frame in _frames(conn, spool, endpoint, last, end):
            last = frame["seq"][-1]
            if shadows:
                frame = frame.drop("inputs", "deployment")  # they are with the answer that the user got
            elif self._notice is not None:
                self._notice(endpoint, frame)
            version = self._delta.append(table, frame, app=spool, batch=last, personal=PERSONAL)
            moved += frame.height
            if version is not None and version % _COMPACT_EVERY == _COMPACT_EVERY - 1:
                self._delta.compact(table)
        _trim(conn, endpoint, last)
        return moved


def _frames(conn: sqlite3.Connection, spool: str, endpoint: str, last: int, end: int) -> Iterator[pl.DataFrame]:
    """Rows of an endpoint as frames of a commit each, made a part at a time, as much as a processor's cache holds."""
    import polars as pl

    signatures, parts = _signatures(conn, endpoint), list[pl.DataFrame]()
    while last < end:
        columns = entries_after(conn, endpoint, last, end, limit=_PART_ROWS)
        parts.append(frame_of(endpoint, columns, signatures, spool=spool))
        last = columns["seq"][-1]
        if last == end or sum(part.height for part in parts) >= _CHUNK_ROWS:
            yield pl.concat(parts, rechunk=True)
            parts = []


def _trim(conn: sqlite3.Connection, endpoint: str, last: int) -> None:
    """Delete moved rows in small transactions, so that the worker's commits never wait long."""
    doomed = f"select seq from prediction where deployment = ? and seq <= ? limit {_TRIM_ENTRIES}"
    while conn.execute(f"delete from prediction where seq in ({doomed})", (endpoint, last)).rowcount > 0:
        pass


def _signatures(conn: sqlite3.Connection, endpoint: str) -> dict[int, Columns]:
    rows = conn.execute("select version, inputs from signature where deployment = ?", (endpoint,))
    return {version: msgspec.json.decode(text, type=list[tuple[str, str]]) for version, text in rows}


@contextmanager
def _exclusive(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Whether this process got the lock of that file, held until the block ends. The kernel frees it on any death."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(_POLL_S)
            else:
                yield True
                return
