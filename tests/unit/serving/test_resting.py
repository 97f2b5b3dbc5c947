"""Endpoints that nobody asks: unloaded, described all the same, loaded again once for all who ask, within a bound."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.serving.doors import packages
from tests.unit.serving.plane import whole

from mainspring.core.errors import Invalid
from mainspring.registry.manifests import Seal
from mainspring.registry.packages import Package, write_folder
from mainspring.serving.modelserver import resting
from mainspring.serving.modelserver.batching import Line
from mainspring.serving.modelserver.exchange import Reply
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Options, Plan, read_applied
from mainspring.serving.modelserver.worker import Worker, WorkerOptions

BODY = json.dumps(
    {
        "inputs": [
            {"name": "a", "shape": [1], "datatype": "FP64", "data": [1.0]},
            {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
        ]
    }
).encode()
IDLE = Options(idle_s=1, log_share=0.0)


@pytest.fixture(scope="module")
def package() -> Package:
    return packages()["plain"]


@dataclass
class Site:
    worker: Worker
    folder: Path

    async def ask(self, path: str = "/v2/models/m/infer", **headers: str) -> Reply:
        method, body = ("POST", BODY) if path.endswith("infer") else ("GET", b"")
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        found = await self.worker.app.reply(whole(method, path, given, body), Line())
        assert found is not None
        return found

    async def predict(self) -> tuple[str, float]:
        reply = await self.ask()
        assert reply.status == 200, reply.body
        said = json.loads(reply.body)
        return said["model_version"], round(said["outputs"][0]["data"][0], 6)

    async def until_asleep(self) -> None:
        while not self.sleeps():
            await asyncio.sleep(0.01)

    def sleeps(self) -> bool:
        return self.worker.app.served.table.endpoints["m"].asleep

    def plan(self, generation: int, *versions: int, options: Options = IDLE) -> Plan:
        arms = [
            ArmPlan(name=f"v{v}", version=v, share=1.0 / len(versions), folder=str(self.folder / str(v)))
            for v in versions
        ]
        return Plan(generation=generation, endpoints=[EndpointPlan(name="m", arms=arms, options=options)])


@asynccontextmanager
async def site(folder: Path, package: Package, options: Options = IDLE) -> AsyncIterator[Site]:
    for number in (1, 2):
        seal = Seal("m", number, package.digest, "", "")
        write_folder(folder / str(number), package.manifest.to_bytes(), package.files, seal)
    plan = Plan(durability="process")
    worker = Worker(WorkerOptions(folder, os.getppid()), plan, asyncio.get_running_loop(), 0)
    made = Site(worker, folder)
    await worker.follow(made.plan(1, 1, options=options))
    tending = asyncio.create_task(worker.resting.tend())
    try:
        yield made
    finally:
        tending.cancel()
        await asyncio.to_thread(worker.close)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "EVERY_S", 0.05)


def test_it_is_unloaded_described_all_the_same_and_loaded_once_for_all_who_ask(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with site(tmp_path, package) as here:
            before = await here.predict(), (await here.ask("/v2/models/m")).body
            await asyncio.sleep(0.1)
            assert here.worker.app.counts().asked_at["m"] > 0
            await here.until_asleep()
            assert read_applied(tmp_path)[0].asleep == ["m"]
            assert (await here.ask("/v2/models/m")).body == before[1]
            assert (await here.ask("/v2/health/ready")).status == 200
            loads: list[int] = []

            def counted(arm: ArmPlan, *, public_key: bytes | None, max_rows: int) -> LoadedModel:
                loads.append(arm.version)
                return load_model(arm, public_key=public_key, max_rows=max_rows)

            monkeypatch.setattr("mainspring.serving.modelserver.traffic.load_model", counted)
            assert set(await asyncio.gather(*(here.predict() for _ in range(8)))) == {before[0]}
            assert loads == [1]
            assert read_applied(tmp_path)[0].asleep == []

    asyncio.run(scene())


def test_who_waits_longer_than_it_may_is_told_to_come_again_and_then_answered(tmp_path: Path, package: Package) -> None:
    async def scene() -> None:
        async with site(tmp_path, package) as here:
            await here.until_asleep()
            refused = await here.ask(request_timeout="0.0000001")
            assert refused.status == 503
            assert int(dict(refused.headers)[b"retry-after"]) >= 1
            assert b"not loaded again yet" in refused.body
            assert ("m", "1", "v1", 503, 1) in here.worker.app.counts().requests
            assert (await here.predict())[0] == "1"

    asyncio.run(scene())


def test_one_that_cannot_be_loaded_again_says_why_until_it_can(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with site(tmp_path, package) as here:
            await here.until_asleep()
            shutil.move(tmp_path / "1", tmp_path / "gone")
            for _ in range(2):
                reply = await here.ask()
                assert (reply.status, b"no model package" in reply.body) == (503, True)
            assert read_applied(tmp_path)[0].problems == {"m": "there is no model package"}
            shutil.move(tmp_path / "gone", tmp_path / "1")
            assert (await here.ask()).status == 503, "it is not tried without pause"
            monkeypatch.setattr(resting, "_AGAIN_S", 0.0)
            assert (await here.predict())[0] == "1"
            assert read_applied(tmp_path)[0].problems == {}

    asyncio.run(scene())


def test_a_plan_finds_it_asleep_and_the_next_answer_is_of_the_version_that_is_live(
    tmp_path: Path, package: Package
) -> None:
    async def scene() -> None:
        async with site(tmp_path, package) as here:
            await here.until_asleep()
            await here.worker.follow(here.plan(2, 1))
            assert here.sleeps(), "nothing of it is new"
            waking, following = here.predict(), here.worker.follow(here.plan(3, 2))
            said = await asyncio.gather(following, waking)
            assert said[1][0] == "2", "the plan came first"
            await here.until_asleep()
            await here.worker.follow(here.plan(4, 2, options=Options(log_share=0.0)))
            assert not here.sleeps(), "it shall not be unloaded any more"
            assert (await here.predict())[0] == "2"

    asyncio.run(scene())


def test_a_version_that_cannot_be_loaded_does_not_take_the_sleeping_one_away(tmp_path: Path, package: Package) -> None:
    async def scene() -> None:
        async with site(tmp_path, package) as here:
            await here.until_asleep()
            await here.worker.follow(here.plan(2, 3))
            problems = dict(here.worker.app.served.table.problems)
            assert "m" in problems
            assert (await here.predict())[0] == "1"
            assert here.worker.app.served.table.problems == problems, "the new version still can't be loaded"

    asyncio.run(scene())


def test_times_out_of_range_are_refused() -> None:
    with pytest.raises(Invalid, match="idle_s"):
        Options(idle_s=-1)
    with pytest.raises(Invalid, match="cold_ms"):
        Options(cold_ms=0)
