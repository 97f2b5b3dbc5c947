"""What each worker uses of the machine: its share of a core and its memory, by five minutes of wall time.

A worker keeps its newest windows in a file of its own in the plan folder. Whoever has a database takes them from there;
taken twice they are the same windows, so that nothing is counted twice.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from mainspring.core.clock import DAY_US, SECOND_US

WINDOW_US = 300 * SECOND_US
_KEPT = 288
_EVERY_S = 10.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(msgspec.Struct, frozen=True):
    """A window of one worker.

    Attributes:
        start: Its first microsecond.
        seconds: How much of it the worker was looked at.
        cpu_s: Seconds that it computed meanwhile, on all cores together.
        memory_mb: The most memory it held.
        models: Which versions it had loaded, as a short text that changes when they do.
    """

    start: int
    seconds: float
    cpu_s: float
    memory_mb: float
    models: str = ""

    @property
    def cores(self) -> float:
        """How many cores it kept busy, on average."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0


class WorkerUsage(msgspec.Struct, frozen=True):
    """The newest windows of one worker, in order of time; the last one may still be open."""

    worker: str
    pid: int
    windows: list[Usage] = []


class UsageLog:
    """Looks at its own process again and again, and keeps what it sees in a file.

    Args:
        folder: The plan folder.
        worker: Name of this worker.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"usage-{worker}.json"
        self._worker = worker
        self._windows: list[Usage] = []
        self._last = (time.time_ns() // 1000, time.process_time())
        self._next = 0.0

    def look(self, models: Callable[[], Iterable[str]], now: float) -> None:
        """Note what was used since the last look; done more often than every ten seconds it does nothing.

        Args:
            models: Says what is loaded.
            now: A clock that never goes back, in seconds.
        """
        if now < self._next:
            return
        self._next = now + _EVERY_S
        at, cpu_s = time.time_ns() // 1000, time.process_time()
        digest = hashlib.blake2b("\n".join(sorted(models())).encode(), digest_size=6).hexdigest()
        self.note(at, cpu_s, resident_mb(os.getpid()), digest)
        part = self._path.with_name(f".{self._path.name}")
        part.write_bytes(msgspec.json.encode(WorkerUsage(self._worker, os.getpid(), self._windows)))
        part.replace(self._path)

    def note(self, at: int, cpu_s: float, memory_mb: float, models: str) -> None:
        """Add what was used until `at` to the window that `at` lies in.

        Args:
            at: Wall time, microseconds.
            cpu_s: Seconds computed since the process began.
            memory_mb: What it holds now.
            models: What is loaded.
        """
        (last_at, last_cpu), self._last = self._last, (at, cpu_s)
        start = at - at % WINDOW_US
        seconds = max(0.0, (at - last_at) / SECOND_US)
        fresh = Usage(start, seconds, max(0.0, cpu_s - last_cpu), memory_mb, models)
        if self._windows and self._windows[-1].start == start:
            fresh = _joined(self._windows.pop(), fresh)
        self._windows = [*self._windows, fresh][-_KEPT:]


def _joined(before: Usage, more: Usage) -> Usage:
    most = max(before.memory_mb, more.memory_mb)
    return Usage(before.start, before.seconds + more.seconds, before.cpu_s + more.cpu_s, most, more.models)


def usages(folder: Path) -> list[WorkerUsage]:
    """What every worker used that left a file, the dead ones of the last day included."""
    found = []
    for path in sorted(folder.glob("usage-*.json")):
        try:
            old = time.time_ns() // 1000 - path.stat().st_mtime_ns // 1000 > DAY_US
            found.append(msgspec.json.decode(path.read_bytes(), type=WorkerUsage))
        except (FileNotFoundError, msgspec.MsgspecError):
            continue
        if old:
            path.unlink(missing_ok=True)
    return found


def resident_mb(pid: int) -> float:
    """The memory a process holds, in MB, from /proc; 0 when it is gone or there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0
