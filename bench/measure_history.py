"""A history of 100,000 points from Mainspring and from MLflow, in one run, on SQLite and on Postgres.

Over the protocol in pages of 25,000, as the client asks; and in our own forms, by columns. CPU is that of all of the
server's processes without Postgres; by the clock the client is in it, which decodes as fast as can be. MLflow's Python
needs psycopg.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import peer
import polars as pl
from figure import Figure
from peer import Contestant
from place import folder, server

from mainspring.testing.postgres import PostgresServer
from mainspring.tracking.arrow import ARROW

HISTORY = 100_000
PAGE = 25_000
READINGS = 9


@dataclass(frozen=True)
class Reading:
    """What it takes to read a history once, medians: CPU of the server, and by the clock."""

    cpu_s: float
    wall_s: float


@contextmanager
def ours(root: Path, *, url: str = "") -> Iterator[Contestant]:
    """Mainspring as a contestant, on SQLite or the database at `url`."""
    root.mkdir(parents=True)
    made = server(root, {"MAINSPRING_STORAGE_DB": url} if url else {})
    started = time.perf_counter()
    made.start()
    try:
        assert made.pid is not None
        yield Contestant("Mainspring", made.address, made.pid, time.perf_counter() - started)
    finally:
        made.stop()


def measure() -> Iterator[Figure]:
    with folder() as root:
        yield from _compared("SQLite", root, "", "")
        database = PostgresServer()
        try:
            own, its = (database.url(database.make_database()) for _ in range(2))
            yield from _compared("Postgres", root, own, its)
        finally:
            database.stop()


def _compared(where: str, root: Path, own: str, its: str) -> Iterator[Figure]:
    with (
        ours(root / f"ours on {where}", url=own) as mine,
        peer.mlflow(root / f"theirs on {where}", url=its, workers=("--workers", "1")) as theirs,
    ):
        runs = {one.name: long_run(one.address) for one in (mine, theirs)}
        beside = protocol(theirs, runs[theirs.name])
        yield Figure(f"{where}, {theirs.name}: CPU", beside.cpu_s, "s")
        yield Figure(f"{where}, {theirs.name}: by the clock", beside.wall_s, "s")
        for what, read, limit in (
            ("over the protocol", protocol, 1 / 10),
            ("by columns, JSON", columns, None),
            ("by columns, Arrow", arrow, 1 / 50),
        ):
            found = read(mine, runs[mine.name])
            yield Figure(f"{where}, {what}: CPU", 1e3 * found.cpu_s, "ms")
            yield Figure(f"{where}, {what}: by the clock", 1e3 * found.wall_s, "ms")
            yield Figure(f"{where}, {what}: CPU, ours / MLflow", found.cpu_s / beside.cpu_s, "times", limit)
            yield Figure(f"{where}, {what}: clock, ours / MLflow", found.wall_s / beside.wall_s, "times", limit)


def long_run(address: str) -> str:
    """A run with a metric of 100,000 points."""
    run = new_run(address, post(address, "experiments/create", {"name": "history"})["experiment_id"])
    for first in range(0, HISTORY, 1000):
        points = [
            {"key": "loss", "value": 1 / (step + 1), "timestamp": 1_700_000_000_000 + step, "step": step}
            for step in range(first, first + 1000)
        ]
        post(address, "runs/log-batch", {"run_id": run, "metrics": points})
    return run


def protocol(contestant: Contestant, run: str) -> Reading:
    """The history by pages of MLflow's protocol."""

    def read() -> int:
        token, count = "", 0
        while True:
            path = f"metrics/get-history?run_id={run}&metric_key=loss&max_results={PAGE}"
            address = f"{contestant.address}/api/2.0/mlflow/{path}" + (f"&page_token={token}" if token else "")
            plain = msgspec.json.decode(_got(address))
            count += len(plain["metrics"])
            token = str(plain.get("next_page_token", ""))
            if not token:
                return count

    return _reading(contestant, read, 3)


def columns(contestant: Contestant, run: str) -> Reading:
    """The history by columns, as JSON."""
    address = f"{contestant.address}/api/v1/runs/{run}/metrics/loss"
    return _reading(contestant, lambda: len(msgspec.json.decode(_got(address))["values"]), READINGS)


def arrow(contestant: Contestant, run: str) -> Reading:
    """The history by columns, as an Arrow stream."""
    address = f"{contestant.address}/api/v1/runs/{run}/metrics/loss"
    return _reading(contestant, lambda: pl.read_ipc_stream(_got(address, ARROW)).height, READINGS)


def _reading(contestant: Contestant, read: Callable[[], int], times: int) -> Reading:
    read()
    cpu, took = contestant.cpu_s(), []
    for _ in range(times):
        started = time.perf_counter()
        count = read()
        took.append(time.perf_counter() - started)
        assert count == HISTORY, f"{count} of {HISTORY} points came back"
    return Reading((contestant.cpu_s() - cpu) / times, statistics.median(took))


def new_run(address: str, experiment: object) -> str:
    """The id of a new run, made over the protocol."""
    body = {"experiment_id": experiment, "start_time": 1_700_000_000_000}
    made = cast("dict[str, Any]", post(address, "runs/create", body))
    return str(made["run"]["info"]["run_id"])


def post(address: str, path: str, body: dict[str, object]) -> dict[str, object]:
    """What the protocol answers."""
    asked = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def _got(address: str, kind: str = "application/json") -> bytes:
    asked = urllib.request.Request(address, headers={"Accept": kind})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return cast("bytes", answer.read())
