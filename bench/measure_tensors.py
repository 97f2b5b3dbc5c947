"""Requests of 100 rows through the real model server, as JSON and as bytes: what the form of a request costs.

CPU seconds of the server for each request, by how many columns a row has and how many clients ask; with the rows in
the log before the answer, and without a log. JSON grows with the numbers of a request and what the form does not change
does not, so the table says from where on bytes are as much cheaper as is wanted. Beside the whole request stands what
reading it costs: from the body to checked columns, in this process; and what the trees cost by themselves, as they are
served and by LightGBM's own call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from lightgbm import LGBMClassifier
from load import JSON, drive
from place import exact_cpu_of, folder
from sklearn.linear_model import LogisticRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.demo.server import free_ports
from mainspring.registry import Registry
from mainspring.registry.flavours.lightgbm import BoosterScorer
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.modelserver.columns import Features
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.modelserver.protocols import binary
from mainspring.serving.modelserver.protocols.openinference import decode
from mainspring.serving.modelserver.protocols.tensors import Inference
from mainspring.serving.supervisor import Supervisor

ROWS, WIDTHS, CLIENTS, TREES = 100, (20, 100, 300), (1, 16), 100
ROUNDS, SECONDS = 3, 0.8
Question = tuple[bytes, str]


def measure() -> Iterator[Figure]:
    rng = np.random.default_rng(1)
    forms = {width: _forms(rng.normal(size=(ROWS, width))) for width in WIDTHS}
    for width in WIDTHS:
        yield from _reading(forms[width], width)
    with folder() as root:
        house, trees = _house(root)
        for width in WIDTHS:
            yield from _alone(trees[width], width)
        try:
            yield from _serving(house, forms)
        finally:
            house.close()


def _names(width: int) -> list[str]:
    return [f"x{i:03}" for i in range(width)]


def _forms(rows: np.ndarray) -> dict[str, Question]:
    columns = [
        {"name": name, "shape": [ROWS], "datatype": "FP64", "data": rows[:, i].tolist()}
        for i, name in enumerate(_names(rows.shape[1]))
    ]
    matrix = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64"}
    head = json.dumps({"inputs": [{**matrix, "parameters": {"binary_data_size": rows.nbytes}}]}).encode()
    size = f"inference-header-content-length: {len(head)}\r\n"
    return {
        "JSON, columns": (json.dumps({"inputs": columns}).encode(), JSON),
        "JSON, matrix": (json.dumps({"inputs": [{**matrix, "data": rows.ravel().tolist()}]}).encode(), JSON),
        "bytes, matrix": (head + rows.tobytes(), f"content-type: application/octet-stream\r\n{size}"),
    }


def _reading(forms: dict[str, Question], width: int) -> Iterator[Figure]:
    """From a body to checked columns, in this process."""
    features = Features([_Column(name) for name in _names(width)])

    def read(question: Question) -> None:
        body, headers = question
        _, found, size = headers.partition("content-length: ")
        if not found:
            asked = decode(body)
        else:
            text, rest = binary.split(body, size.strip().encode())
            asked = decode(text)
            binary.fill(asked.inputs, rest)
        Inference(asked, lambda: "id").columns(features)

    spent = {name: _cpu(partial(read, question), 40_000 // width) for name, question in forms.items()}
    for name, seconds in spent.items():
        yield Figure(f"reading {ROWS} rows of {width}, {name}: CPU", 1e6 * seconds, "us")
    ratio = spent["JSON, matrix"] / spent["bytes, matrix"]
    yield Figure(f"reading {ROWS} rows of {width}: JSON / bytes, matrix", ratio, "times", 3, True)


class _Column:
    dtype, size = "float64", 1

    def __init__(self, name: str) -> None:
        self.name = name


def _cpu(work: Callable[[], None], times: int) -> float:
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def _alone(trees: LGBMClassifier, width: int) -> Iterator[Figure]:
    """CPU for as many rows as a request has, and for those of many: what is served, and LightGBM's own call."""
    scorer, booster = BoosterScorer(trees.booster_), trees.booster_
    for rows in (ROWS, ROWS * CLIENTS[-1]):
        parts = np.random.default_rng(2).normal(size=(20_000 // rows, rows, width))
        assert all(np.array_equal(scorer.score(part), booster.predict(part, num_threads=1)) for part in parts[:5])
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_cpu(partial(_each, scorer.score, parts), 1) / 20_000)
            theirs.append(_cpu(partial(_each, partial(booster.predict, num_threads=1), parts), 1) / 20_000)
        what = f"{rows} rows of {width}, the trees alone"
        yield Figure(f"{what}, as served: CPU of {ROWS} rows", ROWS * 1e6 * min(ours), "us")
        yield Figure(f"{what}, LightGBM's own call: CPU of {ROWS} rows", ROWS * 1e6 * min(theirs), "us")
        yield Figure(f"{what}: own call / ours", min(theirs) / min(ours), "times")


def _each(answer: Callable[[np.ndarray], object], parts: np.ndarray) -> None:
    for rows in parts:
        answer(rows)


def _serving(house: Wiring, forms: dict[int, dict[str, Question]]) -> Iterator[Figure]:
    supervisor = house.get(Supervisor)
    supervisor.start()
    try:
        assert supervisor.pid is not None
        for width, clients, model, log in product(WIDTHS, CLIENTS, ("logistic", "trees"), ("", "-unlogged")):
            path, spent = f"/v2/models/{model}-{width}{log}/infer", dict.fromkeys(forms[width], 0.0)
            for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on all of them
                for name, question in forms[width].items():
                    spent[name] += _ask(supervisor.url, supervisor.pid, path, question, clients)
            who = f"{ROWS} rows of {width}, {model}{log}, {clients} client{'s' * (clients > 1)}"
            for name, seconds in spent.items():
                yield Figure(f"{who}, {name}: CPU of the server", 1e6 * seconds / ROUNDS, "us a request")
            ratio = spent["JSON, matrix"] / spent["bytes, matrix"]
            yield Figure(f"{who}: JSON / bytes", ratio, "times", 3, True)
    finally:
        supervisor.stop()


def _ask(url: str, pid: int, path: str, question: Question, clients: int) -> float:
    """CPU seconds of a request, where so many clients ask for a while."""
    body, headers = question

    def ask(_client: int, _count: int) -> tuple[str, bytes]:
        return path, body

    drive(url, ask, clients=clients, seconds=0.2, headers=headers)
    before = exact_cpu_of(pid)
    found = drive(url, ask, clients=clients, seconds=SECONDS, headers=headers)
    return (exact_cpu_of(pid) - before) / len(found.seconds)


def _house(root: Path) -> tuple[Wiring, dict[int, LGBMClassifier]]:
    (port,) = free_ports(1, near=17700)
    house = open_house(load(root, flags={"serving.port": port, "serving.durability": "process"}))
    found = {}
    for width in WIDTHS:
        rng, names = np.random.default_rng(1), _names(width)
        x = rng.normal(size=(20_000, width))
        label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
        trees = LGBMClassifier(n_estimators=TREES, num_threads=1, verbose=-1).fit(x, label, feature_name=names)
        for name, model in (("trees", trees), ("logistic", LogisticRegression().fit(x, label))):
            version = house.get(Registry).register(f"{name}-{width}", model, example=pl.DataFrame(x[:5], schema=names))
            house.get(Serving).deploy(version.model, version.model, version.number)
            options = Options(log_share=0.0)
            house.get(Serving).deploy(f"{version.model}-unlogged", version.model, version.number, options=options)
        found[width] = trees
    return house, found
