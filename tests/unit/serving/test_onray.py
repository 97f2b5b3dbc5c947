"""What answers on Ray Serve: a replica and a keeper in this process, and, where Ray is installed, on Ray itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
from tests.clusters import served_by_ray
from tests.e2e.plansite import NAMES, Load, Site, make_packages
from tests.ports import own_ports
from tests.unit.serving.plane import whole

from mainspring.core.errors import Failed, Fenced, Invalid
from mainspring.serving.client import Client
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher, Line
from mainspring.serving.modelserver.plan import SPOOLS, Plan, read_plan, write_plan
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Table, build
from mainspring.serving.onray import Keeper, Replica
from mainspring.serving.ray_commands import config
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

pytest.importorskip("starlette")
BODY = json.dumps({"inputs": [{"name": n, "shape": [2], "datatype": "FP64", "data": [0.25, -1.5]} for n in NAMES]})
PATH = "/v2/models/m/infer"


class Handle:
    """Calls the methods of an object as Ray's handles do, `handle.name.remote(...)`; broken, it calls nothing."""

    def __init__(self, whose: object) -> None:
        self._whose = whose
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        handle = self

        class Method:
            @staticmethod
            async def remote(*given: object) -> object:
                if handle.is_broken:
                    raise ConnectionError("the actor is gone")
                return await getattr(handle._whose, name)(*given)

        return Method


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "serving", open_delta("", tmp_path), *make_packages(tmp_path / "packages"))
    made.plan(1, 1)
    return made


@asynccontextmanager
async def replica_of(site: Site) -> AsyncIterator[tuple[Replica, Handle]]:
    handle, made = Handle(Keeper(str(site.folder))), object.__new__(Replica)
    await cast("Callable[[Replica, Any], Awaitable[None]]", Replica.__init__)(made, handle)
    try:
        yield made, handle
    finally:
        made._following.cancel()
        made._app._batcher.close()
        keeper = handle._whose
        if isinstance(keeper, Keeper) and keeper._spool is not None:
            await asyncio.to_thread(keeper._spool.close)
        made._folder.cleanup()


async def asked(replica: Replica, method: str = "POST", path: str = PATH, body: str = BODY) -> tuple[int, bytes]:
    from starlette.requests import Request

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    response = await replica(Request({**scope, "headers": [(b"content-type", b"application/json")]}, receive))
    assert response.headers["content-type"]
    return response.status_code, bytes(response.body)


def outputs(body: bytes) -> object:
    return json.loads(body)["outputs"]


def test_a_replica_answers_bit_for_bit_what_our_model_server_does(site: Site, tmp_path: Path) -> None:
    async def ours() -> bytes:
        loop = asyncio.get_running_loop()
        batcher, spool = Batcher(loop), Spool(tmp_path / "own.sqlite", "process", loop)
        app = App(batcher, spool)
        app.served.table = build(read_plan(site.folder), Table(), lambda name, model: None)
        reply = await app.reply(whole("POST", PATH, {}, BODY.encode()), Line())
        assert reply is not None
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(spool.close)
        return reply.body

    async def theirs() -> bytes:
        async with replica_of(site) as (replica, _):
            for path in ("/v2/health/ready", "/v2/models/m", "/readyz"):
                assert (await asked(replica, "GET", path))[0] == 200
            assert (await asked(replica, body="{"))[0] == 400
            assert (await asked(replica, path="/v2/models/other/infer"))[0] == 404
            status, body = await asked(replica)
            assert status == 200
            return body

    assert outputs(asyncio.run(theirs())) == outputs(asyncio.run(ours()))


def test_what_was_answered_is_in_the_log_of_the_project_once(site: Site) -> None:
    async def run() -> list[str]:
        async with replica_of(site) as (replica, handle):
            bodies = [body for _, body in await asyncio.gather(*(asked(replica) for _ in range(20)))]
            handle.is_broken = True
            status, said = await asked(replica)
            assert status == 504, "nobody knows whether the keeper had committed it"
            assert b"the rows may be in the log" in said
            assert (await asked(replica))[0] == 503, "nothing was sent"
            handle.is_broken = False
            handle._whose = Keeper(str(site.folder))  # it died, and Ray made another
            bodies.append((await asked(replica))[1])
            return [json.loads(body)["id"] for body in bodies]

    ids = asyncio.run(run())
    site.compactor.run()
    assert sorted(site.logged()) == sorted(f"{each}.{row}" for each in ids for row in range(2))
    assert not [path for path in (site.folder / SPOOLS).glob("*.sqlite") if path.with_suffix(".lock").exists()][1:]


def test_a_call_that_ray_makes_again_is_committed_once_and_refused_by_another_life_of_the_keeper(site: Site) -> None:
    made: list[Any] = []

    class Again(Handle):
        """Makes each call for rows twice, as Ray Serve may when an answer does not come."""

        def __getattr__(self, name: str) -> Any:
            method = super().__getattr__(name)

            class Twice:
                @staticmethod
                async def remote(*given: object) -> object:
                    made.append(given)
                    await method.remote(*given)
                    return await method.remote(*given)

            return Twice if name == "append" else method

    async def run() -> list[str]:
        async with replica_of(site) as (replica, handle):
            replica._log._keeper = Again(handle._whose)
            bodies = [body for _, body in await asyncio.gather(*(asked(replica) for _ in range(10)))]
            later = Keeper(str(site.folder))
            with pytest.raises(Fenced, match="may have committed"):
                await later.append(*made[-1])
            assert later._spool is None
            return [json.loads(body)["id"] for body in bodies]

    ids = asyncio.run(run())
    site.compactor.run()
    assert sorted(site.logged()) == sorted(f"{each}.{row}" for each in ids for row in range(2))


def test_replicas_follow_the_plan_and_stay_with_it_when_a_version_cannot_be_loaded(site: Site) -> None:
    async def run() -> None:
        async with replica_of(site) as (replica, _):
            version = json.loads((await asked(replica))[1])["model_version"]
            assert version == "1"
            site.plan(2, 2)
            while version != "2":
                await asyncio.sleep(0.02)
                version = json.loads((await asked(replica))[1])["model_version"]
            await replica.check_health()
            replica._following.cancel()
            await asyncio.sleep(0)
            with pytest.raises(Failed, match="no longer follows"):
                await replica.check_health()

    asyncio.run(run())
    manifest = Path(site.arms[0].folder) / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{}")
    site.plan(3, 1)

    async def begin() -> None:
        async with replica_of(site):
            raise AssertionError("it began")

    with pytest.raises(Failed, match="models could not be loaded: m: "):
        asyncio.run(begin())


def test_the_config_names_what_ray_serve_shall_run_and_is_refused_without_a_deployment(site: Site) -> None:
    about = {"host": "127.0.0.1", "port": 8000, "replicas": 2, "cpus": 0.5}
    made: Any = config(site.folder, **about, max_replicas=0)  # type: ignore[arg-type]
    (served,) = made["applications"]
    assert served["args"] == {"folder": str(site.folder)}
    assert served["deployments"][0] == {"name": "Replica", "num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}}
    more: Any = config(site.folder, **about, max_replicas=5)  # type: ignore[arg-type]
    assert more["applications"][0]["deployments"][0]["autoscaling_config"] == {"min_replicas": 2, "max_replicas": 5}
    with pytest.raises(Invalid, match="2 to 1 replicas"):
        config(site.folder, **about, max_replicas=1)  # type: ignore[arg-type]
    write_plan(site.folder, Plan(generation=2))
    with pytest.raises(Invalid, match="there is no deployment"):
        config(site.folder, **about, max_replicas=0)  # type: ignore[arg-type]


def pids_of(kind: str) -> list[int]:
    """Processes of the actors that serve, by the titles that Ray gives them."""
    names = [(child.pid, child.cmdline()[:1]) for child in psutil.Process().children(recursive=True)]
    return [pid for pid, title in names if title and f":{kind}" in title[0]]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray_serve_answers_over_http_as_our_server_and_loses_no_row_when_its_processes_are_killed(
    site: Site, tmp_path: Path
) -> None:
    (port,) = own_ports(1)
    made = config(site.folder, host="127.0.0.1", port=port, replicas=2, max_replicas=0, cpus=0.1)
    ours = Supervisor(site.folder, ServerOptions(drain_s=0.0))
    rows = {name: np.random.default_rng(0).normal(size=50).tolist() for name in NAMES}
    import ray

    with served_by_ray(made, tmp_path, ray.get_runtime_context().gcs_address) as url, Client(url) as theirs:
        there = theirs.predict("m", rows, request_id="bits")
        with Client(ours.start()) as own:
            assert own.predict("m", rows).outputs == there.outputs
        ours.stop()
        load = Load(url, clients=3)
        try:
            load.wait_for(50)
            for kind in ("Replica", "Keeper"):
                os.kill(pids_of(kind)[0], signal.SIGKILL)
                load.wait_for(200)
            site.plan(2, 2)
            while load.answered[-1][1] != "2":
                load.wait_for(1)
        finally:
            load.end()
    site.compactor.run()
    counts = Counter(site.logged())
    assert not {name for name, _ in load.answered} - set(counts)
    assert [name for name, count in counts.items() if count > 1] == []
    assert {version for _, version in load.answered} == {"1", "2"}
