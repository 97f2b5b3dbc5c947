"""Searches whose trials run on a cluster of Ray, driven by a server and by a command, with a node killed under both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.clusters import RayCluster
from tests.ports import own_ports

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.demo.server import ServerProcess
from mainspring.pipelines import Pipelines, StepState
from mainspring.pipelines.search import SearchState, Study, TrialState
from mainspring.pipelines.search.service import Searches
from mainspring.server.house import open_house
from mainspring.storage.ports import Journal
from mainspring.testing.postgres import PostgresServer

pytest.importorskip("ray")
pytest.importorskip("optuna")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.postgres]
PATIENCE_S = 150
TRIALS = 3
TOML = f"""
[pipelines]
engine = "ray"

[loop]
workers = 2
lease_s = 5

[search.bowl]
pipeline = "bowl.py:bowl"
objective = {{ loss = "minimize" }}
trials = {TRIALS}
parallel = 2

[search.bowl.space]
x = {{ low = -4.0, high = 4.0 }}
"""
BOWL = """
import os
import time
from pathlib import Path

from mainspring import pipeline, step

PLACE = Path("{place}")


def note(what: str) -> None:
    (PLACE / f"{{what}} {{os.getpid()}} {{time.monotonic_ns()}}").touch()


@step
def rows(count: int) -> list[float]:
    note("rows 0")
    return [float(n) for n in range(count)]


@step(cache=False)
def fit(data: list[float], x: float) -> float:
    note(f"fit {{x}}")
    while not (PLACE / "go").exists():
        time.sleep(0.02)  # the test says when a trial may end
    return (x - 1) ** 2 + len(data)


@pipeline
def bowl(x: float = 0.0, count: int = 5) -> dict[str, float]:
    return {{"loss": fit(rows(count), x)}}
"""


@dataclass
class Begun:
    """That a step began: which, with which parameter, in which process."""

    step: str
    x: float
    pid: int


@dataclass
class Place:
    """A project on the cluster, and what its steps tell of themselves."""

    root: Path
    told: Path
    house: Wiring
    env: dict[str, str]

    def begun(self) -> list[Begun]:
        words = [path.name.split() for path in self.told.iterdir() if path.name != "go"]
        return [Begun(step, float(x), int(pid)) for step, x, pid, _ in words]

    def at_fit(self) -> list[float]:
        return [each.x for each in self.begun() if each.step == "fit"]

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            logs = [path.read_text()[-2000:] for path in self.root.glob("*.log")]
            assert time.monotonic() < deadline, f"{what}: {self.begun()} {logs}"
            time.sleep(0.05)


@pytest.fixture
def place(cluster: RayCluster, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    root, told = tmp_path / "project", tmp_path / "told"
    root.mkdir()
    told.mkdir()
    (root / "mainspring.toml").write_text(TOML)
    (root / "bowl.py").write_text(BOWL.format(place=told))
    env = {**cluster.env, "MAINSPRING_STORAGE_DB": postgres_server.url(postgres_server.make_database())}
    house = open_house(load(root, environ=env))
    yield Place(root, told, house, env)
    house.close()


@contextmanager
def served(place: Place) -> Iterator[None]:
    port, serving_port = own_ports(2)
    server = ServerProcess(place.root, port=port, serving_port=serving_port, env=place.env)
    server.start()
    try:
        yield
    finally:
        server.stop()


@contextmanager
def commanded(place: Place, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mainspring", "search", *words, "--json"]
    with (place.root / "command.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=place.root, env={**os.environ, **place.env}, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_node_is_killed_under_two_searches_and_each_trial_counts_once(place: Place, cluster: RayCluster) -> None:
    searches = place.house.get(Searches)
    with served(place):
        with commanded(place, "run", "bowl", "--queue") as queued:
            said = json.loads(queued.communicate(timeout=PATIENCE_S)[0])
        with commanded(place, "run", "bowl", "--param", "count=7", "--seed", "7") as running:
            place.until("four trials begin", lambda: len(place.at_fit()) == 4)
            assert len({*place.at_fit()}) == 4
            hit = {each.pid for each in place.begun() if each.step == "fit"}
            killed = {*cluster.kill_a_node()}
            assert len(hit & killed) == 2, "a core for each trial, and two of them on each node"
            cluster.fill_up()  # those that wait hold all cores that are left
            place.until("what was lost begins again", lambda: len(place.at_fit()) == 6)
            assert len({*place.at_fit()}) == 4
            (place.told / "go").touch()
            other = json.loads(running.communicate(timeout=PATIENCE_S)[0])
            assert running.returncode == 0
        place.until("both end", lambda: searches.get(said["id"]).state.is_final)
    tries = check(place, searches.get(said["id"]), rows=5) + check(place, searches.get(other["id"]), rows=7)
    assert {*tries} == {1, 2}, "a node that dies costs a step one of its processes"
    assert tries[2] >= 2  # those that were killed; on a busy machine Ray gives up a node that lives


def check(place: Place, study: Study, *, rows: int) -> Counter[int]:
    """How often the steps that trials differ in were begun, after all that a search promises was looked at."""
    assert (study.state, study.error) == (SearchState.FINISHED, "")
    assert [trial.number for trial in study.trials] == list(range(TRIALS))
    assert {trial.state for trial in study.trials} == {TrialState.FINISHED}
    assert len({trial.run for trial in study.trials}) == TRIALS
    losses = {trial.number: (float(str(trial.params["x"])) - 1) ** 2 + rows for trial in study.trials}
    assert {trial.number: trial.values["loss"] for trial in study.trials} == pytest.approx(losses)
    (best,) = place.house.get(Searches).best(study)
    assert losses[best.number] == min(losses.values())
    journal = place.house.get(Journal)  # type: ignore[type-abstract]
    events = [event for event in journal.read(0, limit=1000) if event.subject == study.ref]
    ended = Counter(event.payload["trial"] for event in events if event.kind == "pipelines.trial_ended")
    assert ended == Counter(range(TRIALS)), "a trial was counted twice, or not at all"
    runs = [place.house.get(Pipelines).get(trial.run) for trial in study.trials]
    assert {run.engine for run in runs} == {"ray"}
    steps = {(run.id, step.id): step for run in runs for step in run.steps}
    prefix = [steps[run.id, "rows"].state for run in runs]
    assert prefix.count(StepState.CACHED) >= TRIALS - 2, "but for those that began at once"
    assert {*prefix} == {StepState.CACHED, StepState.FINISHED}
    return Counter(steps[run.id, "fit"].attempt for run in runs)
