"""What a point of a metric costs as there are more of them: bytes, CPU to add a batch of 100, CPU to read a curve.

Both tables are filled by SQL, run by run: MLflow's as its release 3.18 makes it on SQLite, with its key and its two
indexes, ours by the migrations. `python bench/measure_growth.py 100000000` adds a size of ours.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from figure import Figure
from place import folder

from mainspring.storage import open_tables

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
STEPS, KEYS = 1000, 10
A_RUN = STEPS * KEYS
BATCHES = 200
AT = 1_700_000_000_000
VALUE = "((s.n * 7919 + k.n) % 1000003) / 1000003.0"
MLFLOW = """
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
 run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
 CONSTRAINT metric_pk PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan), CHECK (is_nan IN (0, 1)));
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, key, step);
"""


@dataclass(frozen=True)
class Kind:
    """A table of points: how it is made, how a run of them and one point is put into it, how a curve is read."""

    name: str
    make: Callable[[Path], Path]
    fill: str
    add: str
    row: Callable[[int, int, int], tuple[object, ...]]
    read: str
    run: Callable[[int], object]


def _ours(root: Path) -> Path:
    tables = open_tables("", root)
    tables.migrate()
    tables.close()
    return next(root.glob("*.sqlite"))


def _theirs(root: Path) -> Path:
    path = root / "mlflow.db"
    conn = sqlite3.connect(path)
    conn.executescript(MLFLOW)
    conn.close()
    return path


def _uuid(run: int) -> str:
    return f"{run * 2654435761 % 2**64:032x}"


OURS = Kind(
    "Mainspring",
    _ours,
    f"INSERT INTO metric SELECT ?, k.n, s.n, {AT}000 + s.n * 1000, 0, {VALUE} FROM temp.s CROSS JOIN temp.k",
    "INSERT INTO metric VALUES (?, ?, ?, ?, 0, ?)",
    lambda run, key, step: (run, key, step, (AT + step) * 1000, step / 7),
    "SELECT step, at, value FROM metric WHERE run = ? AND key = 3 ORDER BY step, at, sort, value",
    lambda run: run,
)
THEIRS = Kind(
    "MLflow",
    _theirs,
    "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan)"
    f" SELECT ?, 'metric_' || k.n, {VALUE}, {AT} + s.n, s.n, 0 FROM temp.s CROSS JOIN temp.k",
    "INSERT INTO metrics (run_uuid, key, step, timestamp, is_nan, value) VALUES (?, ?, ?, ?, 0, ?)",
    lambda run, key, step: (_uuid(run), f"metric_{key}", step, AT + step, step / 7),
    "SELECT step, timestamp, value FROM metrics WHERE run_uuid = ? AND key = 'metric_3' ORDER BY timestamp, step",
    _uuid,
)


def measure() -> Iterator[Figure]:
    for size in SIZES:
        found = [dict(_of(kind, size)) for kind in (OURS, THEIRS)]
        for kind, values in zip((OURS, THEIRS), found, strict=True):
            yield from _shown(kind, size, values)
        yield Figure(f"{size:,} points: bytes a point, ours / MLflow", found[0]["bytes"] / found[1]["bytes"], "times")


def _shown(kind: Kind, size: int, values: dict[str, float]) -> Iterator[Figure]:
    what = f"{kind.name}, {size:,} points"
    yield Figure(f"{what}: on disk, table and indexes", values["bytes"], "bytes/point")
    yield Figure(f"{what}: adding 100 in a transaction", values["add"], "us CPU")
    yield Figure(f"{what}: reading a curve of {STEPS}", values["read"], "ms CPU")


def _of(kind: Kind, size: int) -> Iterator[tuple[str, float]]:
    with folder() as root:
        path = kind.make(root)
        conn = sqlite3.connect(path, isolation_level=None)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=NORMAL")
        empty = _bytes(conn)
        _fill(conn, kind, size)
        yield "bytes", (_bytes(conn) - empty) / size
        yield "add", _added(conn, kind, size // A_RUN)
        yield "read", _read(conn, kind, size // A_RUN)
        conn.close()


def _fill(conn: sqlite3.Connection, kind: Kind, size: int) -> None:
    for name, count in (("s", STEPS), ("k", KEYS)):
        conn.execute(f"CREATE TEMP TABLE {name} (n INTEGER PRIMARY KEY)")
        conn.executemany(f"INSERT INTO {name} VALUES (?)", [(number,) for number in range(1, count + 1)])
    runs = max(1, size // A_RUN)
    for run in range(runs):
        if run % 100 == 0:
            conn.execute("BEGIN")
        conn.execute(kind.fill, (kind.run(run),))
        if run % 100 == 99 or run == runs - 1:
            conn.execute("COMMIT")


def _bytes(conn: sqlite3.Connection) -> int:
    pages, size = (int(conn.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    return pages * size


def _added(conn: sqlite3.Connection, kind: Kind, runs: int) -> float:
    started = time.process_time()
    for batch in range(BATCHES):
        run = batch % max(1, runs)  # of all ages, as if all of them went on
        rows = [kind.row(run, 1 + i % KEYS, 2_000_000 + batch * 10 + i // KEYS) for i in range(100)]
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(kind.add, rows)
        conn.execute("COMMIT")
    return 1e6 * (time.process_time() - started) / BATCHES


def _read(conn: sqlite3.Connection, kind: Kind, runs: int) -> float:
    started = time.process_time()
    for turn in range(20):
        found = conn.execute(kind.read, (kind.run(turn * 37 % max(1, runs)),)).fetchall()
        assert len(found) >= STEPS
    return 1000 * (time.process_time() - started) / 20


if __name__ == "__main__":
    for size in map(int, sys.argv[1:]):
        for figure in _shown(OURS, size, dict(_of(OURS, size))):
            print(figure.row())
