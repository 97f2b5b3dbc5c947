"""The deployments of a project on Ray Serve: our model server's answering code in replicas, on any nodes of a cluster.

Ray brings HTTP, replicas and nodes. A replica answers as a worker of the model server does: it follows the same plan,
so that shares, canaries, rules and versions change there when they change here. One keeper runs on the machine with the
project's data folder: replicas get plan and packages from it, and hand it the rows of the prediction log, which are
committed there, in a spool like that of any worker, before the answer leaves. So nodes need nothing but Mainspring.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from mainspring.core.errors import Failed, Fenced, Timeout, Unavailable
from mainspring.core.ids import new_id
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher, Line
from mainspring.serving.modelserver.connections import Message
from mainspring.serving.modelserver.exchange import TEXT, Reply
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import PLAN, SPOOLS, EndpointPlan, Plan, read_plan
from mainspring.serving.modelserver.spool import COLUMNS, Entry, Row, Spool
from mainspring.serving.modelserver.traffic import build

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.requests import Request
    from starlette.responses import Response

_told = logging.getLogger(__name__)
_LOOK_S = 0.1
_WAIT_S = 5.0
_AGAIN_S = 1.0
_VERSION = COLUMNS.index("version")
Files = Mapping[str, bytes]
"""Of a package, by their names in its folder."""
Inputs = Sequence[tuple[str, str]]
Declared = Mapping[tuple[str, int], Inputs]
"""The input columns of versions, by deployment and number."""
Call = tuple[str, str, int]
"""Of which life of the keeper rows are asked for, by which replica, and its how manieth call it is."""


class Keeper:
    """What replicas need of the machine with the data folder: plan, packages, and a place for the rows of the log.

    Args:
        folder: The plan folder of the project's model server.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._seen, self._plan = (0, 0), Plan()
        self._spool: Spool | None = None
        self._declared: set[tuple[str, int]] = set()
        self._life = new_id()
        self._calls: dict[str, tuple[int, asyncio.Task[None]]] = {}

    async def life(self) -> str:
        """What this life of the keeper is called."""
        return self._life

    async def plan(
        self, generation: int, held: Sequence[str], wait_s: float = 0.0
    ) -> tuple[Plan, Mapping[str, Files]] | None:
        """The plan, and the packages it needs by their folders; None when it is still that of this generation.

        Args:
            generation: Of the plan that the replica has.
            held: Packages that it has.
            wait_s: How long to wait for another plan.
        """
        until = time.monotonic() + wait_s
        while (found := self._read()).generation == generation:
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(_LOOK_S)
        places = {Path(arm.folder) for endpoint in found.endpoints for arm in endpoint.arms}
        missing = [place for place in places if place.name not in held]
        return found, await asyncio.to_thread(lambda: {place.name: _files(place) for place in missing})

    def _read(self) -> Plan:
        """The plan of the file, read anew when the file is another one."""
        stat = (self._folder / PLAN).stat()
        if self._seen != (stat.st_ino, stat.st_mtime_ns):
            self._seen, self._plan = (stat.st_ino, stat.st_mtime_ns), read_plan(self._folder)
        return self._plan

    async def append(self, call: Call, groups: Mapping[str, Sequence[Row]], declared: Declared) -> None:
        """Commit rows of deployments; they survive what `serving.durability` says.

        Ray Serve makes a call again whose keeper died while it was at it, or did not answer for a while. The same call
        is committed once in a life, and one that another life may have committed is refused.

        Raises:
            Unavailable: They can't be written.
            Fenced: The call is for a life that is over.
        """
        life, replica, number = call
        if life != self._life:
            raise Fenced("the keeper died, and may have committed these rows before", where="Ray Serve")
        before, task = self._calls.get(replica, (0, None))
        if task is None or before != number:
            task = asyncio.create_task(self._commit(groups, declared))
            self._calls[replica] = number, task
        await asyncio.shield(task)

    async def _commit(self, groups: Mapping[str, Sequence[Row]], declared: Declared) -> None:
        spool = self._open()
        for (deployment, version), inputs in declared.items():
            if (deployment, version) not in self._declared:
                spool.declare(deployment, version, inputs)
                self._declared.add((deployment, version))
        try:
            await asyncio.gather(*(spool.append(deployment, rows) for deployment, rows in groups.items()))
        except Unavailable:
            self._declared.clear()  # columns are committed with rows, so they may be lost with them
            raise

    def _open(self) -> Spool:
        """The spool of this life of the keeper; what one before it left is moved to the table like any orphan."""
        if self._spool is None:
            path = self._folder / SPOOLS / f"{new_id()}.sqlite"
            self._spool = Spool(path, read_plan(self._folder).durability, asyncio.get_running_loop())
        return self._spool


class KeptLog:
    """The prediction log as a replica sees it: whatever queued while the last call to the keeper ran is the next call.

    Args:
        keeper: The handle of the keeper.
    """

    def __init__(self, keeper: Any) -> None:
        self.rows = self.failures = self.waiting_rows = 0
        self._keeper = keeper
        self._inputs: dict[tuple[str, int], Inputs] = {}
        self._queue: list[Entry] = []
        self._sending: asyncio.Task[None] | None = None
        self._name, self._life, self._calls = new_id(), "", 0

    def declare(self, deployment: str, model: LoadedModel) -> None:
        """Keep the input columns of a version, which go to the keeper with its rows."""
        named = zip(model.features.names, model.features.kinds, strict=True)
        self._inputs[deployment, model.version] = [*named]

    def append(self, deployment: str, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Log rows; the future resolves once the keeper has committed them.

        It raises `Unavailable` when they are not in the log, `Timeout` when nobody knows.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting_rows += len(rows)
        self._queue.append((deployment, rows, future))
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
        return future

    async def _send(self) -> None:
        while self._queue:
            entries, self._queue = self._queue, []
            groups: dict[str, list[Row]] = {}
            for deployment, rows, _ in entries:
                groups.setdefault(deployment, []).extend(rows)
            about = {(deployment, cast(int, row[_VERSION])) for deployment, rows in groups.items() for row in rows}
            failure: Unavailable | Timeout | None = None
            self._calls += 1
            try:
                await self._hand_over(groups, {key: self._inputs[key] for key in about})
            except Exception as reason:  # noqa: BLE001 - the edge of a call: the requests hear of it
                failure = self._failure(reason)
                _told.error("%s: %s", failure.what, reason)
            self._resolve(entries, failure)
        self._sending = None

    async def _hand_over(self, groups: Mapping[str, Sequence[Row]], declared: Declared) -> None:
        if not self._life:
            try:
                self._life = await self._keeper.life.remote()
            except Exception as reason:  # whatever it is, nothing was sent
                raise Unavailable(f"no keeper: {type(reason).__name__}") from reason
        await self._keeper.append.remote((self._life, self._name, self._calls), groups, declared)

    def _failure(self, reason: Exception) -> Unavailable | Timeout:
        """What requests hear: whether nothing was written, so that they may come again, or nobody knows."""
        self._life = ""  # the next call is for whoever keeps by then
        why = getattr(reason, "cause", reason)
        if isinstance(why, Unavailable):
            return Unavailable(f"the prediction log can't be written: {type(why).__name__}")
        what = f"the keeper of the prediction log did not answer: {type(why).__name__}"
        return Timeout(what, hint="the rows may be in the log: look for the id before it is sent again")

    def _resolve(self, entries: Sequence[Entry], failure: Unavailable | Timeout | None) -> None:
        for _, rows, future in entries:
            self.waiting_rows -= len(rows)
            self.rows += 0 if failure else len(rows)
            self.failures += len(rows) if failure else 0
            if not future.done():
                future.set_exception(failure) if failure else future.set_result(None)


class Replica:
    """Answers the requests of a project, as a worker of its model server does.

    Args:
        keeper: The handle of the keeper.
    """

    async def __init__(self, keeper: Any) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        self._keeper = keeper
        self._folder = tempfile.TemporaryDirectory(prefix="mainspring-ray-")
        self._place = Path(self._folder.name) / "packages"
        self._place.mkdir()
        plan, packages = await keeper.plan.remote(0, [])
        limits, loop = plan.limits, asyncio.get_running_loop()
        batcher = Batcher(loop, max_queued_rows=limits.max_queued_rows, max_wait_s=limits.max_wait_ms / 1000)
        self._log = KeptLog(keeper)
        self._app = App(batcher, self._log)
        await self._take(plan, packages)
        if not self._app.served.is_ready:
            batcher.close()
            self._folder.cleanup()
            told = "; ".join(f"{name}: {why}" for name, why in self._app.served.table.problems.items())
            raise Failed(f"models could not be loaded: {told}"[:2000], where="Ray Serve")
        self._following = loop.create_task(self._follow_on())

    async def __call__(self, request: Request) -> Response:
        """One HTTP request."""
        from starlette.responses import Response

        scope = request.scope
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        message = Message(None, request.method, target, dict(scope["headers"]))
        message.parts, message.whole = [await request.body()], True
        reply = await self._app.reply(message, Line()) or Reply(503, TEXT, b"")
        response = Response(b"" if request.method == "HEAD" else reply.body, reply.status)
        response.raw_headers += [(b"content-type", reply.kind), *reply.headers]
        return response

    async def check_health(self) -> None:
        """Asked by Ray Serve: a replica that no longer follows the plan is replaced.

        Raises: Failed: It does not.
        """
        if self._following.done():
            raise Failed("the replica no longer follows the plan", where="Ray Serve")

    async def _follow_on(self) -> None:
        while True:
            try:
                held = [path.name for path in self._place.iterdir()]
                found = await self._keeper.plan.remote(self._app.served.table.plan.generation, held, _WAIT_S)
                if found is not None:
                    await self._take(*found)
            except Exception:  # noqa: BLE001 - the edge of a loop: what is served stays, and the next turn may go well
                _told.exception("the plan could not be followed")
                await asyncio.sleep(_AGAIN_S)

    async def _take(self, plan: Plan, packages: Mapping[str, Files]) -> None:
        """Load a plan, then swap the whole table at once."""
        await asyncio.to_thread(_unpack, self._place, packages)
        before, here = self._app.served.table, _moved(plan, self._place)
        self._app.served.table = await asyncio.to_thread(build, here, before, self._log.declare)


def application(args: Mapping[str, str]) -> Application:
    """What `serve run` and `serve deploy` make of a config with this import path.

    Args:
        args: `folder`, the plan folder of the project's model server, on the head node.
    """
    from ray import serve

    keeper = serve.deployment(Keeper).options(max_ongoing_requests=_MANY, ray_actor_options=_HEAD)
    replica = serve.deployment(Replica).options(max_ongoing_requests=_MANY)
    return replica.bind(keeper.bind(args["folder"]))


_MANY = 1_000
_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}  # what only the head node has


def _files(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _unpack(place: Path, packages: Mapping[str, Files]) -> None:
    """Write packages, each whole or not at all. What is in them is checked when they are loaded."""
    for name, files in packages.items():
        part = place.with_name(f"part-{new_id()}")
        for file, data in files.items():
            path = part / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        part.rename(place / name)


def _moved(plan: Plan, place: Path) -> Plan:
    """The plan with its packages where they are on this node. Shadows are left out: nobody asks them here."""

    def endpoint(found: EndpointPlan) -> EndpointPlan:
        arms = [msgspec.structs.replace(arm, folder=str(place / Path(arm.folder).name)) for arm in found.arms]
        return msgspec.structs.replace(found, arms=arms, shadows=[])

    return msgspec.structs.replace(plan, endpoints=[endpoint(found) for found in plan.endpoints])
