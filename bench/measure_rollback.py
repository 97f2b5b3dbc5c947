"""How long does a rollback take, from the verb to the first moment at which no answer can come from the canary?

    python bench/measure_rollback.py                   # 1 and 100 endpoints, 20 rollbacks each

A real model server over a folder of its own. A rollback is measured from the call of `Serving.rollback` until every
worker says that it serves the plan that follows from it; then 50 keys are asked, and the canary may answer none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression

from mainspring.core.settings import load
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Client, Serving, Supervisor
from mainspring.serving.supervisor import ServerOptions

FRAME = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]})
LIMIT_S = 1.0


def measure(endpoints: int, times: int) -> list[float]:
    """Seconds of so many rollbacks of one of so many endpoints."""
    with tempfile.TemporaryDirectory() as folder:
        house = open_house(load(Path(folder), environ={}))
        registry, serving = house.get(Registry), house.get(Serving)
        for weight in (1.0, 2.0):
            fitted = LinearRegression().fit(FRAME.to_numpy(), FRAME["a"].to_numpy() * weight)
            registry.register("line", fitted, example=FRAME)
        for number in range(endpoints):
            serving.deploy(f"line-{number}", "line", 1)
        server = Supervisor(serving.folder, ServerOptions(drain_s=0.0), prepare=serving.write_plan)
        server.start()
        try:
            with Client(server.url) as client:
                return [_once(serving, server, client) for _ in range(times)]
        finally:
            server.stop()
            house.close()


def _once(serving: Serving, server: Supervisor, client: Client) -> float:
    serving.start_rollout("line-0", 2, share=0.5)
    server.apply()
    started = time.perf_counter()
    serving.rollback("line-0")
    server.apply()
    took = time.perf_counter() - started
    arms = {client.predict("line-0", {"a": [1.0], "b": [0.0]}).version for _ in range(50)}
    assert arms == {"1"}, arms
    return took


def main() -> int:
    """Measure, print a table, and say by the exit code whether the limit was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    print("| endpoints | median | longest | limit | held |\n|---|---|---|---|---|")
    kept = True
    for endpoints in (1, 100):
        found = np.array(measure(endpoints, given.times))
        kept &= bool(found.max() < LIMIT_S)
        held = "yes" if found.max() < LIMIT_S else "no"
        print(f"| {endpoints} | {np.median(found):.3f} s | {found.max():.3f} s | < {LIMIT_S:g} s | {held} |")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
