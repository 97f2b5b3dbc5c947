"""Predictions through the real model server, one LightGBM row a request, each in the durable log before it is answered.

Beside it a uvicorn that reads the same bytes and does nothing: the ratio of CPU is what Mainspring costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from lightgbm import LGBMClassifier
from load import Answers, drive
from place import cpu_of, folder

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.demo.server import free_ports
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.supervisor import Supervisor

COLUMNS, TREES, SECONDS = 20, 200, 4.0
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
PATH = "/v2/models/bench/infer"


@dataclass(frozen=True)
class Cost:
    """Answers, CPU seconds of the server for each, and how many there were with those before the clock started."""

    found: Answers
    cpu_s: float
    answered: int


def measure() -> Iterator[Figure]:
    nothing = {}
    with _nothing() as (address, pid):
        for clients in (1, 32):
            nothing[clients] = _ask(address, pid, clients)
            rate = nothing[clients].found.per_second
            yield Figure(f"no-op uvicorn POST, {_who(clients)}", rate, "requests/s")
            yield Figure(f"no-op uvicorn POST, {_who(clients)}: CPU", 1e6 * nothing[clients].cpu_s, "us a request")
    for durability in ("fsync", "process"):
        with folder() as root:
            house = _house(root, durability)
            try:
                yield from _serving(house, durability, nothing)
            finally:
                house.close()


def _serving(house: Wiring, durability: str, nothing: dict[int, Cost]) -> Iterator[Figure]:
    supervisor, answered = house.get(Supervisor), 0
    supervisor.start()
    try:
        assert supervisor.pid is not None
        for clients in (1, 32):
            cost = _ask(supervisor.url, supervisor.pid, clients)
            answered += cost.answered
            what = f"predict one row, log {durability}, {_who(clients)}"
            yield Figure(what, cost.found.per_second, "requests/s")
            yield Figure(f"{what}: p50", cost.found.ms(0.5), "ms")
            yield Figure(f"{what}: p99", cost.found.ms(0.99), "ms")
            yield Figure(f"{what}: CPU", 1e6 * cost.cpu_s, "us a request")
            yield Figure(f"{what}: CPU / no-op", cost.cpu_s / nothing[clients].cpu_s, "times")
    finally:
        supervisor.stop()
    serving = house.get(Serving)
    serving.compact()
    logged = serving.predictions("bench").select(pl.col("id").n_unique()).collect().item()
    yield Figure(f"answers, all told, log {durability}", answered, "rows")
    yield Figure(
        f"answers without a row or rows without an answer, log {durability}", abs(answered - logged), "rows", 0
    )


def _who(clients: int) -> str:
    return f"{clients} client{'s' * (clients > 1)}"


def _ask(address: str, pid: int, clients: int) -> Cost:
    bodies = [_body(row) for row in np.random.default_rng(1).normal(size=(200, COLUMNS))]

    def ask(client: int, count: int) -> tuple[str, bytes]:
        return PATH, bodies[(client + count) % len(bodies)]

    warm = drive(address, ask, clients=clients, seconds=1)
    before = cpu_of(pid)
    found = drive(address, ask, clients=clients, seconds=SECONDS)
    used = cpu_of(pid) - before
    return Cost(found, used / len(found.seconds), len(warm.seconds) + len(found.seconds))


def _body(row: np.ndarray) -> bytes:
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [round(float(value), 4)]}
        for name, value in zip(NAMES, row, strict=True)
    ]
    return json.dumps({"inputs": inputs}).encode()


def _house(root: Path, durability: str) -> Wiring:
    (port,) = free_ports(1, near=17700)
    house = open_house(load(root, flags={"serving.port": port, "serving.durability": durability}))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, COLUMNS))
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    model = LGBMClassifier(n_estimators=TREES, num_threads=1, verbose=-1).fit(x, label, feature_name=NAMES)
    version = house.get(Registry).register("bench", model, example=pl.DataFrame(x[:5], schema=NAMES))
    house.get(Serving).deploy("bench", "bench", version.number)
    return house


@contextmanager
def _nothing() -> Iterator[tuple[str, int]]:
    """A uvicorn with the settings of the model server and an application that does nothing."""
    (port,) = free_ports(1, near=17800)
    options = ["--http", "httptools", "--loop", "uvloop", "--ws", "none", "--lifespan", "off", "--no-access-log"]
    options += ["--no-proxy-headers", "--no-server-header", "--log-level", "info", "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "noop:app", "--app-dir", str(Path(__file__).parent), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on" in line:
                break
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
