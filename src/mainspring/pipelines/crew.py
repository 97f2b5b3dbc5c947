"""Several hands at once: processes that each do one step at a time, kept until the run is over.

The processes are those of an engine, so a crew works on this machine or on a cluster. A hand that dies, takes too long
or too much memory is replaced; its step is told so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from queue import Empty, SimpleQueue
from typing import cast

from mainspring.core.errors import Failed, MainspringError, Timeout
from mainspring.core.values import dataclass
from mainspring.engines import Engine, Message, OutcomeState, Task, Wants
from mainspring.engines.port import pack_error, unpack_error
from mainspring.pipelines.hand import over_memory
from mainspring.pipelines.usage import memory_of

IDLE_S = 2.0
"""How long a hand on another machine waits for its next step before it gives its place back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A step for a hand. `once` gives it a process that does nothing else.

    Args:
        call: What the hand needs to know to do it.
        timeout_s: How long it may take.
        memory: The most it may take, in bytes; 0 for no limit.
        env: Environment variables that are set for it.
        wants: What is kept free for it, on a cluster.
        secrets: Values that it named, for a hand that can't read them itself.
    """

    call: Message
    timeout_s: float | None = None
    memory: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    wants: Wants = field(default_factory=Wants)
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def once(self) -> bool:
        """Whether the process ends after it, because what was set for the step cannot be taken back."""
        return bool(self.memory or self.env)


class Crew:
    """Up to `most` hands, each in a process of its own that starts with its first step.

    Args:
        engine: Where the processes run.
        task: Makes the task of hand number so and so.
        most: How many.
        is_far: They are on other machines: one that has nothing to do gives its place there back.
    """

    def __init__(self, engine: Engine, task: Callable[[int], Task], most: int, *, is_far: bool = False) -> None:
        self.most, self._is_far = most, is_far
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[str, Message]] = SimpleQueue()
        self._seats: list[_Seat] = []
        self._engine, self._task = engine, task
        self._busy = 0

    @property
    def free(self) -> int:
        """How many hands have nothing to do."""
        return self.most - self._busy

    def give(self, order: Order) -> None:
        """Have a step done."""
        self._busy += 1
        if len(self._seats) < self._busy:
            task = self._task(len(self._seats))
            self._seats.append(_Seat(self._engine, task, self._orders, self._done, is_far=self._is_far))
        self._orders.put(order)

    def take(self, wait_s: float) -> tuple[str, Message] | None:
        """The next step that is done, with what its hand said; None when there was none in that time."""
        try:
            found = self._done.get(timeout=wait_s) if wait_s > 0 else self._done.get_nowait()
        except Empty:
            return None
        self._busy -= 1
        return found

    def close(self) -> None:
        """End the processes; what they are at is stopped."""
        for seat in self._seats:
            seat.is_closing = True
            self._orders.put(None)
        for seat in self._seats:
            seat.join()
        self._seats.clear()


class _Stopped(Exception):
    """Why a hand was stopped."""

    def __init__(self, error: MainspringError) -> None:
        super().__init__(error.what)
        self.error = error


class _Seat:
    """Where a hand sits: the thread that watches over its process."""

    def __init__(
        self,
        engine: Engine,
        task: Task,
        orders: SimpleQueue[Order | None],
        done: SimpleQueue[tuple[str, Message]],
        *,
        is_far: bool,
    ) -> None:
        self.is_closing = False
        self._is_far = is_far
        self._engine, self._task, self._orders, self._done = engine, task, orders, done
        self._next: Order | None = None
        self._current: Order | None = None
        self._until: float | None = None
        self._pid = 0
        self._thread = threading.Thread(target=self._sit, name="hand", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def answer(self, message: Message) -> Message:
        """What the process asks: a result, and a wish for the next step."""
        self._pid = int(cast(int, message["pid"]))
        last = self._current
        if "done" in message and last is not None:
            self._current = None
            self._done.put((str(last.call["step"]), cast(Message, message["done"])))
            if last.once:
                return {}
        try:
            order, self._next = self._next or self._orders.get(timeout=IDLE_S if self._is_far else None), None
        except Empty:
            return {}
        if order is None:
            self.is_closing = True
            return {}
        if order.wants != self._task.wants or (order.once and last is not None):  # it gets a fresh process
            self._next = order
            return {}
        self._current = order
        self._until = time.monotonic() + order.timeout_s if order.timeout_s else None
        return {**order.call, "memory": order.memory, "env": dict(order.env), "secrets": dict(order.secrets)}

    def beat(self) -> float | None:
        """Look at the time and the memory of the step that is being done."""
        order = self._current or self._next  # the next one waits for its process
        if order is None:
            return None
        step = str(order.call["step"])
        if self.is_closing:
            raise _Stopped(Failed(f"step {step} was stopped: the run is over", where=f"step {step}"))
        if self._current is None:
            return None
        if self._until is not None and time.monotonic() > self._until:
            what = f"step {step} took longer than its {order.timeout_s:g} s"
            raise _Stopped(Timeout(what, where=f"step {step}", hint="give it a larger timeout_s, or less to do"))
        if order.memory and not self._is_far and memory_of(self._pid) > order.memory:
            raise _Stopped(over_memory(step, order.memory))
        return None

    def _sit(self) -> None:
        while not self.is_closing:
            self._next = self._next or self._orders.get()
            if self._next is None:
                return
            began, self._current = self._next, None
            self._task = replace(self._task, wants=began.wants)
            died, error = self._run()
            lost = self._current or (began if self._next is began else None)  # a process may die before it asks
            if lost is not None:
                self._current = self._next = None
                told: Message = {"error": pack_error(error), "died": died, "log": "", "cpu_s": 0.0, "memory": 0}
                self._done.put((str(lost.call["step"]), told))

    def _run(self) -> tuple[bool, MainspringError]:
        """Run the process to its end: whether it died without a word, and its error, for the step that it was at."""
        try:
            outcome = self._engine.run(self._task, self)
        except _Stopped as reason:
            return False, reason.error
        except Exception as reason:  # noqa: BLE001 - the edge of a thread: the run must hear of it
            return False, unpack_error(pack_error(reason))
        error = outcome.error or Failed("the process of the step ended early", where=self._task.entry)
        return outcome.state is not OutcomeState.FAILED, error
