"""What a pipeline costs beside its steps: cached and first runs, fan-out, long runs, the queue.

Other tools stand beside it in `measure_flows`.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from figure import Figure, cpu_seconds
from flow_programs import OURS
from place import folder, quantile
from tree import cpu_of_tree

from mainspring.core.settings import load
from mainspring.pipelines.model import PipelineRun, StepState
from mainspring.pipelines.service import Pipelines
from mainspring.server.house import open_house
from mainspring.storage import open_tables
from mainspring.storage.jobs import NewJob
from mainspring.storage.queue import SqlQueue
from mainspring.testing.postgres import NoPostgres, PostgresServer

RUNS = 30
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
        (root / "chain.py").write_text(OURS)
        house = open_house(load(root))
        try:
            yield from _chain(house.get(Pipelines), root)
            yield from _rows(house.get(Pipelines), root)
        finally:
            house.close()
    yield from _processes()
    yield from _driver()
    yield from _jobs()


def _chain(pipelines: Pipelines, root: Path) -> Iterator[Figure]:
    target, numbers = f"{root / 'chain.py'}:chain", iter(range(1, 10**6))
    fresh = _taken(lambda: _check(pipelines.run_inline(target, {"number": 100 * next(numbers)}), "finished"))
    pipelines.run_inline(target, {})
    cached = _taken(lambda: _check(pipelines.run_inline(target, {}), "cached"))
    for what, found in (("run for the first time", fresh), ("taken from the cache", cached)):
        yield Figure(f"four no-op steps in process, {what}", 1000 * statistics.median(c for c, _ in found), "ms CPU")
        walls = [wall_s for _, wall_s in found]
        yield Figure(f"four no-op steps in process, {what}, by the clock", 1000 * statistics.median(walls), "ms")
        yield Figure(f"four no-op steps in process, {what}, by the clock: p90", 1000 * quantile(walls, 0.9), "ms")


def _taken(work: Callable[[], object]) -> list[tuple[float, float]]:
    """CPU seconds and seconds of the clock of each of some runs, with what it starts."""
    work()
    found = []
    for _ in range(RUNS):
        cpu_s, began = _cpu_s(), time.perf_counter()
        work()
        found.append((_cpu_s() - cpu_s, time.perf_counter() - began))
    return found


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _rows(pipelines: Pipelines, root: Path) -> Iterator[Figure]:
    """Many steps, in a row and side by side; the children of a crew have ended with its run, and count."""
    for name, words, count in (
        ("long", "in a row", 10_000),
        ("wide", "side by side in process", 10_000),
        ("crew", "side by side in processes of their own", 1_000),
    ):
        few, many = _steps(pipelines, root, name, count // 10), _steps(pipelines, root, name, count)
        yield Figure(f"{count:,} steps {words}", many[0], "s CPU")
        yield Figure(f"{count:,} steps {words}, by the clock", many[1], "s")
        yield Figure(f"a step of them, {words}", 1000 * many[0] / count, "ms CPU", 25 if name == "crew" else 10)
        yield Figure(f"{count:,} steps / 10 x {count // 10:,} steps, {words}", many[0] / (10 * few[0]), "x CPU", 1.5)


def _steps(pipelines: Pipelines, root: Path, name: str, count: int) -> tuple[float, float]:
    cpu_s, began = _cpu_s(), time.perf_counter()
    run = pipelines.run_inline(f"{root / 'chain.py'}:{name}", {"count": count}, cache=False)
    assert run.error == "", run.error
    return _cpu_s() - cpu_s, time.perf_counter() - began


def _processes() -> Iterator[Figure]:
    bare = cpu_seconds([sys.executable, "-c", "pass"])
    api = cpu_seconds(
        [sys.executable, "-c", "from mainspring import pipeline, step; from mainspring.pipelines import flow"]
    )
    yield Figure("import of the pipeline API, CPU", api - bare, "s", 0.25)


def _driver() -> Iterator[Figure]:
    """The most memory of a process that runs 10,000 steps in a row and has their records in hand at the end."""
    with folder() as root:
        (root / "chain.py").write_text(OURS)
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
            cpu_s = _cpu_s() + cpu_of_tree(server.pid)
            seconds = _drained(root, url)
            cpu_s = _cpu_s() + cpu_of_tree(server.pid) - cpu_s
            yield Figure(f"jobs of Postgres, {WORKERS} workers", JOBS / seconds, "jobs/s", 500, True)
            yield Figure("a job of Postgres, its worker's and the server's CPU", 1000 * cpu_s / JOBS, "ms CPU")
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
