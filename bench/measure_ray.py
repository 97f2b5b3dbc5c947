"""What a step on a cluster of Ray costs beside a plain task of Ray.

MAINSPRING_RAY is a Python that has Mainspring and Ray; without it, this one if it has Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from figure import Figure
from place import folder

TASKS, NODES, CPUS = 1_000, 2, 2
ROOT = Path(__file__).parent.parent
SOURCE = '''"""A step that does nothing, many times."""
import mainspring as ms


@ms.step(cache=False)
def numbers(count: int) -> list[int]:
    return list(range(count))


@ms.step(cache=False)
def same(number: int) -> int:
    return number


@ms.pipeline
def crew(count: int) -> list[int]:
    return same.map(numbers(count))
'''
PLAIN = """
import json, sys, time, ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote
def same(number):
    return number

ray.get([same.remote(n) for n in range(100)])
found = []
for _ in range(3):
    started = time.perf_counter()
    assert len(ray.get([same.remote(n) for n in range(int(sys.argv[1]))])) == int(sys.argv[1])
    found.append(time.perf_counter() - started)
print(json.dumps(sorted(found)[1]))
"""
OURS = """
import json, sys
from pathlib import Path
from typing import cast
from mainspring.core.settings import load
from mainspring.pipelines import Pipelines
from mainspring.pipelines.worker import Worker
from mainspring.server.house import open_house

house = open_house(load(flags={"pipelines.engine": sys.argv[1]}))
pipelines = house.get(Pipelines)
found = []
for count in map(int, sys.argv[2:]):
    run_id = pipelines.submit("crew.py:crew", {"count": count})
    house.get(Worker).run_one()
    run = pipelines.get(run_id)
    assert run.error == "" and run.result == list(range(count)), run.error
    found.append((run.finished_at - run.started_at) / 1e6)
house.close()
print(json.dumps(found))
"""


def measure() -> Iterator[Figure]:
    python = os.environ.get("MAINSPRING_RAY", sys.executable)
    if "MAINSPRING_RAY" not in os.environ and find_spec("ray") is None:
        print("ray: left out, because Ray is not installed; MAINSPRING_RAY names a Python that has it", flush=True)
        return
    with folder() as root:
        (root / "crew.py").write_text(SOURCE)
        program = "import sys; sys.path.insert(0, sys.argv[1]); from tests.clusters import hold; hold(*sys.argv[2:])"
        command = [python, "-W", "ignore", "-c", program, str(ROOT), "17690", str(NODES), str(CPUS)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cluster:
            assert cluster.stdin is not None and cluster.stdout is not None
            env = {**os.environ, **json.loads(cluster.stdout.readline())}
            try:
                yield from _beside(python, root, env)
            finally:
                cluster.stdin.close()


def _beside(python: str, root: Path, env: dict[str, str]) -> Iterator[Figure]:
    def said(program: str, *words: str) -> object:
        command = [python, "-W", "ignore", "-c", program, *words]
        return json.loads(subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, check=True).stdout)

    plain = said(PLAIN, str(TASKS))
    assert isinstance(plain, float)
    few, many = cast("list[float]", said(OURS, "ray", "8", str(TASKS)))
    (beside,) = cast("list[float]", said(OURS, "process", str(TASKS)))
    yield Figure(f"{TASKS} plain tasks of Ray, {NODES} nodes of {CPUS} cores", 1000 * plain / TASKS, "ms a task")
    yield Figure("a run of 8 steps on Ray: connecting, actors and all", few, "s")
    yield Figure(f"{TASKS} steps on Ray, the start of it left out", 1000 * (many - few) / TASKS, "ms a step")
    yield Figure(f"{TASKS} steps in processes of this machine", 1000 * beside / TASKS, "ms a step")
    yield Figure("a step on Ray beyond a plain task", 1000 * (many - few - plain) / TASKS, "ms", 5)
