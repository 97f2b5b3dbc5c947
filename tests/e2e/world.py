"""A world for the loop: a real server in a folder that dies when told, and rows whose meaning turns one day."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import psutil

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Failed, Timeout, Unavailable
from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables

T = TypeVar("T")
START = 20_000 * DAY_US
PATIENCE_S = 90


@dataclass(frozen=True)
class Moment:
    """When the `nth` event of a kind is in the log, the victim dies."""

    kind: str
    nth: int
    victim: str  # "server", "model server", "step", "both"


@dataclass
class World:
    """Drives days of predictions and labels through a server that may die at any time."""

    server: ServerProcess
    turn_day: int
    rows_a_day: int = 120
    answered: dict[str, int] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.api, self.model = Api(self.server.address, timeout_s=30), Api(self.server.model_address, timeout_s=10)
        self.random = np.random.default_rng(7)

    def kill(self, victim: str) -> None:
        """Kill with -9, and start the server again when it was the one that died."""
        with self.lock:
            self.kills.append(victim)
            pids = {child.pid: _command(child) for child in self._children()}
            if victim in ("model server", "both"):
                _kill(pid for pid, line in pids.items() if "modelserver" in line)
            if victim == "step":
                _kill(pid for pid, line in pids.items() if "mainspring.engines" in line)
            if victim in ("server", "both"):
                self.server.kill()
                self.server.start()

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.server.pid).children(recursive=True) if self.server.pid else []

    def persist(self, call: Callable[[int], T]) -> T:
        """Call until somebody answers: what a client does while a server is down."""
        deadline, attempt = time.monotonic() + PATIENCE_S, 0
        while True:
            try:
                return call(attempt)
            except (Unavailable, Timeout, Failed):
                if time.monotonic() > deadline:
                    raise
                attempt += 1
                time.sleep(0.1)  # between attempts; the condition is the answer

    def day(self, number: int, *, interrupt: Callable[[int], None] = lambda row: None) -> None:
        """Send the rows of a day, then their labels, then let the loop come to rest."""
        fresh: list[tuple[str, int]] = []
        for row in range(self.rows_a_day):
            interrupt(row)
            a, b = (float(value) for value in self.random.normal(size=2))
            label = int((a if number < self.turn_day else -a) + 0.5 * self.random.normal() > 0)
            at = START + number * DAY_US + row * (DAY_US // self.rows_a_day)
            fresh.append((self.persist(partial(self._ask, f"{number}-{row}", a, b, at)), label))
        self.answered |= dict(fresh)
        self.send_labels(number, fresh)
        self.settle()

    def _ask(self, name: str, a: float, b: float, at: int, attempt: int) -> str:
        inputs = [{"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in (("a", a), ("b", b))]
        body = json.dumps({"id": f"{name}-{attempt}", "parameters": {"event_time": at}, "inputs": inputs}).encode()
        answer = cast(dict[str, object], self.model.send("POST", "/v2/models/sign/infer", body))
        return str(answer["id"])

    def send_labels(self, number: int, labels: Sequence[tuple[str, int]]) -> None:
        at = START + (number + 1) * DAY_US
        items = [{"prediction_id": name, "kind": "label", "value": label, "at": at} for name, label in labels]
        self.persist(lambda _: self.api.post("/api/v1/feedback", {"deployment": "sign", "items": items}))

    def settle(self) -> None:
        """Turn the loop, and wait while it trains or judges."""
        turn = cast(dict[str, object], self.persist(lambda _: self.api.post("/api/v1/loop/turn", {})))
        for cycle in cast(list[dict[str, object]], turn["open_cycles"]):
            self.rest(str(cycle["id"]))

    def rest(self, cycle_id: str) -> dict[str, object]:
        """The cycle, once it neither trains nor judges."""
        path = f"/api/v1/cycles/{cycle_id}?wait_s=5&unlike=training,gating"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            cycle = cast(dict[str, object], self.persist(lambda _: self.api.get(path)))
            if cycle["state"] not in ("training", "gating"):
                return cycle
        raise AssertionError(f"the cycle is still {cycle['state']}: {cycle}")

    def state(self) -> str:
        """State of the newest cycle."""
        return str(cast(list[dict[str, object]], self.persist(lambda _: self.api.get("/api/v1/cycles")))[0]["state"])


class Reaper(threading.Thread):
    """Watches the event log from outside and kills at chosen moments, each once, in order."""

    def __init__(self, world: World, tables: Tables, moments: Sequence[Moment]) -> None:
        super().__init__(daemon=True)
        self._world, self._journal, self.left = world, SqlJournal(tables), list(moments)
        self._stopping = threading.Event()
        self.trouble: BaseException | None = None

    def run(self) -> None:
        seen, counts = 0, dict[str, int]()
        try:
            while self.left and not self._stopping.is_set():
                for event in self._journal.read(seen):
                    seen = event.seq
                    counts[event.kind] = counts.get(event.kind, 0) + 1
                    if self.left and (event.kind, counts[event.kind]) == (self.left[0].kind, self.left[0].nth):
                        self._world.kill(self.left.pop(0).victim)
                self._journal.wait(seen, 0.2)
        except BaseException as reason:  # noqa: BLE001  the test looks at it
            self.trouble = reason

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _command(process: psutil.Process) -> str:
    """Its command line; nothing when it has ended since it was listed."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _kill(pids: object) -> None:
    for pid in cast("list[int]", list(pids)):  # type: ignore[call-overload]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def copy_project(to: Path) -> Path:
    """The files of the survivor project in a folder of its own."""
    to.mkdir(parents=True, exist_ok=True)
    for path in (Path(__file__).parent / "survivor").glob("*.*"):
        (to / path.name).write_text(path.read_text())
    return to
