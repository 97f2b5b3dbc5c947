"""Batches of metrics to Mainspring and to MLflow on one Postgres, and the same rows through its bare driver.

The server is that of the tests: it does not wait for the disk, for neither of them. MLflow's Python needs psycopg.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import peer
from figure import Figure
from measure_history import ours
from measure_mlflow import BATCH, CLIENTS, SECONDS, batches_of
from place import folder

from mainspring.testing.postgres import PostgresServer

TABLE = """
CREATE TABLE metric (run bigint, key bigint, step bigint, at bigint, sort bigint, value float8,
 PRIMARY KEY (run, key, step, at, sort, value))
"""
INSERT = """
INSERT INTO metric SELECT * FROM unnest
 (%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::float8[]) ON CONFLICT DO NOTHING
"""


def measure() -> Iterator[Figure]:
    server = PostgresServer()
    try:
        with folder() as root:
            url, its, raw = (server.url(server.make_database()) for _ in range(3))
            with ours(root / "ours", url=url) as contestant:
                mine = dict(batches_of(contestant))
                yield from _shown("Mainspring", mine)
            with peer.mlflow(root / "theirs", url=its) as contestant:
                theirs = dict(batches_of(contestant))
                yield from _shown("MLflow", theirs)
        yield from _compared(mine, theirs)
        rate = _raw(raw)
        yield Figure("Postgres: the same rows through the bare driver", rate, "batches/s")
        best = max(mine[f"rate{clients}"] for clients in CLIENTS)
        yield Figure("Postgres: log-batch over HTTP / the bare driver", best / rate, "times", 0.4, more_is_better=True)
    finally:
        server.stop()


def _shown(name: str, found: dict[str, float]) -> Iterator[Figure]:
    own = name == "Mainspring"
    for clients in CLIENTS:
        what = f"Postgres, {name}: {clients} clients"
        yield Figure(f"{what}, log-batch of {BATCH} metrics", found[f"rate{clients}"], "requests/s")
        yield Figure(f"{what}, p99", found[f"p99_{clients}"], "ms", 50 if own else None)
        yield Figure(f"{what}, failed requests", found[f"failed{clients}"], "requests", 0 if own else None)
        yield Figure(f"{what}, CPU of the server without Postgres", found[f"cpu{clients}"], "us a metric")


def _compared(mine: dict[str, float], theirs: dict[str, float]) -> Iterator[Figure]:
    for clients in CLIENTS:
        rate = mine[f"rate{clients}"] / max(theirs[f"rate{clients}"], 1e-9)
        yield Figure(f"Postgres, log-batch, {clients} clients: ours / MLflow", rate, "times", 20, more_is_better=True)
        cpu = mine[f"cpu{clients}"] / theirs[f"cpu{clients}"]
        yield Figure(f"Postgres, CPU a metric, {clients} clients: ours / MLflow", cpu, "times", 1 / 20)


def _raw(url: str) -> float:
    """Batches a second, each a transaction of one statement, as ours."""
    import psycopg

    with psycopg.connect(url) as conn:
        conn.execute(TABLE)
        conn.commit()
        started, count = time.perf_counter(), 0
        while time.perf_counter() < started + SECONDS:
            first = count * 10
            rows = [(1, i % 10, first + i // 10, 1_700_000_000_000_000, 0, i + 0.5) for i in range(BATCH)]
            conn.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
            conn.commit()
            count += 1
        return count / (time.perf_counter() - started)
