"""What a shadow costs those that are answered: CPU of the server and latency of one endpoint with a shadow and one
without, in turns of one run. The process of the shadow is not counted: it has the lowest priority.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from load import Answers, drive
from place import cpu_of, folder
from sklearn.linear_model import LogisticRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.modelserver import tally
from mainspring.serving.supervisor import Supervisor

COLUMNS, CLIENTS, ROUNDS, SECONDS = 8, 32, 12, 1.5
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
PATHS = {"shadowed": "with a shadow", "alone": "without one"}


def measure() -> Iterator[Figure]:
    with folder() as root:
        house, rows = _house(root)
        supervisor = house.get(Supervisor)
        try:
            supervisor.start()
            _wait_for_shadow(house, supervisor.url, rows)
            yield from _measured(supervisor, rows)
            values = tally.counts_of(supervisor.folder).values.items()
            for fate in ("sent", "dropped"):
                rows_of = sum(value for key, value in values if f'fate="{fate}"' in key)
                yield Figure(f"rows for the shadow that were {fate}", rows_of, "rows")
        finally:
            supervisor.stop()
            house.close()


def _measured(supervisor: Supervisor, rows: np.ndarray) -> Iterator[Figure]:
    assert supervisor.pid is not None
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PATHS}
    for _ in range(ROUNDS):
        for name, kept in found.items():
            before = cpu_of(supervisor.pid)
            answers = _ask(supervisor.url, name, rows)
            used = (cpu_of(supervisor.pid) - before) / len(answers.seconds)
            kept.append((1e6 * used, answers.ms(0.5), answers.ms(0.99)))
    middle = {name: [statistics.median(column) for column in zip(*kept, strict=True)] for name, kept in found.items()}
    for name, how in PATHS.items():
        for value, what, unit in zip(middle[name], ("CPU", "p50", "p99"), ("us a request", "ms", "ms"), strict=True):
            yield Figure(f"a logged request, 32 clients, {how}: {what}", value, unit)
    for place, what in enumerate(("CPU", "p50", "p99")):
        yield Figure(f"{what} with a shadow / without", middle["shadowed"][place] / middle["alone"][place], "times")


def _ask(url: str, name: str, rows: np.ndarray) -> Answers:
    bodies = [
        json.dumps({"inputs": [{"name": "rows", "shape": [1, COLUMNS], "datatype": "FP64", "data": row}]}).encode()
        for row in rows[:200].round(4).tolist()
    ]
    kind = "content-type: application/json\r\n"
    path = f"/v2/models/{name}/infer"
    return drive(url, lambda c, i: (path, bodies[(c + i) % 200]), clients=CLIENTS, seconds=SECONDS, headers=kind)


def _wait_for_shadow(house: Wiring, url: str, rows: np.ndarray) -> None:
    """Its process starts when nobody else wants the processor."""
    serving = house.get(Serving)
    while not any(report.comparisons for report in serving.shadows("shadowed")):
        _ask(url, "shadowed", rows)
        time.sleep(2)


def _house(root: Path) -> tuple[Wiring, np.ndarray]:
    house = open_house(load(root))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5_000, COLUMNS))
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    for strength in (1.0, 0.1):
        model = LogisticRegression(C=strength).fit(x, label)
        house.get(Registry).register("m", model, example=pl.DataFrame(x[:5], schema=NAMES))
    for name in PATHS:
        house.get(Serving).deploy(name, "m", 1)
    house.get(Serving).shadow("shadowed", 2)
    return house, x
