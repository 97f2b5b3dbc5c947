"""The same requests to Mainspring and to MLflow, in one run on one machine: batches, single metrics, histories."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import peer
from figure import Figure
from load import Answers, drive
from measure_history import arrow, long_run, new_run, ours, post, protocol
from peer import Contestant
from place import folder

BATCH = 100
CLIENTS = (1, 4, 16)
SECONDS = 5.0
CALLS = 150
TRIES, AGAIN_S = 10, 2.0
CLIENT = """
import sys, time, statistics
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
run = client.create_run(client.create_experiment(sys.argv[2]))
found = []
for step in range(int(sys.argv[3])):
    started = time.perf_counter()
    client.log_metric(run.info.run_id, "loss", 1 / (step + 1), step=step, synchronous=True)
    found.append(time.perf_counter() - started)
print(statistics.median(found))
"""


def measure() -> Iterator[Figure]:
    with folder() as root:
        found: dict[str, dict[str, float]] = {}
        for name, opened in (
            ("ours", ours(root / "ours")),
            ("default", peer.mlflow(root / "default")),
            ("one", peer.mlflow(root / "one", workers=("--workers", "1"))),
        ):
            with opened as contestant:
                found[name] = dict(_of(contestant))
                yield from _shown(contestant, found[name])
        yield from _compared(found)
        yield from _raw(root, found["ours"])


def _of(contestant: Contestant) -> Iterator[tuple[str, float]]:
    yield "start", contestant.started_s
    yield "start_cpu", contestant.cpu_s()
    yield "memory", contestant.memory_mb()
    yield from batches_of(contestant)
    yield "metric", _single(contestant.address)
    run = long_run(contestant.address)
    yield "history", protocol(contestant, run).wall_s
    if contestant.name == "Mainspring":
        yield "columns", arrow(contestant, run).wall_s


def batches_of(contestant: Contestant) -> Iterator[tuple[str, float]]:
    """What batches of metrics come to at a contestant, for each number of clients."""
    for clients in CLIENTS:
        before = contestant.cpu_s()
        answers = batches(contestant.address, clients)
        used = contestant.cpu_s() - before
        yield f"rate{clients}", answers.per_second
        yield f"p99_{clients}", answers.ms(0.99)
        yield f"failed{clients}", float(len(answers.failed))
        yield f"cpu{clients}", 1e6 * used / max(1, len(answers.seconds)) / BATCH


def batches(address: str, clients: int) -> Answers:
    """Batches from so many clients, each to a run of its own."""
    runs = _new_runs(address, clients)
    batches = iter(range(10**9))

    def ask(client: int, count: int) -> tuple[str, bytes]:
        first = next(batches) * 10
        points = b",".join(
            b'{"key":"m%d","value":%d.5,"timestamp":1700000000000,"step":%d}' % (i % 10, i, first + i // 10)
            for i in range(BATCH)
        )
        return "/api/2.0/mlflow/runs/log-batch", b'{"run_id":"%s","metrics":[%s]}' % (runs[client].encode(), points)

    return drive(address, ask, clients=clients, seconds=SECONDS, strict=False)


def _new_runs(address: str, count: int) -> list[str]:
    """On a crowded machine MLflow's supervisor kills workers that are late, and starts others: then ask again."""
    for attempt in range(TRIES):
        try:
            experiment = post(address, "experiments/create", {"name": f"{count} runs, {attempt}"})["experiment_id"]
            return [new_run(address, experiment) for _ in range(count)]
        except (HTTPException, OSError):
            if attempt == TRIES - 1:
                raise
            time.sleep(AGAIN_S)
    raise AssertionError("the last try returns or raises")


def _single(address: str) -> float:
    command = [peer.python(), "-W", "ignore", "-c", CLIENT, address, "single", str(CALLS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return 1000 * float(done.stdout.split()[-1])


def _shown(contestant: Contestant, found: dict[str, float]) -> Iterator[Figure]:
    name = contestant.name
    yield Figure(f"{name}: start to healthy, off a new database", found["start"], "s")
    yield Figure(f"{name}: start to healthy, CPU of all processes", found["start_cpu"], "s")
    yield Figure(f"{name}: idle memory (PSS of all processes)", found["memory"], "MB")
    for clients in CLIENTS:
        yield Figure(f"{name}: log-batch of {BATCH} metrics, {clients} clients", found[f"rate{clients}"], "requests/s")
        limit = 50 if name == "Mainspring" else None
        yield Figure(f"{name}: {clients} clients, p99", found[f"p99_{clients}"], "ms", limit)
        limit = 0 if name == "Mainspring" else None
        yield Figure(f"{name}: {clients} clients, failed requests", found[f"failed{clients}"], "requests", limit)
        yield Figure(f"{name}: {clients} clients, server CPU", found[f"cpu{clients}"], "us a metric")
    yield Figure(f"{name}: log-metric through the mlflow client", found["metric"], "ms a call")
    yield Figure(f"{name}: a history of 100,000 points", found["history"], "s")
    if "columns" in found:
        yield Figure(f"{name}: the same by columns, natively", found["columns"], "s")


def _compared(found: dict[str, dict[str, float]]) -> Iterator[Figure]:
    mine = found["ours"]
    for name, theirs in (("MLflow", found["default"]), ("MLflow with one worker", found["one"])):
        for clients in CLIENTS:
            rate = mine[f"rate{clients}"] / max(theirs[f"rate{clients}"], 1e-9)
            yield Figure(f"log-batch, {clients} clients: ours / {name}", rate, "times", 20, more_is_better=True)
            cpu = mine[f"cpu{clients}"] / theirs[f"cpu{clients}"]
            yield Figure(f"server CPU a metric, {clients} clients: ours / {name}", cpu, "times", 1 / 20)
        metric = mine["metric"] / theirs["metric"]
        yield Figure(
            f"log-metric through the client: ours / {name}", metric, "times", 1 / 5 if "one" not in name else None
        )
        yield Figure(f"history of 100,000 points: ours / {name}", mine["history"] / theirs["history"], "times", 1 / 10)
        yield Figure(f"the same by columns: ours / {name}", mine["columns"] / theirs["history"], "times", 1 / 50)


def _raw(root: Path, mine: dict[str, float]) -> Iterator[Figure]:
    """The same rows through the bare driver, one transaction a batch, into a table like ours."""
    conn = sqlite3.connect(root / "raw.db", isolation_level=None)
    conn.execute("pragma journal_mode=wal")
    conn.execute("pragma synchronous=normal")
    columns = "run integer, key integer, step integer, at integer, sort integer, value real"
    conn.execute(f"create table metric ({columns}, primary key (run, key, step, at, sort, value)) without rowid")
    started, count = time.perf_counter(), 0
    while time.perf_counter() < started + SECONDS:
        first = count * 10
        rows = [(1, i % 10, first + i // 10, 1_700_000_000_000_000, 0, i + 0.5) for i in range(BATCH)]
        conn.execute("begin immediate")
        conn.executemany("insert or ignore into metric values (?,?,?,?,?,?)", rows)
        conn.execute("commit")
        count += 1
    rate = count / (time.perf_counter() - started)
    conn.close()
    yield Figure("the same rows through the bare SQLite driver", rate, "batches/s")
    best = max(mine[f"rate{clients}"] for clients in CLIENTS)
    yield Figure("log-batch over HTTP / the bare driver", best / rate, "times", 0.4, more_is_better=True)
