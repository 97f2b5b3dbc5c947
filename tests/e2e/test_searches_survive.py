"""A search that a server drives, under kill -9 of its driver, of a trial and of the server: each trial counts once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from tests.ports import own_ports

from mainspring.core.settings import load
from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess
from mainspring.server.house import open_house
from mainspring.storage.ports import Journal, Queue

pytest.importorskip("optuna")
PATIENCE_S = 90
TOML = """
[loop]
workers = 2
lease_s = 2

[search.bowl]
pipeline = "bowl.py:bowl"
objective = { loss = "minimize" }
trials = 6
parallel = 2
winner = { wanted = true }

[search.bowl.space]
x = { low = -4.0, high = 4.0 }
"""
BOWL = """
import os
import time
from pathlib import Path

import mainspring as ms


@ms.step(cache=False)
def fit(x: float) -> float:
    with open("begun.txt", "a") as file:
        file.write(f"{x} {os.getpid()}\\n")
    while not Path("go").exists():
        time.sleep(0.02)  # the test says when a trial may end
    return (x - 1) ** 2


@ms.step(side_effect=True)
def publish(loss: float, wanted: bool) -> str:
    return ms.context().key if wanted else ""


@ms.pipeline
def bowl(x: float = 0.0, wanted: bool = False) -> dict[str, object]:
    loss = fit(x)
    return {"loss": loss, "key": publish(loss, wanted)}
"""


@dataclass
class Place:
    """A project with a server that dies when told."""

    root: Path
    server: ServerProcess
    api: Api
    env: dict[str, str]

    def get(self, study: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.api.get(f"/api/v1/searches/{study}"))

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"{what}: {(self.root / 'server.log').read_text()[-3000:]}"
            time.sleep(0.05)

    def workers(self, folder: str) -> list[int]:
        """Processes of the server whose task is kept in a folder of this name: drivers, or trials."""
        found = []
        for child in psutil.Process(self.server.pid).children(recursive=True) if self.server.pid else []:
            try:
                if any(f"/scratch/{folder}/" in part for part in child.cmdline()):
                    found.append(child.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self, folder: str) -> None:
        for pid in self.workers(folder):
            os.kill(pid, signal.SIGKILL)

    def begun(self) -> list[str]:
        path = self.root / "begun.txt"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def served(root: Path, env: dict[str, str]) -> Iterator[Place]:
    port, serving_port = own_ports(2)
    server = ServerProcess(root, port=port, serving_port=serving_port, env=env)
    server.start()
    api = Api(server.address, timeout_s=60)
    try:
        yield Place(root, server, api, env)
    finally:
        api.close()
        server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    env = {}
    if request.param == "postgres":
        made = request.getfixturevalue("postgres_server")
        env["MAINSPRING_STORAGE_DB"] = made.url(made.make_database())
    (tmp_path / "mainspring.toml").write_text(TOML)
    (tmp_path / "bowl.py").write_text(BOWL)
    with served(tmp_path, env) as found:
        yield found


@pytest.mark.long
@pytest.mark.timeout(420)
def test_whatever_is_killed_each_trial_counts_once_and_one_call_stops_it_all(place: Place) -> None:
    started = cast("dict[str, Any]", place.api.post("/api/v1/searches", {"target": "bowl"}))
    study = str(started["id"])
    place.until("two trials begin", lambda: len(place.begun()) == 2)

    driver = place.workers("searches")
    place.kill("searches")  # what drives it: both trials go on meanwhile
    place.until("it is taken up", lambda: (now := place.workers("searches")) and not {*now} & {*driver})
    assert len(place.get(study)["trials"]) == 2

    place.kill("pipeline-runs")  # both trials
    place.until("they are tried again", lambda: len(place.begun()) == 4)
    assert len({*place.begun()}) == 2

    place.server.kill()  # and everything
    place.server.start()
    place.until("both go on after that", lambda: len(place.begun()) == 6)
    assert len({*place.begun()}) == 2

    stopped = cast("dict[str, Any]", place.api.post(f"/api/v1/searches/{study}/cancel", {"reason": "late"}))
    assert (stopped["state"], stopped["error"]) == ("cancelled", "late")
    runs = [cast("dict[str, Any]", place.api.get(f"/api/v1/pipeline-runs/{each['run']}")) for each in stopped["trials"]]
    assert [run["state"] for run in runs] == ["cancelled", "cancelled"]
    place.until("no process is left of it", lambda: not place.workers("searches") + place.workers("pipeline-runs"))

    place.api.post(f"/api/v1/searches/{study}/resume", {})
    place.until("the same trials go on", lambda: len(place.begun()) == 8)
    assert len({*place.begun()}) == 2
    (place.root / "go").touch()
    place.until("some trials end", lambda: sum(each["state"] == "finished" for each in place.get(study)["trials"]) > 2)
    place.server.kill()
    place.server.start()
    place.until("it ends", lambda: place.get(study)["state"] in ("finished", "failed"))
    check(place, study)


def check(place: Place, study: str) -> None:
    found = place.get(study)
    assert found["state"] == "finished", found["error"]
    trials = found["trials"]
    assert [each["number"] for each in trials] == list(range(6))
    assert {each["state"] for each in trials} == {"finished"}
    assert len({each["params"]["x"] for each in trials}) == 6
    assert len({each["run"] for each in trials}) == 6
    house = open_house(load(place.root, environ=place.env))
    try:
        journal, queue = house.get(Journal), house.get(Queue)  # type: ignore[type-abstract]
        events = [event for start in range(0, journal.last(), 500) for event in journal.read(start, limit=500)]
        ended = Counter(event.payload["trial"] for event in events if event.kind == "pipelines.trial_ended")
        assert ended == Counter(range(6)), "a trial was counted twice, or not at all"
        kinds = Counter(event.kind for event in events)
        asked = [event.subject for event in events if event.kind == "pipelines.run_requested"]
        assert len(asked) == 7, "each trial is one run, and the winner one more"
        assert f"pipeline-runs/{found['winner']}" in asked
        assert kinds["pipelines.search_started"] == kinds["pipelines.search_resumed"] == 1
        assert kinds["pipelines.search_ended"] == 2  # cancelled, then finished
        place.until(
            "its job is taken up and ended, should the last kill have come between",
            lambda: queue.get(found["job_id"]).state.is_final,
        )
        assert str(queue.get(found["job_id"]).state) == "finished"
    finally:
        house.close()
