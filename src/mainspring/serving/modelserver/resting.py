"""Endpoints that nobody asks are unloaded, and loaded again for the first who does."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable, Mapping

from mainspring.core.errors import MainspringError, Unavailable
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.served import Served
from mainspring.serving.modelserver.traffic import Endpoint, Table, woken

EVERY_S = 0.5
_AGAIN_S = 2.0
"""How long a load that failed is not tried again: who asks without pause shall not have it read without pause."""


class Resting:
    """Keeps the table free of models that nobody asks. Used on the loop only.

    Whoever replaces the table holds `lock`: what one loads another must not put back.

    Args:
        served: Has the table.
        totals: How many requests were counted, by endpoint.
        declare: Called with every loaded model before it can answer.
        told: Called with every new table.
        settle: Called when models were unloaded.
    """

    def __init__(
        self,
        served: Served,
        *,
        totals: Callable[[], Mapping[str, int]],
        declare: Callable[[str, LoadedModel], None],
        told: Callable[[Table], None],
        settle: Callable[[], None],
    ) -> None:
        self.lock = asyncio.Lock()
        self.asked_at: dict[str, int] = {}
        self._served = served
        self._totals = totals
        self._declare = declare
        self._told = told
        self._settle = settle
        self._counted: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._loading: dict[str, asyncio.Task[Endpoint]] = {}
        self._failed: dict[str, tuple[float, MainspringError]] = {}
        self._problems: dict[str, str] = {}

    async def wake(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint of that name, loaded; those that come meanwhile wait for the same load.

        Raises: Unavailable: It can't be loaded. NotFound: It is not served any more.
        """
        name = endpoint.name
        at, error = self._failed.get(name, (0.0, None))
        if error is not None and time.monotonic() - at < _AGAIN_S:
            raise error
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.get_running_loop().create_task(self._wake(name))
            task.add_done_callback(lambda done: self._woke(name, done))
        return await asyncio.shield(task)

    async def _wake(self, name: str) -> Endpoint:
        async with self.lock:
            table = self._served.table
            endpoint = table.find(name)
            if not endpoint.asleep:
                return endpoint
            try:
                made = await asyncio.to_thread(woken, endpoint, table.plan, self._declare)
            except Exception as reason:
                what = reason.what if isinstance(reason, MainspringError) else f"{type(reason).__name__}: {reason}"
                self._put(endpoint, what)
                raise Unavailable(f"model {name!r} could not be loaded", hint=what) from reason
            self._put(made, "")
            return made

    def _woke(self, name: str, done: asyncio.Task[Endpoint]) -> None:
        del self._loading[name]
        self._since[name] = time.monotonic()
        self._failed.pop(name, None)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, MainspringError):
            self._failed[name] = time.monotonic(), error

    async def tend(self) -> None:
        """Unload what nobody asked for as long as it says, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self._count()
            if self._tired():
                async with self.lock:
                    self._unload()
                    self._settle()  # by now nothing holds what was unloaded, but requests under way
                    _give_back()
                    self._told(self._served.table)

    def _unload(self) -> None:
        table = self._served.table
        changed = {name: table.endpoints[name].emptied() for name in self._tired()}
        self._served.table = Table(table.plan, {**table.endpoints, **changed}, table.problems)

    def _count(self) -> None:
        """Note which endpoints were asked since the last look."""
        now, totals = time.monotonic(), self._totals()
        for name in self._served.table.endpoints:
            total = totals.get(name, 0)
            if total != self._counted.get(name, 0):
                self._counted[name] = total
                self._since[name] = now
                self.asked_at[name] = time.time_ns() // 1000
            self._since.setdefault(name, now)

    def _tired(self) -> list[str]:
        now = time.monotonic()
        return [
            name
            for name, endpoint in self._served.table.endpoints.items()
            if endpoint.options.idle_s
            and not endpoint.asleep
            and name not in self._loading
            and now - self._since.get(name, now) >= endpoint.options.idle_s
        ]

    def _put(self, endpoint: Endpoint, problem: str) -> None:
        """Have this endpoint in the table, and what is wrong with it, if anything. What a plan found wrong stays."""
        table, name = self._served.table, endpoint.name
        problems = dict(table.problems)
        if problems.get(name) == self._problems.pop(name, ""):
            problems.pop(name, None)
        if problem and name not in problems:
            problems[name] = self._problems[name] = problem
        self._served.table = Table(table.plan, {**table.endpoints, name: endpoint}, problems)
        self._told(self._served.table)


def _give_back() -> None:
    """Have the allocator return the pages of what was freed; it keeps them otherwise, where it is glibc's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
