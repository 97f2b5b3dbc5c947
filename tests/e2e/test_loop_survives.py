"""The loop under kill -9: whatever dies and when, it ends where it would have, and nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from tests.e2e.world import START, Moment, Reaper, World, copy_project
from tests.ports import own_ports

from mainspring.access import Audit
from mainspring.core.clock import DAY_US
from mainspring.core.settings import load
from mainspring.data import Data
from mainspring.demo.server import ServerProcess
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.storage.ports import Journal, Tables

MOMENTS = (
    Moment("loop.cycle_started", 1, "server"),
    Moment("pipelines.step_finished", 1, "step"),
    Moment("registry.version_registered", 1, "server"),
    Moment("gates.verdict_reached", 1, "server"),
    Moment("serving.deployed", 1, "model server"),
    Moment("monitoring.alarm_raised", 1, "server"),
    Moment("registry.version_registered", 2, "step"),
    Moment("serving.rollout_started", 1, "server"),
)
"""Eight moments told by the event log; three more are in the middle of requests, labels and the canary."""
TURN_DAY, LAST_DAY = 6, 45


def history() -> pl.DataFrame:
    import numpy as np

    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 900))
    label = (a + 0.5 * random.normal(size=900) > 0).astype(int)
    return pl.DataFrame({"a": a, "b": b, "label": label})


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_whatever_is_killed_the_loop_ends_in_the_same_state(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = copy_project(tmp_path / "project")
    env = {}
    if kind == "postgres":
        server = request.getfixturevalue("postgres_server")
        env["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    house = open_house(load(root, environ=env))
    try:
        house.get(Data).ingest("history", history(), key="history")
        port, serving_port = own_ports(2)
        world = World(ServerProcess(root, port=port, serving_port=serving_port, env=env), TURN_DAY)
        reaper = Reaper(world, house.get(Tables), MOMENTS)  # type: ignore[type-abstract]
        world.server.start()
        reaper.start()
        try:
            live_through(world)
        finally:
            reaper.stop()
            world.server.stop()
            world.api.close()
            world.model.close()
        assert reaper.trouble is None
        assert not reaper.left, f"these moments never came: {reaper.left}"
        assert len(world.kills) == 11
        check_nothing_lost(world, house.get(Serving))
        check_history(house.get(Journal), house.get(Registry))  # type: ignore[type-abstract]
        assert not house.get(Audit).verify().faults
    finally:
        house.close()


def live_through(world: World) -> None:
    """Start the first cycle, then live day by day until the second is promoted."""
    asked = {"policy": "keep-good", "reason": "the first version", "key": "first", "as_of": START}
    cycle = cast(dict[str, object], world.persist(lambda _: world.api.post("/api/v1/cycles", asked)))
    assert world.rest(str(cycle["id"]))["state"] == "deployed"
    shot = set[str]()

    def once(name: str, victim: str) -> None:
        if name not in shot:
            shot.add(name)
            world.kill(victim)

    for day in range(LAST_DAY):
        canary = world.state() == "canary"

        def interrupt(row: int, day: int = day, canary: bool = canary) -> None:
            if day == 1 and row == 60:
                once("requests", "model server")
            if day == 2 and row == 60:
                once("server while requests run", "server")
            if canary and row == 30:
                once("canary", "both")

        world.day(day, interrupt=interrupt)
        if world.state() == "promoted":
            return
    raise AssertionError(f"after {LAST_DAY} days the newest cycle is {world.state()}")


def check_nothing_lost(world: World, serving: Serving) -> None:
    serving.compact()
    logged = Counter(serving.predictions("sign").select("id").collect()["id"].to_list())
    assert [name for name in world.answered if logged[name] != 1] == [], "acknowledged predictions lost or doubled"
    labels = Counter({item.prediction_id: 0 for item in serving.labels("sign")})
    known = {item.prediction_id: item.value for item in serving.labels("sign")}
    assert known == world.answered, "acknowledged labels lost or changed"
    assert len(labels) == len(known)


def check_history(journal: Journal, registry: Registry) -> None:
    """Each thing happened once: two versions, two verdicts, one rollout, and every seen number is the next."""
    events = [event for start in range(0, journal.last(), 500) for event in journal.read(start, limit=500)]
    assert [event.seq for event in events] == list(range(1, journal.last() + 1))
    kinds = Counter(event.kind for event in events)
    for kind, count in {
        "registry.version_registered": 2,
        "gates.verdict_reached": 2,
        "serving.rollout_started": 1,
        "serving.rollout_promoted": 1,
        "loop.cycle_started": 2,
        "loop.cycle_ended": 2,
    }.items():
        assert kinds[kind] == count, (kind, kinds)
    assert registry.alias("sign", "champion") == 2
    assert len(registry.versions("sign")) == 2
    assert all(event.at > DAY_US for event in events)
