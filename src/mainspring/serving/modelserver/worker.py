"""One worker: serves a socket, follows the plan, drains on SIGTERM, and ends when its parent is gone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Corrupt
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.accepting import Entrance
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher
from mainspring.serving.modelserver.connections import Connection, Crowd
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import PLAN, SPOOLS, Applied, Plan, read_plan, write_applied
from mainspring.serving.modelserver.resting import Resting
from mainspring.serving.modelserver.shadowing import Companion, Handover
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Table, build
from mainspring.serving.modelserver.usage import UsageLog

if TYPE_CHECKING:
    from mainspring.serving.modelserver.protocols.rpc import RpcServer

_log = logging.getLogger(__name__)
_WATCH_S = 0.05
_AGAIN_S = 1.0
_FINISH_S = 60.0
_GARBAGE = 20_000


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Where a worker finds its plan, whose child it is, and how long it answers after SIGTERM.

    One of many takes no connection before it can predict: the others answer meanwhile. A `grpc_port` of 0 is none;
    many workers share one.
    """

    folder: Path
    parent: int
    drain_s: float = 1.0
    one_of_many: bool = False
    host: str = "127.0.0.1"
    grpc_port: int = 0


class _Door:
    """Takes connections until the end of the drain, then finishes what is in flight."""

    def __init__(self, app: App, crowd: Crowd, drain_s: float) -> None:
        self._app = app
        self._crowd = crowd
        self._drain_s = drain_s
        self._over = asyncio.Event()

    async def serve(self, sock: socket.socket) -> None:
        """Answer until told to drain, and for a while longer."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        entrance = Entrance(sock, lambda: Connection(self._app.reply, self._crowd))
        entrance.open()
        await self._over.wait()
        await entrance.close()
        await self._crowd.close(_FINISH_S)

    def drain(self) -> None:
        """Not ready any more: say so, answer on telling clients to close, and leave after the drain."""
        if not self._app.served.draining:
            self._app.served.draining = True
            asyncio.get_running_loop().call_later(self._drain_s, self._over.set)


class Worker:
    """Ties app, batcher and spool to a plan folder.

    Args:
        settle: Called when a plan was loaded or models were unloaded. A process that is a worker and nothing else
            gives what tidies its whole memory; one that holds more leaves it out.
    """

    def __init__(
        self,
        options: WorkerOptions,
        plan: Plan,
        loop: asyncio.AbstractEventLoop,
        port: int,
        *,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = new_id()
        self._settle = settle
        self._options = options
        self._port = port
        limits = plan.limits
        self.batcher = Batcher(loop, max_queued_rows=limits.max_queued_rows, max_wait_s=limits.max_wait_ms / 1000)
        self.spool = Spool(options.folder / SPOOLS / f"{self.name}.sqlite", plan.durability, loop)
        self.app = App(self.batcher, self.spool)
        self.app.served.table = Table(plan)
        self.app.others = lambda: tally.others(options.folder)
        self.app.served.shadows = Handover(loop)
        self.companion = Companion(options.folder, self.app.served.shadows)
        self.app.gauges.append(self._shadow_gauges)
        self.resting = Resting(
            self.app.served, totals=self.app.totals, declare=self._declare, told=self._tell_of, settle=settle
        )
        self.app.served.wake = self.resting.wake
        self.app.asked_at = lambda: self.resting.asked_at
        self._usage = UsageLog(options.folder, self.name)

    async def follow(self, plan: Plan) -> None:
        """Load a plan in a thread, then swap the whole table at once."""
        async with self.resting.lock:
            self.app.served.table = await asyncio.to_thread(build, plan, self.app.served.table, self._declare)
            self._settle()
            self._say(self.app.served.table)

    def _tell_of(self, table: Table) -> None:
        """Say it where a request waits: that it can't be said, for want of disk, does not keep the answer."""
        try:
            self._say(table)
        except OSError as reason:
            _log.warning("what is loaded could not be told: %s", reason)

    async def watch(self, door: _Door) -> None:
        """Follow the plan file and the parent until cancelled."""
        seen = _ABSENT  # the plan may have changed while the first one was loaded
        path = os.fspath(self._options.folder / PLAN)
        while True:
            await asyncio.sleep(_WATCH_S)
            if os.getppid() != self._options.parent:
                door.drain()
            await self.companion.tend(wanted=self.app.served.table.has_shadows)
            stamp = _stamp(path)
            if stamp != seen:
                await self._refresh(is_there=stamp != _ABSENT)
                seen = stamp

    async def tell(self) -> None:
        """Leave the counts for the other workers, and what is used, again and again, until cancelled."""
        before = None
        while True:
            self._usage.look(lambda: _loaded(self.app.served.table), time.monotonic())
            counts = self.app.counts()
            if counts != before:
                tally.leave(self._options.folder, counts)
                before = counts
            await asyncio.sleep(tally.EVERY_S)

    def _shadow_gauges(self) -> dict[str, float]:
        handover = self.app.served.shadows
        if handover is None or not (handover.counts or self.companion.restarts):
            return {}
        return handover.gauges() | {"mainspring_shadow_restarts_total": self.companion.restarts}

    async def _refresh(self, *, is_there: bool) -> None:
        """Follow the file; what is served stays when it is no plan, or was taken away."""
        try:
            if not is_there:
                raise Corrupt("plan.json is gone", where=str(self._options.folder))
            plan = read_plan(self._options.folder)
        except Corrupt as error:
            self._say(Table(self.app.served.table.plan, self.app.served.table.endpoints, {"": error.what}))
            return
        if plan.generation != self.app.served.table.plan.generation:
            await self.follow(plan)
        else:  # it may be back, or what was to be said could not be written
            self._say(self.app.served.table)

    def _declare(self, deployment: str, model: LoadedModel) -> None:
        self.spool.declare(
            deployment, model.version, list(zip(model.features.names, model.features.kinds, strict=True))
        )

    def _say(self, table: Table) -> None:
        applied = Applied(
            generation=table.plan.generation,
            worker=self.name,
            pid=os.getpid(),
            port=self._port,
            problems=dict(table.problems),
            asleep=sorted(name for name, endpoint in table.endpoints.items() if endpoint.asleep),
        )
        write_applied(self._options.folder, applied)

    def close(self) -> None:
        """Finish predictions, commit the log, take back what this worker said."""
        self.batcher.close()
        self.spool.close()
        (self._options.folder / f"applied-{self.name}.json").unlink(missing_ok=True)


def _loaded(table: Table) -> list[str]:
    """The versions in memory, by endpoint."""
    return [
        f"{name}/{arm.model.version}"
        for name, endpoint in table.endpoints.items()
        if not endpoint.asleep
        for arm in endpoint.arms
    ]


def _settle() -> None:
    """Free what the table before held, and let the garbage collector never again look at what stays until the next.

    It would walk through all packages and models every few thousand requests, and those asked meanwhile would wait.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)


_ABSENT = (0, 0)


def _stamp(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return _ABSENT
    return stat.st_ino, stat.st_mtime_ns


def serve(options: WorkerOptions, sock: socket.socket) -> None:
    """Serve `sock` until told to stop. Health answers from the start, predictions once the plan is loaded."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, sock))


async def _serve(options: WorkerOptions, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    plan = read_plan(options.folder)
    worker = Worker(options, plan, loop, sock.getsockname()[1], settle=_settle)
    crowd = Crowd(plan.limits)
    worker.app.gauges.append(lambda: _crowd_gauges(crowd))
    door = _Door(worker.app, crowd, options.drain_s)
    if options.one_of_many:
        await worker.follow(plan)
    rpc = await _rpc(worker, options, plan)
    serving = loop.create_task(door.serve(sock))
    work = (lambda: _follow(worker, plan, door), crowd.sweep_on, worker.tell, worker.resting.tend)
    beside = [loop.create_task(_keep_on(task)) for task in work]
    try:
        await serving
    finally:
        for task in beside:
            task.cancel()
        if rpc is not None:
            await rpc.stop(_FINISH_S)
        await worker.companion.close()
        await asyncio.to_thread(worker.close)


async def _keep_on(work: Callable[[], Awaitable[None]]) -> None:
    """Do work that never ends. What fails, such as for want of disk, is done again: a worker that no longer follows
    its plan would answer on for ever with what was live once."""
    while True:
        try:
            return await work()
        except Exception:  # noqa: BLE001 - the edge of a loop: the log says why, and the next turn may go well
            _log.exception("what a worker does beside answering failed")
            await asyncio.sleep(_AGAIN_S)


async def _rpc(worker: Worker, options: WorkerOptions, plan: Plan) -> RpcServer | None:
    if not options.grpc_port:
        return None
    from mainspring.serving.modelserver.protocols.rpc import RpcServer

    rpc = RpcServer(worker.app.served, plan.limits)
    await rpc.start(options.host, options.grpc_port)
    return rpc


def _crowd_gauges(crowd: Crowd) -> dict[str, float]:
    return {
        "mainspring_connections": len(crowd.connections),
        "mainspring_connections_refused_total": crowd.refused,
        "mainspring_connections_ended_total": crowd.ended,
    }


async def _follow(worker: Worker, plan: Plan, door: _Door) -> None:
    if not worker.app.served.table.endpoints:
        await worker.follow(plan)
    await worker.watch(door)
