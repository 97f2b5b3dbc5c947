"""The log of a model server's worker, as it writes it and as it can be read, without a worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from mainspring.serving.modelserver.spool import COLUMNS, SCHEMA, entries_after

_MOST = 1 << 62


def write(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    columns: Sequence[tuple[str, str]],
    deployment: str = "live",
    version: int = 1,
) -> None:
    """A spool with rows of a version that takes these columns. A row says what is not as in `_USUAL`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    usual = {"version": version, "arm": "champion", "propensity": None, "rollout": "", "latency_us": 900}
    usual |= {"status": 200, "error": "", "caller": "", "wait_us": 100, "model_us": 200, "marks": [], "features": []}
    packed = msgspec.msgpack.encode([[{**usual, **row}[name] for name in COLUMNS] for row in rows])
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(SCHEMA)
        conn.execute(
            "insert into signature values(?, ?, ?)", (deployment, version, msgspec.json.encode(columns).decode())
        )
        conn.execute("insert into prediction values(?, ?, ?, ?)", (len(rows), deployment, len(rows), packed))
        conn.commit()


def read(path: Path, deployment: str) -> list[dict[str, object]]:
    """The rows of an endpoint in a spool."""
    with closing(sqlite3.connect(path)) as conn:
        columns = entries_after(conn, deployment, -1, _MOST, limit=_MOST)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
