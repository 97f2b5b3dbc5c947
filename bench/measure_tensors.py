"""Requests of 100 rows through the real model server, as JSON and as bytes: what the form of a request costs.

CPU seconds of the server for each request, one client; with the rows in the log before the answer, and without a log.
Beside the whole request stands what reading it costs: from the body to checked columns, in this process; and what the
trees cost by themselves, as they are served and by LightGBM's own call, which no form of a request changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from lightgbm import LGBMClassifier
from place import cpu_of, folder
from sklearn.linear_model import LogisticRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.demo.server import free_ports
from mainspring.registry import Registry
from mainspring.registry.flavours.lightgbm import BoosterScorer
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.channel import Channel
from mainspring.serving.modelserver.columns import Features
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.modelserver.protocols import binary
from mainspring.serving.modelserver.protocols.openinference import decode
from mainspring.serving.modelserver.protocols.tensors import Inference
from mainspring.serving.supervisor import Supervisor

ROWS, COLUMNS, TREES, REQUESTS, ROUNDS = 100, 20, 200, 150, 4
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
Question = tuple[bytes, dict[str, str]]


def measure() -> Iterator[Figure]:
    forms = _forms(np.random.default_rng(1).normal(size=(ROWS, COLUMNS)))
    yield from _reading(forms)
    with folder() as root:
        house, trees = _house(root)
        alone = _alone(trees)
        yield Figure(f"{ROWS} rows, the trees alone, as served: CPU", 1e6 * alone[0], "us")
        yield Figure(f"{ROWS} rows, the trees alone, LightGBM's own call: CPU", 1e6 * alone[1], "us")
        yield Figure(f"{ROWS} rows, the trees alone: own call / ours", alone[1] / alone[0], "times", 1, True)
        try:
            yield from _serving(house, forms, alone[0])
        finally:
            house.close()


def _forms(rows: np.ndarray) -> dict[str, Question]:
    plain = {"content-type": "application/json"}
    columns = [
        {"name": name, "shape": [ROWS], "datatype": "FP64", "data": rows[:, i].tolist()} for i, name in enumerate(NAMES)
    ]
    matrix = {"name": "rows", "shape": [ROWS, COLUMNS], "datatype": "FP64"}
    head = json.dumps({"inputs": [{**matrix, "parameters": {"binary_data_size": rows.nbytes}}]}).encode()
    return {
        "JSON, columns": (json.dumps({"inputs": columns}).encode(), plain),
        "JSON, matrix": (json.dumps({"inputs": [{**matrix, "data": rows.ravel().tolist()}]}).encode(), plain),
        "bytes, matrix": (
            head + rows.tobytes(),
            {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))},
        ),
    }


def _reading(forms: dict[str, Question]) -> Iterator[Figure]:
    """From a body to checked columns, in this process."""
    features = Features([_Column(name) for name in NAMES])

    def read(question: Question) -> None:
        body, headers = question
        size = headers.get("inference-header-content-length")
        if size is None:
            asked = decode(body)
        else:
            text, rest = binary.split(body, size.encode())
            asked = decode(text)
            binary.fill(asked.inputs, rest)
        Inference(asked, lambda: "id").columns(features)

    spent = {name: _cpu(partial(read, question)) for name, question in forms.items()}
    for name, seconds in spent.items():
        yield Figure(f"reading {ROWS} rows of {COLUMNS}, {name}: CPU", 1e6 * seconds, "us")
    ratio = spent["JSON, matrix"] / spent["bytes, matrix"]
    yield Figure("reading: JSON / bytes, matrix", ratio, "times", 3, True)


class _Column:
    dtype, size = "float64", 1

    def __init__(self, name: str) -> None:
        self.name = name


def _cpu(work: Callable[[], None], times: int = 2000) -> float:
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def _alone(trees: LGBMClassifier) -> tuple[float, float]:
    """CPU seconds for as many rows as a request has: what is served, and LightGBM's own call; other rows every time."""
    scorer, booster = BoosterScorer(trees.booster_), trees.booster_
    parts = np.random.default_rng(2).normal(size=(200, ROWS, COLUMNS))
    assert all(np.array_equal(scorer.score(rows), booster.predict(rows, num_threads=1)) for rows in parts[:20])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_cpu(partial(_each, scorer.score, parts), 1) / len(parts))
        theirs.append(_cpu(partial(_each, partial(booster.predict, num_threads=1), parts), 1) / len(parts))
    return min(ours), min(theirs)


def _each(answer: Callable[[np.ndarray], object], parts: np.ndarray) -> None:
    for rows in parts:
        answer(rows)


def _serving(house: Wiring, forms: dict[str, Question], trees_s: float) -> Iterator[Figure]:
    supervisor = house.get(Supervisor)
    supervisor.start()
    try:
        assert supervisor.pid is not None
        for model in (f"{name}{log}" for name in ("logistic", "trees") for log in ("", "-unlogged")):
            spent = dict.fromkeys(forms, 0.0)
            for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on all of them
                for name, question in forms.items():
                    spent[name] += _ask(supervisor.url, supervisor.pid, model, question)
            for name, seconds in spent.items():
                what = f"{ROWS} rows, {model}, {name}: CPU of the server"
                yield Figure(what, 1e6 * seconds / ROUNDS, "us a request")
            yield Figure(f"{ROWS} rows, {model}: JSON / bytes", _ratio(spent), "times", 3, True)
            if model.startswith("trees"):
                left = {name: seconds - ROUNDS * trees_s for name, seconds in spent.items()}
                yield Figure(f"{ROWS} rows, {model}, without the trees alone: JSON / bytes", _ratio(left), "times")
    finally:
        supervisor.stop()


def _ratio(spent: dict[str, float]) -> float:
    return spent["JSON, columns"] / spent["bytes, matrix"]


def _ask(url: str, pid: int, model: str, question: Question) -> float:
    body, headers = question
    channel, path = Channel(url, timeout_s=30, retries=0), f"/v2/models/{model}/infer"
    for _ in range(10):
        channel.ask("POST", path, body, headers)
    before = cpu_of(pid)
    for _ in range(REQUESTS):
        channel.ask("POST", path, body, headers)
    used = cpu_of(pid) - before
    channel.close()
    return used / REQUESTS


def _house(root: Path) -> tuple[Wiring, LGBMClassifier]:
    (port,) = free_ports(1, near=17700)
    house = open_house(load(root, flags={"serving.port": port, "serving.durability": "process"}))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, COLUMNS))
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    trees = LGBMClassifier(n_estimators=TREES, num_threads=1, verbose=-1).fit(x, label, feature_name=NAMES)
    for name, model in (("trees", trees), ("logistic", LogisticRegression().fit(x, label))):
        version = house.get(Registry).register(name, model, example=pl.DataFrame(x[:5], schema=NAMES))
        house.get(Serving).deploy(name, name, version.number)
        house.get(Serving).deploy(f"{name}-unlogged", name, version.number, options=Options(log_share=0.0))
    return house, trees
