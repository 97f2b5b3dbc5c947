"""Predictions through the real model server, and what each costs: CPU seconds of the server against a uvicorn that
reads the same bytes and does nothing, in one run. Servers have one core, the clients another, where there are two.

Every contestant answers one request that is checked against the model itself before the clock starts.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from figure import Figure
from lightgbm import LGBMClassifier
from load import Answers, drive
from place import cpu_of, folder
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.demo.server import free_ports
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.supervisor import Supervisor

COLUMNS, SECONDS, BODIES = 8, 4.0, 200
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
FEW, MANY = 1, 64
OURS = {"sklearn": "logistic regression", "forest": "random forest of 100 trees", "trees": "LightGBM of 200 trees"}


@dataclass(frozen=True)
class Cost:
    """Answers, CPU seconds of the server for each, and how many there were with those before the clock started."""

    found: Answers
    cpu_s: float
    answered: int


@dataclass(frozen=True)
class Shape:
    """How a request is put: its body from rows, and its headers."""

    body: Callable[[np.ndarray], bytes]
    headers: Callable[[bytes], str] = lambda _: "content-type: application/json\r\n"


def measure() -> Iterator[Figure]:
    everywhere = os.sched_getaffinity(0)
    try:
        yield from _measure()
    finally:
        os.sched_setaffinity(0, everywhere)


def _measure() -> Iterator[Figure]:
    nothing = {}
    with _nothing() as (address, pid):
        for clients in (FEW, MANY):
            nothing[clients] = _ask(address, pid, "none", MATRIX, clients=clients)
            rate = nothing[clients].found.per_second
            yield Figure(f"no-op uvicorn POST, {_who(clients)}", rate, "requests/s")
            spread = nothing[clients].found.ms(0.99) / nothing[clients].found.ms(0.5)
            yield Figure(f"no-op uvicorn POST, {_who(clients)}: p99 / p50", spread, "times")
            yield Figure(f"no-op uvicorn POST, {_who(clients)}: CPU", 1e6 * nothing[clients].cpu_s, "us a request")
    with folder() as root:
        house = _house(root)
        supervisor, answered = house.get(Supervisor), 0
        try:
            with _on_core(0):
                supervisor.start()
            bare: dict[int, Cost] = {}
            for name, log, shape, how in _contestants():
                for clients in (FEW, MANY):
                    assert supervisor.pid is not None
                    cost = _ask(supervisor.url, supervisor.pid, name, shape, clients=clients)
                    answered += cost.answered + 1 if log else 0
                    yield from _figures(f"{how}, {_who(clients)}", cost, nothing[clients])
                    yield from _held(name, log, shape, clients, cost, nothing[clients], bare)
            yield from _batches(supervisor)
        finally:
            supervisor.stop()
        yield from _logged(house, answered)
        house.close()


def _contestants() -> Iterator[tuple[str, bool, Shape, str]]:
    one = "one row of 8 numbers"
    yield "sklearn-off", False, MATRIX, f"{OURS['sklearn']}, {one}, log off"
    yield "sklearn", True, MATRIX, f"{OURS['sklearn']}, {one}, durable log"
    yield "sklearn-off", False, BY_NAME, f"{OURS['sklearn']}, {one} by name, log off"
    yield "trees-off", False, MATRIX, f"{OURS['trees']}, {one}, log off"
    yield "forest-off", False, MATRIX, f"{OURS['forest']}, {one}, log off"


def _figures(what: str, cost: Cost, nothing: Cost) -> Iterator[Figure]:
    yield Figure(what, cost.found.per_second, "requests/s")
    yield Figure(f"{what}: p50", cost.found.ms(0.5), "ms")
    most = 5 if what.endswith(_who(MANY)) else None
    yield Figure(f"{what}: p99 / p50", cost.found.ms(0.99) / cost.found.ms(0.5), "times", most)
    yield Figure(f"{what}: CPU", 1e6 * cost.cpu_s, "us a request")
    yield Figure(f"{what}: CPU / no-op", cost.cpu_s / nothing.cpu_s, "times")


def _held(
    name: str, log: bool, shape: Shape, clients: int, cost: Cost, nothing: Cost, bare: dict[int, Cost]
) -> Iterator[Figure]:
    """What the product promises of one-row requests to a logistic regression."""
    if not name.startswith("sklearn") or shape is not MATRIX:
        return
    if not log:
        bare[clients] = cost
        if clients == MANY:
            yield Figure("CPU of a prediction / no-op, 64 clients, log off", cost.cpu_s / nothing.cpu_s, "times", 2.2)
    elif clients == MANY:
        yield Figure("CPU with the durable log / without, 64 clients", cost.cpu_s / bare[clients].cpu_s, "times", 1.5)
    else:
        more = cost.found.ms(0.5) - bare[clients].found.ms(0.5)
        yield Figure("p50 with the durable log - without, 1 client", more, "ms")


def _batches(supervisor: Supervisor) -> Iterator[Figure]:
    """A hundred rows a request, as JSON and as bytes."""
    assert supervisor.pid is not None
    found = {}
    for what, shape in (("JSON", MATRIX), ("binary tensors", BINARY)):
        cost = _ask(supervisor.url, supervisor.pid, "trees-off", shape, clients=8, rows=100)
        found[what] = cost
        yield Figure(f"{OURS['trees']}, 100 rows as {what}, 8 clients", cost.found.per_second, "requests/s")
        yield Figure(f"{OURS['trees']}, 100 rows as {what}, 8 clients: p50", cost.found.ms(0.5), "ms")
        yield Figure(f"{OURS['trees']}, 100 rows as {what}, 8 clients: CPU", 1e6 * cost.cpu_s, "us a request")
    rate = found["binary tensors"].found.per_second / found["JSON"].found.per_second
    yield Figure("100 rows as binary tensors / as JSON, requests/s", rate, "times")


def _logged(house: Wiring, answered: int) -> Iterator[Figure]:
    serving = house.get(Serving)
    serving.compact()
    logged = serving.predictions("sklearn").select(pl.col("id").n_unique()).collect().item()
    yield Figure("answers with a durable log, all told", answered, "rows")
    yield Figure("answers without a row or rows without an answer", abs(answered - logged), "rows", 0)


def _who(clients: int) -> str:
    return f"{clients} client{'s' * (clients > 1)}"


def _ask(address: str, pid: int, name: str, shape: Shape, *, clients: int, rows: int = 1) -> Cost:
    path = f"/v2/models/{name}/infer"
    given = np.random.default_rng(1).normal(size=(BODIES, rows, COLUMNS)).round(4)
    bodies = [shape.body(part) for part in given]
    if name != "none":
        _check(address + path, name, shape, given[0])

    def ask(client: int, count: int) -> tuple[str, bytes]:
        return path, bodies[(client + count) % len(bodies)]

    with _on_core(1):
        warm = drive(address, ask, clients=clients, seconds=1, headers=shape.headers(bodies[0]))
        before = cpu_of(pid)
        found = drive(address, ask, clients=clients, seconds=SECONDS, headers=shape.headers(bodies[0]))
        used = cpu_of(pid) - before
    return Cost(found, used / len(found.seconds), len(warm.seconds) + len(found.seconds))


def _check(url: str, name: str, shape: Shape, rows: np.ndarray) -> None:
    """The answer is the model's own."""
    body = shape.body(rows)
    headers = dict(line.split(": ", 1) for line in shape.headers(body).split("\r\n") if line)
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request) as reply:
        text = reply.read()
    model = MODELS[name.removesuffix("-off")]
    outputs = json.loads(text[: int(reply.headers.get("inference-header-content-length", len(text)))])["outputs"]
    (found,) = [entry["data"] for entry in outputs if entry["name"] == "probability"]
    assert np.array_equal(found, model.predict_proba(rows)[:, 1]), (name, found)


def _matrix(rows: np.ndarray) -> bytes:
    data = [round(float(value), 4) for value in rows.ravel()]
    given = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": data}
    return json.dumps({"inputs": [given]}).encode()


def _by_name(rows: np.ndarray) -> bytes:
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": [round(float(value), 4) for value in column]}
        for name, column in zip(NAMES, rows.T, strict=True)
    ]
    return json.dumps({"inputs": inputs}).encode()


def _binary(rows: np.ndarray) -> bytes:
    raw = struct.pack(f"<{rows.size}d", *rows.ravel())
    head = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    return json.dumps({"inputs": [head]}).encode() + raw


def _binary_headers(body: bytes) -> str:
    return f"inference-header-content-length: {body.index(b']}') + 2}\r\ncontent-type: application/octet-stream\r\n"


MATRIX, BY_NAME, BINARY = Shape(_matrix), Shape(_by_name), Shape(_binary, _binary_headers)
MODELS: dict[str, Any] = {}


def _house(root: Path) -> Wiring:
    """Each model behind two endpoints: one logs every prediction, one ("-off") none."""
    (port,) = free_ports(1, near=17700)
    house = open_house(load(root, flags={"serving.port": port}))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5_000, COLUMNS))
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    MODELS["sklearn"] = LogisticRegression().fit(x, label)
    MODELS["forest"] = RandomForestClassifier(100, max_depth=8, random_state=0).fit(x, label)
    MODELS["trees"] = LGBMClassifier(n_estimators=200, num_threads=1, verbose=-1).fit(x, label)
    for name, model in MODELS.items():
        version = house.get(Registry).register(name, model, example=pl.DataFrame(x[:5], schema=NAMES))
        house.get(Serving).deploy(name, name, version.number)
        house.get(Serving).deploy(f"{name}-off", name, version.number, options=Options(log_share=0.0))
    return house


@contextmanager
def _on_core(number: int) -> Iterator[None]:
    """This process, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _nothing() -> Iterator[tuple[str, int]]:
    """A uvicorn that does nothing."""
    (port,) = free_ports(1, near=17800)
    options = ["--http", "httptools", "--loop", "uvloop", "--ws", "none", "--lifespan", "off", "--no-access-log"]
    options += ["--no-proxy-headers", "--no-server-header", "--log-level", "info", "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "noop:app", "--app-dir", str(Path(__file__).parent), *options]
    with _on_core(0):
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
