"""What a pipeline costs beside its steps: cached and first runs, fan-out, long runs, the queue, and other tools."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

from figure import Figure, cpu_seconds, wall
from flows import SOURCES, measured
from place import folder, quantile

from mainspring.core.settings import load
from mainspring.pipelines.model import PipelineRun, StepState
from mainspring.pipelines.service import Pipelines
from mainspring.server.house import open_house
from mainspring.storage import open_tables
from mainspring.storage.jobs import NewJob
from mainspring.storage.queue import SqlQueue
from mainspring.testing.postgres import NoPostgres, PostgresServer

RUNS = 30
SOURCE = '''"""Four steps in a row."""
import mainspring as ms


@ms.step
def first(number: int) -> int:
    return number + 1


@ms.step
def second(number: int) -> int:
    return number + 2


@ms.step
def third(number: int) -> int:
    return number + 3


@ms.step
def fourth(number: int) -> int:
    return number + 4


@ms.pipeline
def chain(number: int = 0) -> int:
    return fourth(third(second(first(number))))
'''


SOURCE += """

@ms.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@ms.step
def same(number: int) -> int:
    return number


@ms.pipeline
def wide(count: int = 100) -> list[int]:
    return same.map(numbers(count), limit=1)


@ms.pipeline
def crew(count: int = 100) -> list[int]:
    return same.map(numbers(count))


@ms.pipeline
def long(count: int = 100) -> int:
    number = first(count)
    for _ in range(count):
        number = first(number)
    return number
"""
DRIVER = """
import sys
from pathlib import Path
from mainspring.core.settings import load
from mainspring.pipelines.service import Pipelines
from mainspring.server.house import open_house
house = open_house(load(Path.cwd()))
run = house.get(Pipelines).run_inline("chain.py:long", {"count": 10_000}, cache=False)
assert run.error == "" and len(run.steps) == 10_001, run.error
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""
JOBS = 2_000
WORKERS = 4
WORK = """
import sys, time
from pathlib import Path
from mainspring.storage import open_tables
from mainspring.storage.queue import SqlQueue
tables = open_tables(sys.argv[1], Path("."))
queue = SqlQueue(tables)
print("ready", flush=True); sys.stdin.readline()
while (lease := queue.lease("w", ["bench"])) is not None:
    with tables.write() as conn:
        queue.finish(conn, lease, {})
"""


def measure() -> Iterator[Figure]:
    with folder() as root:
        (root / "chain.py").write_text(SOURCE)
        house = open_house(load(root))
        try:
            chain = yield from _chain(house.get(Pipelines), root)
            own = yield from _wide(house.get(Pipelines), root)
            durable = (
                1000 * (_seconds(house.get(Pipelines), root, 220) - _seconds(house.get(Pipelines), root, 20)) / 200
            )
            yield Figure("a durable step more", durable, "ms")
        finally:
            house.close()
        yield from _beside(root, chain, own, durable)
    yield from _processes()
    yield from _driver()
    yield from _jobs()


def _chain(pipelines: Pipelines, root: Path) -> Generator[Figure, None, float]:
    target, numbers = f"{root / 'chain.py'}:chain", iter(range(1, 10**6))
    fresh = wall(RUNS, lambda: _check(pipelines.run_inline(target, {"number": 100 * next(numbers)}), "finished"))
    pipelines.run_inline(target, {})
    cached = wall(RUNS, lambda: _check(pipelines.run_inline(target, {}), "cached"))
    yield Figure("four no-op steps in process, run for the first time", 1000 * statistics.median(fresh), "ms")
    yield Figure("four cached steps in process, run again", 1000 * statistics.median(cached), "ms")
    yield Figure("four cached steps in process, run again: p90", 1000 * quantile(cached, 0.9), "ms")
    return 1000 * statistics.median(cached)


def _wide(pipelines: Pipelines, root: Path) -> Generator[Figure, None, float]:
    def seconds(name: str, count: int) -> float:
        return _seconds(pipelines, root, count, name)

    here, there = seconds("wide", 100), seconds("crew", 100)
    yield Figure("100 steps side by side, in process", here, "s")
    yield Figure("100 steps side by side, in processes of their own", there, "s")
    yield Figure("a step in process, beside what it does", 10 * min(here, seconds("wide", 100)), "ms", 10)
    first, second = seconds("long", 1000), seconds("long", 10_000)
    yield Figure("10,000 steps in a row", second, "s")
    yield Figure("10,000 steps / 10 x 1,000 steps", second / (10 * first), "times", 1.5)
    return there


def _seconds(pipelines: Pipelines, root: Path, count: int, name: str = "long") -> float:
    started = time.perf_counter()
    run = pipelines.run_inline(f"{root / 'chain.py'}:{name}", {"count": count}, cache=False)
    assert run.error == "", run.error
    return time.perf_counter() - started


def _beside(root: Path, chain_ms: float, wide_s: float, durable_ms: float) -> Iterator[Figure]:
    limits = {"prefect": 1 / 50, "zenml": 1 / 50}
    fresh = {"zenml": 1 / 10, "kfp": 1 / 5}
    for name in SOURCES:
        found = measured(name, root)
        if "chain_ms" in found:
            yield Figure(f"{name}: four no-op steps in process", found["chain_ms"], "ms")
            ratio = chain_ms / found["chain_ms"]
            yield Figure(f"four cached steps, ours / {name}", ratio, "times", limits.get(name))
        if "wide_s" in found:
            yield Figure(f"{name}: 100 steps side by side", found["wide_s"], "s")
            limit = 1 / 20 if name == "metaflow" else None
            yield Figure(f"100 steps side by side, ours / {name}", wide_s / found["wide_s"], "times", limit)
        if "whole_s" in found:
            whole = _whole(root)
            yield Figure("four steps, whole process", whole, "s")
            yield Figure(f"{name}: four steps, whole process", found["whole_s"], "s")
            yield Figure(f"four steps, whole process, ours / {name}", whole / found["whole_s"], "times", 1 / 5)
        if "fresh_ms" in found:
            yield Figure(f"{name}: a step that is not cached", found["fresh_ms"] / 4, "ms")
            ratio = wide_s * 10 / (found["fresh_ms"] / 4)
            yield Figure(f"a step of 100 side by side, ours / {name}", ratio, "times", fresh.get(name))
        if "step_ms" in found:
            yield Figure(f"{name}: a durable step more", found["step_ms"], "ms")
            yield Figure(f"a durable step more, ours / {name}", durable_ms / found["step_ms"], "times", 1.0)


def _whole(root: Path) -> float:
    command = [sys.executable, "-m", "mainspring", "pipeline", "run", "chain.py:chain"]
    found = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _processes() -> Iterator[Figure]:
    bare = cpu_seconds([sys.executable, "-c", "pass"])
    api = cpu_seconds(
        [sys.executable, "-c", "from mainspring import pipeline, step; from mainspring.pipelines import flow"]
    )
    yield Figure("import of the pipeline API, CPU", api - bare, "s", 0.25)


def _driver() -> Iterator[Figure]:
    """The most memory of a process that runs 10,000 steps in a row and has their records in hand at the end."""
    with folder() as root:
        (root / "chain.py").write_text(SOURCE)
        done = subprocess.run([sys.executable, "-c", DRIVER], cwd=root, check=True, capture_output=True, text=True)
    yield Figure("memory of a process that runs 10,000 steps, at its most", int(done.stdout) / 1000, "MB", 80)


def _jobs() -> Iterator[Figure]:
    try:
        server = PostgresServer()
    except NoPostgres:
        return
    with folder() as root:
        try:
            url = server.url(server.make_database())
            tables = open_tables(url, root)
            tables.migrate()
            queue = SqlQueue(tables)
            for _ in range(0, JOBS, 100):
                with tables.write() as conn:
                    for _ in range(100):
                        queue.put(conn, NewJob(queue="bench", kind="none"))
            yield Figure(f"jobs of Postgres, {WORKERS} workers", JOBS / _drained(root, url), "jobs/s", 500, True)
            tables.close()
        finally:
            server.stop()


def _drained(root: Path, url: str) -> float:
    (root / "work.py").write_text(WORK)
    command = [sys.executable, "work.py", url]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            assert worker.stdout is not None and worker.stdin is not None
            worker.stdout.readline()
        started = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.wait() == 0
        return time.perf_counter() - started


def _check(run: PipelineRun, state: str) -> None:
    """A figure of a run that did something else would be a lie."""
    found = {StepState(step.state).value for step in run.steps}
    assert found == {state}, f"the steps are {found}, wanted {state}"
