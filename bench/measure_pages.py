"""The page of runs with 100,000 runs behind it, each with 20 metrics, 8 params and 4 tags: as a browser gets it.

Time is that of the whole answer, from the request to the last byte, in this process: every layer but the socket. The
median of 15 is shown; the limit is on the CPU time, which other work on the machine does not change as much.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator

from figure import Figure
from litestar import Litestar
from litestar.testing import TestClient
from measure_search import fill
from place import folder

from mainspring.core.settings import load
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Tables

RUNS = 100_000
REPEAT = 15
LIMIT_MS, LIMIT_KB = 150.0, 150.0
_LOGGED = [f"metrics.m{n}" for n in range(1, 20)] + [f"params.p{n}" for n in range(8)]
PAGES: dict[str, dict[str, object]] = {
    "as it opens": {},
    "metric filter": {"filter": "metrics.m1 > 0.5"},
    "filter and order by another metric": {
        "filter": "metrics.m1 > 0.5 AND params.p1 = '3'",
        "order": "metrics.m2 DESC",
    },
    "ordered by a param": {"order": "params.p1"},
    "27 columns": {"columns": _LOGGED},
    "50 columns": {"columns": _LOGGED + [f"metrics.none{n}" for n in range(23)]},
}
GROUPS: dict[str, dict[str, object]] = {
    "grouped by a param of 10 values": {"group": "params.p1"},
    "grouped, with a filter": {"group": "params.p1", "filter": "metrics.m1 > 0.5"},
    "grouped by a param of 100,000 values": {"group": "params.p0"},
}


def measure() -> Iterator[Figure]:
    with folder() as root:
        house = open_house(load(root, environ={}))
        try:
            tables: Tables = house.get(Tables)  # type: ignore[type-abstract]  # wired by its port
            fill(tables, RUNS)
            with TestClient(create_app(house), base_url="http://127.0.0.1:7600") as client:
                for name, asked in (PAGES | GROUPS).items():
                    yield from _measured(client, name, asked, LIMIT_MS if name in PAGES else None)
        finally:
            house.close()


def _measured(
    client: TestClient[Litestar], name: str, asked: dict[str, object], limit: float | None
) -> Iterator[Figure]:
    took, spent, size = [], [], 0
    for _ in range(REPEAT + 1):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        answer = client.get("/runs", params=asked)  # type: ignore[arg-type]  # lists are repeated words
        took.append(1000 * (time.perf_counter() - started))
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
        assert answer.status_code == 200, answer.text
        size = len(answer.content)
    yield Figure(f"{RUNS:,} runs, {name}: median", statistics.median(took[1:]), "ms")
    yield Figure(f"{RUNS:,} runs, {name}: CPU", statistics.median(spent[1:]), "ms", limit)
    yield Figure(f"{RUNS:,} runs, {name}: size", size / 1000, "kB", LIMIT_KB)
