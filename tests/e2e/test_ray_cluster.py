"""A cluster of Ray with three nodes and a token: what runs there, what is refused, and a node that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.clusters import RayCluster

from mainspring.core.errors import NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.pipelines import PipelineRun, Pipelines, RunState
from mainspring.pipelines.worker import Worker
from mainspring.registry import Registry
from mainspring.server.house import open_house

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
TASKS = 200
FLOW = f"""
import os, time
import polars as pl
from sklearn.linear_model import LinearRegression
from mainspring import context, pipeline, step
from parts.twice import twice

ROWS = pl.DataFrame({{"x": [1.0, 2.0, 3.0]}})

@step(cache=False)
def where(n: int) -> dict[str, object]:
    context().log("at work", n=float(twice(n)))
    return {{"file": __file__, "cwd": os.getcwd()}}

@step(cache=False, cpu=2, secrets=["SHOP_TOKEN"])
def wide(n: int) -> int:
    print("told", context().secret("SHOP_TOKEN"), os.environ["OMP_NUM_THREADS"])
    return n

@step(cache=False, here=True)
def near() -> str:
    return os.getcwd()

@step
def numbers(count: int) -> list[int]:
    return list(range(count))

@step(side_effect=True)
def register(n: int) -> int:
    model = LinearRegression().fit(ROWS, [n, n + 1.0, n + 2.0])
    made = context().registry.register("many", model, example=ROWS, key=context().key)
    time.sleep(0.05)
    return made.number

@step(cache=False, timeout_s=0.3)
def slow(n: int) -> int:
    time.sleep(60)
    return n

@step(cache=False, gpu=7)
def greedy(n: int) -> int:
    return n

@pipeline
def all_kinds() -> dict[str, object]:
    return {{"where": where(1), "wide": wide(3), "near": near(), "many": where.map([1, 2, 3], limit=1)}}

@pipeline
def registered(count: int = {TASKS}) -> list[int]:
    return register.map(numbers(count))

@pipeline
def slowly() -> int:
    return slow(1)

@pipeline
def greedily() -> int:
    return greedy(where(1))
"""


@pytest.fixture
def house(cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "twice.py").write_text("def twice(n: int) -> int:\n    return 2 * n\n")
    monkeypatch.setenv("SHOP_TOKEN", "hunter2222")
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    made = open_house(load(flags={"pipelines.engine": "ray"}))
    yield made
    made.close()


def run(house: Wiring, name: str) -> PipelineRun:
    rooms = house.get(Pipelines)
    run_id = rooms.submit(f"flow.py:{name}")
    house.get(Worker).run_one()
    return rooms.get(run_id)


def test_steps_run_on_nodes_with_code_secrets_and_resources_and_tell_as_beside_the_worker(
    cluster: RayCluster, house: Wiring, tmp_path: Path
) -> None:
    done = run(house, "all_kinds")
    assert (done.state, done.error) == (RunState.FINISHED, "")
    assert isinstance(done.result, dict)
    there = done.result["where"]
    assert isinstance(there, dict)
    assert not str(there["cwd"]).startswith(str(tmp_path))
    assert there["file"] == f"{there['cwd']}/flow.py"
    assert done.result["near"] == str(tmp_path)
    assert done.result["many"] == [there] * 3
    rooms = house.get(Pipelines)
    assert rooms.log(done.id, "wide") == "told *** 2\n"
    assert "at work n=2" in rooms.log(done.id, "where")
    assert rooms.metrics(done.id)["n"] in (2.0, 4.0, 6.0)
    late = run(house, "slowly")
    assert late.error.splitlines()[0] == "step slow took longer than its 0.3 s"
    refused = run(house, "greedily")
    assert "step greedy asks for 7 graphics cards, there are 0" in refused.error
    assert [each.id for each in refused.steps if each.attempt] == []


def test_a_node_is_killed_in_the_middle_and_every_task_has_registered_once(cluster: RayCluster, house: Wiring) -> None:
    registry, killed = house.get(Registry), list[int]()

    def kill() -> None:
        while len(known(registry)) < TASKS // 4:
            time.sleep(0.02)
        killed.extend(cluster.kill_a_node())

    killer = threading.Thread(target=kill)
    killer.start()
    done = run(house, "registered")
    killer.join()
    assert (done.state, done.error) == (RunState.FINISHED, "")
    assert len(killed) > 3
    assert isinstance(done.result, list)
    assert sorted(done.result) == list(range(1, TASKS + 1))
    assert known(registry) == list(range(1, TASKS + 1))
    tries = Counter(step.attempt for step in done.steps if step.id.startswith("register."))
    assert tries[2] > 0  # the killed node had been at some of them
    print("tries", dict(tries), "seconds", (done.finished_at - done.started_at) / 1e6)


def known(registry: Registry) -> list[int]:
    try:
        return sorted(each.number for each in registry.versions("many", limit=1000))
    except NotFound:
        return []


CONNECT = """
import sys, time
from mainspring.core.errors import Unavailable
from mainspring.engines.ray import connected
try:
    ray = connected(sys.argv[1])
except Unavailable as reason:
    print(reason)
else:
    print("there are", int(ray.cluster_resources()["CPU"]))
"""


def told(address: str, env: Mapping[str, str]) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-W", "ignore", "-c", CONNECT, address]
    return subprocess.run(command, env={**kept, **env}, capture_output=True, text=True, timeout=300).stdout


def test_whoever_has_no_token_or_another_one_is_refused(cluster: RayCluster, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert "there are" in told(cluster.address, home | cluster.env)
    for env in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        said = told(cluster.address, {**home, **env})
        assert "no cluster of Ray" in said
        assert "RAY_AUTH_TOKEN_PATH" in said
