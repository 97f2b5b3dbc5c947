"""Metrics into a real server: batches of 100 over HTTP, each stored when it is answered, and `run.log` in a script."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure
from load import drive
from place import cpu_of, folder, quantile, running

from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess
from mainspring.sdk.session import Session
from mainspring.sdk.sinks import HttpSink

BATCH = 100
SECONDS = 4.0
CALLS, CHUNKS = 500, 40


def measure() -> Iterator[Figure]:
    with folder() as root, running(root) as server:
        for clients in (1, 4):
            yield from _batches(server, clients)
        yield from _log(server, root)


def _batches(server: ServerProcess, clients: int) -> Iterator[Figure]:
    api = Api(server.address)
    runs = [_new_run(api) for _ in range(clients)]
    batches = iter(range(10**9))

    def ask(client: int, count: int) -> tuple[str, bytes]:
        first = next(batches) * 10
        points = b",".join(b'["m%d",%d.5,%d,1]' % (i % 10, i, first + i // 10) for i in range(BATCH))
        return f"/api/v1/runs/{runs[client]}/log", b'{"metrics":[' + points + b"]}"

    drive(server.address, ask, clients=clients, seconds=1)
    assert server.pid is not None
    before = cpu_of(server.pid)
    found = drive(server.address, ask, clients=clients, seconds=SECONDS)
    used = (cpu_of(server.pid) - before) / len(found.seconds)
    who = f"{clients} client{'s' * (clients > 1)}"
    yield Figure(f"log-batch of {BATCH} metrics over HTTP, {who}", found.per_second, "batches/s")
    yield Figure(f"log-batch, {who}: p50", found.ms(0.5), "ms")
    yield Figure(f"log-batch, {who}: p99", found.ms(0.99), "ms")
    yield Figure(f"log-batch, {who}: CPU of the server", 1e6 * used, "us a batch")


def _new_run(api: Api) -> str:
    made = api.post("/api/v1/runs", {"experiment": "bench"})
    assert isinstance(made, dict)
    return str(made["id"])


def _log(server: ServerProcess, root: Path) -> Iterator[Figure]:
    """Chunks with pauses of their own length, as a training loop has; the thread that sends runs all the while."""
    session = Session(HttpSink(server.address), root / "spool")
    run = session.run("bench", capture=False)
    found, calls, clock = [], [], time.perf_counter_ns
    for _ in range(CHUNKS):
        started = clock()
        for value in range(CALLS):
            run.log({"loss": value * 0.5})
        found.append((clock() - started) / CALLS / 1e3)
        time.sleep(0.02)
    for value in range(CALLS * CHUNKS):
        started = clock()
        run.log({"each": value * 0.5})
        calls.append((clock() - started) / 1e3)
        if value % CALLS == 0:
            time.sleep(0.02)
    begun = time.perf_counter()
    session.close()
    closing = time.perf_counter() - begun
    stored = [_stored(server, run.id, key) for key in ("loss", "each")]
    points = 2 * CALLS * CHUNKS
    yield Figure("run.log of one metric, median of chunks of 500", statistics.median(found), "us a call", 10)
    yield Figure("run.log of one metric, chunk at p95", quantile(found, 0.95), "us a call")
    yield Figure("run.log of one metric, each call timed: p50", quantile(calls, 0.5), "us", 10)
    yield Figure("run.log of one metric, each call timed: p99", quantile(calls, 0.99), "us", 50)
    yield Figure(f"end of a run after {points} points: until all is stored", closing, "s")
    yield Figure(f"points of that run not stored, of {points}", points - sum(stored), "points", 0)


def _stored(server: ServerProcess, run_id: str, key: str) -> int:
    found = Api(server.address).get(f"/api/v1/runs/{run_id}/metrics/{key}")
    assert isinstance(found, dict)
    return len(found["steps"])
