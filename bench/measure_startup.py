"""`mainspring up` in a fresh data folder: how long until /health answers, and what it holds when nothing happens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from urllib.request import urlopen

import psutil
from figure import Figure
from place import cpu_of, folder, server

from mainspring.demo.server import ServerProcess

RUNS = 3
IDLE_S = 10
MB = 1e6


def measure() -> Iterator[Figure]:
    with folder() as root:
        first, _ = _started(server(root))
        again = [_started(server(root))[0] for _ in range(RUNS)]
    fresh, cpu = [], []
    for _ in range(RUNS):
        with folder() as root:
            seconds, used = _started(server(root))
            fresh.append(seconds)
            cpu.append(used)
    yield Figure("mainspring up, very first: spawn to /health 200", first, "s")
    yield Figure("mainspring up, fresh folder: spawn to /health 200", statistics.median(fresh), "s", 1.5)
    yield Figure("mainspring up, same folder again", statistics.median(again), "s")
    yield Figure("mainspring up, fresh folder: CPU of server and model server", statistics.median(cpu), "s")
    yield from _idle()


def _idle() -> Iterator[Figure]:
    with folder() as root:
        made = server(root)
        try:
            made.start()
            before = _cpu(made)
            time.sleep(IDLE_S)
            used = _cpu(made) - before
            assert made.pid is not None
            alone = psutil.Process(made.pid)
            family = [alone, *alone.children(recursive=True)]
            yield Figure("idle, server alone: resident memory", _resident([alone]), "MB", 200)
            yield Figure("idle, with model server (no model): resident memory", _resident(family), "MB", 200)
            unique = sum(float(entry.memory_full_info().uss) for entry in family) / MB
            yield Figure("idle, with model server: memory shared with nobody", unique, "MB")
            yield Figure("idle, with model server: CPU", 100 * used / IDLE_S, "% of a core")
        finally:
            made.stop()


def _resident(family: list[psutil.Process]) -> float:
    return sum(float(entry.memory_info().rss) for entry in family) / MB


def _started(made: ServerProcess) -> tuple[float, float]:
    """Seconds until it answers, and the CPU seconds it had used by then."""
    began = time.perf_counter()
    try:
        made.start()
        with urlopen(f"{made.address}/health", timeout=10) as answer:
            assert answer.status == 200
        return time.perf_counter() - began, _cpu(made)
    finally:
        made.stop()


def _cpu(made: ServerProcess) -> float:
    assert made.pid is not None
    family = [made.pid, *(child.pid for child in psutil.Process(made.pid).children(recursive=True))]
    return sum(map(cpu_of, family))
