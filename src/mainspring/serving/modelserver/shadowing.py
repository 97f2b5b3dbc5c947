"""What was answered, on its way to the shadows: a bounded queue that is emptied after answers left, in short turns.

Shadows run in a process of their own beside each worker, at the lowest priority: what they take, raise or leak reaches
no user. What that process is too slow for is dropped and counted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mainspring.core.errors import Invalid, Refused
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.asking import Context, Question
from mainspring.serving.modelserver.batching import Columns
from mainspring.serving.modelserver.columns import Cell, Features, plain
from mainspring.serving.modelserver.humility import OpenFeatures
from mainspring.serving.modelserver.lookups import Lookup, filled
from mainspring.serving.modelserver.plan import ShadowPlan
from mainspring.serving.rules.assignment import fraction

MAX_ROWS = 5_000
"""Rows that may wait for the shadow process of a worker."""
MAX_VALUES = 1_000_000
"""Values that these may have together."""
TURN_S = 0.001
"""How long the loop gives rows away before it answers users again."""
_PAUSE_S = 0.005
_FRAME_VALUES = 4_000  # a fraction of a turn
_SALT = "shadow"  # its own, so that what a shadow is asked says nothing about who answered
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_END_S = 2.0
_HEAD = struct.Struct(">I")


class Copied(msgspec.Struct, array_like=True, frozen=True):
    """Rows that were answered, `first` on of `count`, for one shadow of an endpoint.

    `share` is the part of the requests it is asked, `at` is when the answer left, `generation` the plan of then.
    """

    generation: int
    endpoint: str
    version: int
    share: float
    request_id: str
    key: str
    event_at: int | None
    at: int
    first: int
    count: int
    columns: list[list[float | int | bool | str | None]]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.columns[0])

    def id_of(self, row: int) -> str:
        """The id of one of its rows: that of the prediction the user got."""
        return self.request_id if self.count == 1 else f"{self.request_id}.{self.first + row}"


class Inbox:
    """Bytes as they come, as what was sent."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._decoder = msgspec.msgpack.Decoder(Copied)

    def feed(self, data: bytes) -> list[Copied]:
        """All that is whole now."""
        self._bytes += data
        found, start = [], 0
        while start + _HEAD.size <= len(self._bytes):
            (size,) = _HEAD.unpack_from(self._bytes, start)
            end = start + _HEAD.size + size
            if end > len(self._bytes):
                break
            found.append(self._decoder.decode(self._bytes[start + _HEAD.size : end]))
            start = end
        del self._bytes[:start]
        return found


class Target:
    """A shadow of an endpoint: its version, the part of the requests it is asked, and the columns it takes."""

    __slots__ = ("features", "share", "version")

    def __init__(self, planned: ShadowPlan, max_rows: int, lookups: Sequence[Lookup] = ()) -> None:
        self.version = planned.arm.version
        self.share = planned.arm.share
        features = Features(planned.inputs, max_rows=max_rows)
        # What it can't do without is found out where it is loaded: a column that is not sent is missing there.
        self.features = filled(OpenFeatures(features, frozenset(range(len(features.fields)))), lookups)

    def takes(self, request_id: str) -> bool:
        """Whether it is asked this one."""
        return self.share >= 1.0 or fraction(_SALT, request_id) < self.share

    def is_like(self, other: Features) -> bool:
        """Whether columns that were checked for a version will do for it."""
        return self.features.names == other.names and self.features.kinds == other.kinds


@dataclass(slots=True)
class _Waiting:
    """A request that waits; `columns` are made when it is its turn, where the shadow takes others."""

    target: Target
    endpoint: str
    generation: int
    about: Context
    question: Question
    columns: Columns | None
    rows: int
    at: int
    first: int = 0


class Handover:
    """Takes what was answered and gives it to the shadow process. Used on the loop only.

    Attributes:
        waiting_rows: Rows that were taken and not given yet.
        counts: Rows by endpoint, version and what became of them: "sent", "dropped" because too much waited or nobody
            took them, or "unfit", since the shadow takes other values.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting_rows = 0
        self.counts: dict[tuple[str, int, str], int] = {}
        self._loop = loop
        self._waiting: deque[_Waiting] = deque()
        self._values = 0
        self._sock: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._is_due = False
        self._encode = msgspec.msgpack.Encoder().encode

    def attach(self, sock: socket.socket | None) -> None:
        """Give to this non-blocking socket from now on; None drops what waits."""
        if self._sock is not None and self._sock is not sock:
            self._sock.close()
        self._sock, self._unsent = sock, memoryview(b"")
        if sock is None:
            self._drop_all()

    def offer(
        self,
        name: str,
        generation: int,
        targets: Sequence[Target],
        question: Question,
        columns: Columns,
        features: Features,
    ) -> None:
        """Take a request whose answer is about to leave; nothing of it is read before it has.

        Args:
            name: The endpoint.
            generation: Of the plan.
            targets: Its shadows.
            question: The request.
            columns: Its rows, as they were checked for the version that answered.
            features: What that version takes.
        """
        about, rows, at = question.about, len(columns[0]), time.time_ns() // 1000
        for target in targets:
            if not target.takes(about.request_id):
                continue
            values = rows * len(target.features.names)
            if self._sock is None or self.waiting_rows + rows > MAX_ROWS or self._values + values > MAX_VALUES:
                self._count(name, target.version, "dropped", rows)
                continue
            self.waiting_rows += rows
            self._values += values
            known = columns if target.is_like(features) else None
            self._waiting.append(_Waiting(target, name, generation, about, question, known, rows, at))
        if self._waiting and not self._is_due:
            self._is_due = True
            self._loop.call_later(_PAUSE_S, self._turn)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nor half of it is sent."""
        return not (self._waiting or self._unsent)

    def _turn(self) -> None:
        self._is_due = False
        until = time.perf_counter() + TURN_S
        while not self.is_empty and self._give() and time.perf_counter() < until:
            pass
        if not self.is_empty and not self._is_due:
            self._is_due = True
            self._loop.call_later(_PAUSE_S, self._turn)

    def _give(self) -> bool:
        """Send a piece. Returns whether more would be taken."""
        if self._sock is None:
            self._drop_all()
            return False
        if not self._unsent:
            self._unsent = memoryview(self._next())
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :] if self._unsent else self._unsent
        except BlockingIOError:
            return False
        except OSError:
            self.attach(None)
            return False
        return True

    def _next(self) -> bytes:
        """The next rows that wait, as they are sent; nothing where they do not fit."""
        now = self._waiting[0]
        target = now.target
        if now.columns is None:
            try:
                now.columns = now.question.columns(target.features)
            except (Invalid, Refused):
                self._count(now.endpoint, target.version, "unfit", now.rows)
                self._leave(now, now.rows)
                return b""
        until = min(now.rows, now.first + max(1, _FRAME_VALUES // max(1, len(now.columns))))
        cells: list[list[Cell]] = [plain(column[now.first : until]) for column in now.columns]
        about = now.about
        copied = Copied(
            now.generation, now.endpoint, target.version, target.share, about.request_id, about.key, about.event_at,
            now.at, now.first, now.rows, cells,
        )  # fmt: skip
        packed = self._encode(copied)
        self._count(now.endpoint, target.version, "sent", until - now.first)
        self._leave(now, until - now.first)
        return _HEAD.pack(len(packed)) + packed

    def _leave(self, now: _Waiting, rows: int) -> None:
        now.first += rows
        self.waiting_rows -= rows
        self._values -= rows * len(now.target.features.names)
        if now.first >= now.rows:
            self._waiting.popleft()

    def _drop_all(self) -> None:
        for now in self._waiting:
            self._count(now.endpoint, now.target.version, "dropped", now.rows - now.first)
        self._waiting.clear()
        self.waiting_rows = self._values = 0

    def _count(self, endpoint: str, version: int, fate: str, rows: int) -> None:
        key = (endpoint, version, fate)
        self.counts[key] = self.counts.get(key, 0) + rows

    def gauges(self) -> dict[str, float]:
        """What is waiting, and what became of the rest, as metrics."""
        found: dict[str, float] = {"mainspring_shadow_waiting_rows": self.waiting_rows}
        for (endpoint, version, fate), rows in self.counts.items():
            found[f'{ROWS}{{deployment="{endpoint}",version="{version}",fate="{fate}"}}'] = rows
        return found


ROWS = "mainspring_shadow_rows_total"
"""The metric of rows for shadows, by what became of them."""


class Companion:
    """The shadow process of a worker: there while the plan has a shadow, and again some time after it died.

    Attributes:
        process: It, None while there is none.
        restarts: How often it died while it was wanted.
    """

    def __init__(self, folder: Path, handover: Handover) -> None:
        self.restarts = 0
        self._folder = folder
        self._handover = handover
        self.process: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0

    async def tend(self, *, wanted: bool) -> None:
        """Start it, start it again or end it, as is due; call it again and again."""
        process, now = self.process, time.monotonic()
        if process is not None and process.poll() is not None:
            self.process = process = None
            self._handover.attach(None)
            self._again_at = now + _BACKOFF_S[min(self.restarts, len(_BACKOFF_S) - 1)]
            self.restarts += wanted
        if wanted and process is None and now >= self._again_at:
            mine, its = socket.socketpair()
            self.process = await asyncio.to_thread(self._started, its)
            mine.setblocking(False)
            self._handover.attach(mine)
        elif not wanted and process is not None:
            self._handover.attach(None)  # it ends when there is nothing more to come

    async def close(self) -> None:
        """Give it what waits, and end it; it has a moment to finish."""
        until = time.monotonic() + _END_S
        while self.process is not None and not self._handover.is_empty and time.monotonic() < until:
            await asyncio.sleep(_PAUSE_S)
        self._handover.attach(None)
        if self.process is not None:
            await asyncio.to_thread(_end, self.process)

    def _started(self, its: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mainspring.serving.shadows", str(self._folder), str(its.fileno())]
        process = subprocess.Popen(command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
        its.close()
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
