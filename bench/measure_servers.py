"""One model behind our model server and behind others, in one run: what a request costs, of one row, and of 100.

Each server has one core and is alone on it; the clients have another. Before the clock starts, its answer is compared
with the model's. See `rivals.py` for where the others come from.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import rivals
from figure import Figure
from lightgbm import LGBMClassifier
from load import JSON, Answers, drive
from place import folder
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from mainspring.demo.server import free_ports
from mainspring.registry.manifests import Seal
from mainspring.registry.packages import build, write_folder
from mainspring.serving.modelserver.plan import write_plan
from mainspring.serving.standalone import plan_of
from mainspring.serving.supervisor import ServerOptions, Supervisor

COLUMNS, SECONDS, BODIES, ROWS = 8, 4.0, 200, 100
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
FEW, SOME, MANY = 1, 16, 64
CORES = sorted(os.sched_getaffinity(0))
Body = Callable[[np.ndarray], bytes]
Start = Callable[[Path], AbstractContextManager[rivals.Rival]]


@dataclass(frozen=True)
class Contestant:
    """A server: how it is started, asked with so many rows and understood; `least`: how many times our CPU it takes."""

    name: str
    model: str
    start: Start
    body: Body
    read: Callable[[Any], float]
    least: float | None = None
    rows: int = 1
    headers: str = JSON

    @property
    def crowd(self) -> tuple[int, int]:
        """Numbers of clients; fewer where a request is more."""
        return (FEW, MANY) if self.rows == 1 else (FEW, SOME)


@dataclass(frozen=True)
class Cost:
    """Of one number of clients: the answers, and the server's CPU seconds for each."""

    found: Answers
    cpu_s: float


def measure() -> Iterator[Figure]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5_000, COLUMNS)).astype(np.float32).astype(np.float64)
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    models = {
        "logistic": LogisticRegression().fit(x, label),
        "forest": RandomForestClassifier(100, max_depth=8, random_state=0).fit(x, label),
        "LightGBM": LGBMClassifier(num_threads=1, verbose=-1).fit(x, label, feature_name=NAMES),
    }
    found: dict[str, dict[int, Cost]] = {}
    for one in _contestants(x, models):
        with folder() as root:
            np.save(root / "x.npy", x)
            np.save(root / "y.npy", label)
            yield from _one(root, one, models[one.model], x[:BODIES], found)
    yield from _bars(found)


def _contestants(x: np.ndarray, models: dict[str, Any]) -> Iterator[Contestant]:
    yield Contestant("Mainspring", "logistic", partial(_ours, models["logistic"], x), _matrix, _probability)
    if rivals.python_of("MAINSPRING_MLSERVER"):
        yield Contestant("MLServer", "logistic", partial(rivals.mlserver, model="logistic"), _proba, _second, 9)
    if rivals.python_of("MAINSPRING_BENTOML"):
        yield Contestant("BentoML", "logistic", rivals.bentoml, _rows, lambda said: float(said[0][1]), 30)
    if rivals.python_of("MAINSPRING_KSERVE"):
        yield Contestant("KServe", "logistic", rivals.kserve, _matrix, _second)
    if rivals.python_of("MAINSPRING_RAY"):
        yield Contestant("Ray Serve", "logistic", rivals.ray_serve, _rows, lambda said: float(said[0][1]))
    if rivals.python_of("MAINSPRING_PEER"):
        plain, signed = (partial(rivals.mlflow, signed=which) for which in (False, True))
        yield Contestant("MLflow without a signature", "logistic", plain, _inputs, _label, 12)
        yield Contestant("MLflow with a signature", "logistic", signed, _split, _label, 80)
    yield Contestant("Mainspring", "forest", partial(_ours, models["forest"], x), _matrix, _probability)
    yield Contestant("Mainspring, ONNX", "forest", partial(_ours, _onnx(models["forest"], x), x), _matrix, _probability)
    if rivals.python_of("MAINSPRING_MLSERVER"):
        batched = partial(rivals.mlserver, model="forest", batched=True)
        yield Contestant("MLServer with batching", "forest", batched, _proba, _second)
    trees = partial(_ours, models["LightGBM"], x)
    yield Contestant("Mainspring", "LightGBM", trees, _matrix, _probability, rows=ROWS)
    yield Contestant("Mainspring, bytes", "LightGBM", trees, _bytes, _probability, rows=ROWS, headers=_in_bytes())
    if rivals.python_of("MAINSPRING_MLSERVER"):
        theirs = partial(rivals.mlserver, model="lightgbm")
        yield Contestant("MLServer", "LightGBM", theirs, _matrix, _first, rows=ROWS)


def _onnx(model: Any, x: np.ndarray) -> Any:
    from skl2onnx import to_onnx

    return to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False})


def _one(root: Path, one: Contestant, model: Any, x: np.ndarray, found: dict[str, dict[int, Cost]]) -> Iterator[Figure]:
    what = f"{one.model}, {one.name}" + (f", {one.rows} rows" if one.rows > 1 else "")
    bodies = [one.body(np.roll(x, -start, axis=0)[: one.rows]) for start in range(len(x))]
    with _on_core(0), one.start(root) as server, _on_core(1):
        said = one.read(_asked(server.address + server.path, bodies[0], one.headers))
        expected = model.predict_proba(x[:1])[0, 1]
        assert abs(said - expected) < 1e-5 or said == (expected > 0.5), (one.name, said, expected)
        for clients in one.crowd:
            cost = _cost(server, bodies, clients, one.headers)
            found.setdefault(what, {})[clients] = cost
            who = f"{what}, {clients} client{'s' * (clients > 1)}"
            yield Figure(who, cost.found.per_second, "requests/s")
            yield Figure(f"{who}: p50", cost.found.ms(0.5), "ms")
            yield Figure(f"{who}: p99 / p50", cost.found.ms(0.99) / cost.found.ms(0.5), "times")
            yield Figure(f"{who}: CPU", 1e6 * cost.cpu_s, "us a request")
        yield Figure(f"{what}: memory", server.memory_mb(), "MB")
        if one.least is not None:
            ours = found["logistic, Mainspring"][MANY].cpu_s
            ratio = found[what][MANY].cpu_s / ours
            yield Figure(f"CPU of a request, {MANY} clients: {one.name} / ours", ratio, "times", one.least, True)


def _cost(server: rivals.Rival, bodies: list[bytes], clients: int, headers: str) -> Cost:
    def ask(client: int, count: int) -> tuple[str, bytes]:
        return server.path, bodies[(client + count) % len(bodies)]

    drive(server.address, ask, clients=clients, seconds=1, headers=headers)
    before = server.cpu_s()
    found = drive(server.address, ask, clients=clients, seconds=SECONDS, headers=headers)
    return Cost(found, (server.cpu_s() - before) / len(found.seconds))


def _bars(found: dict[str, dict[int, Cost]]) -> Iterator[Figure]:
    many = found.get(f"LightGBM, MLServer, {ROWS} rows", {})
    for name in ("Mainspring", "Mainspring, bytes"):
        ours = found[f"LightGBM, {name}, {ROWS} rows"]
        for clients, cost in many.items():
            who = f"LightGBM, {ROWS} rows, {clients} client{'s' * (clients > 1)}"
            yield Figure(f"{who}: CPU of MLServer / {name}", cost.cpu_s / ours[clients].cpu_s, "times", 3, True)
            rate = ours[clients].found.per_second / cost.found.per_second
            yield Figure(f"{who}: requests a second, {name} / MLServer", rate, "times", 3, True)
    theirs = found.get("forest, MLServer with batching")
    if theirs is None:
        return
    for name, least in (("Mainspring", 3), ("Mainspring, ONNX", 12)):
        ours = found[f"forest, {name}"]
        ratio = ours[MANY].found.per_second / theirs[MANY].found.per_second
        yield Figure(f"forest, {MANY} clients: {name} / MLServer with batching", ratio, "times", least, True)
        p50 = ours[FEW].found.ms(0.5) / theirs[FEW].found.ms(0.5)
        yield Figure(f"forest, {FEW} client: p50 of {name} / MLServer", p50, "times", 0.1)


@contextmanager
def _ours(model: Any, x: np.ndarray, root: Path) -> Iterator[rivals.Rival]:
    """Our model server over a package, without a log."""
    package = build(model, pl.DataFrame(x[:5], schema=NAMES))
    seal = Seal("m", 1, package.digest, "", "")
    place = write_folder(root / "package", package.manifest.to_bytes(), package.files, seal)
    write_plan(root / "plan", plan_of(place, name="m"))
    (port,) = free_ports(1, near=17700)
    server = Supervisor(root / "plan", ServerOptions(port=port, drain_s=0.0))
    try:
        url = server.start()
        assert server.pid is not None
        yield rivals.Rival(url, "/v2/models/m/infer", server.pid, 0.0)
    finally:
        server.stop()


def _asked(url: str, body: bytes, headers: str) -> Any:
    named = dict(line.split(": ") for line in headers.split("\r\n") if line)
    with urllib.request.urlopen(urllib.request.Request(url, body, named)) as reply:
        return json.load(reply)


def _matrix(rows: np.ndarray, **more: object) -> bytes:
    given = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [given], **more}).encode()


def _head(rows: np.ndarray) -> bytes:
    given = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64"}
    return json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": rows.nbytes}}]}).encode()


def _bytes(rows: np.ndarray) -> bytes:
    return _head(rows) + rows.tobytes()


def _in_bytes() -> str:
    size = len(_head(np.zeros((ROWS, COLUMNS))))
    return f"content-type: application/octet-stream\r\ninference-header-content-length: {size}\r\n"


def _proba(rows: np.ndarray) -> bytes:
    return _matrix(rows, outputs=[{"name": "predict_proba"}])


def _rows(rows: np.ndarray) -> bytes:
    return json.dumps({"rows": rows.tolist()}).encode()


def _inputs(rows: np.ndarray) -> bytes:
    return json.dumps({"inputs": rows.tolist()}).encode()


def _split(rows: np.ndarray) -> bytes:
    return json.dumps({"dataframe_split": {"columns": NAMES, "data": rows.tolist()}}).encode()


def _probability(said: Any) -> float:
    (found,) = [entry["data"] for entry in said["outputs"] if entry["name"] == "probability"]
    return float(found[0])


def _first(said: Any) -> float:
    return float(said["outputs"][0]["data"][0])


def _second(said: Any) -> float:
    return float(said["outputs"][0]["data"][1])


def _label(said: Any) -> float:
    return float(said["predictions"][0])


@contextmanager
def _on_core(number: int) -> Iterator[None]:
    """This process, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[number % len(CORES)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
