"""How busy workers are, by the counts they leave; and the file of changes of their number."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from mainspring.core.values import dataclass
from mainspring.serving.modelserver import tally
from mainspring.serving.rules.scaling import Load

CHANGES = "workers.jsonl"
_MAX_CHANGES_BYTES = 256 * 1024
_NEWEST = 0.5
"""Weight of the newest half second in what is said of a worker: one alone may be chance."""
_SILENT_S = 3 * tally.EVERY_S
_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """The number of workers changed: from what to what, why, how busy all of them were, how long requests waited, and
    when (microseconds); 0 before it is noted."""

    before: int
    after: int
    reason: str
    busy: float
    wait_ms: float
    at: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a worker's file said at a time, and how busy it was until then."""

    at: float
    cpu_s: float
    model_s: float
    waited_s: float
    asked: float
    busy: float = 0.0
    wait_s: float = 0.0


class Watch:
    """Looks at the counts of workers again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[int, _Seen] = {}
        self._next = 0.0

    def look(self, pids: Sequence[int], now: float) -> Load | None:
        """What these workers do; None while it is too early for another answer.

        A worker is as busy as its process computes or stands in line for a core, or as its model is, whichever is more:
        one that waits for a model elsewhere takes no other rows meanwhile.
        """
        self._seen = {pid: seen for pid in pids if (seen := self._one(pid)) is not None}
        if now < self._next:
            return None
        self._next = now + _EVERY_S
        told = self._seen.values()
        waits = [seen.wait_s for seen in told]
        return Load(len(waits), sum(seen.busy for seen in told), sum(waits) / len(waits) if waits else 0.0)

    def _one(self, pid: int) -> _Seen | None:
        path, before = tally.path_of(self._folder, pid), self._seen.get(pid)
        try:
            at = path.stat().st_mtime_ns / 1e9
        except FileNotFoundError:
            return None
        if before is not None and at == before.at:
            silent = time.time() - at > _SILENT_S
            return replace(before, busy=0.0, wait_s=0.0) if silent else before
        counts = tally.counts_in(path)
        if counts is None:
            return before
        found = _seen(at, counts.values)
        if before is None or time.time() - at > _SILENT_S:
            return found
        return _since(before, found)


def waited_for_cores_s() -> float:
    """Seconds that the threads of this process could have computed and others had their cores; 0 where no /proc says.

    Busy workers on a busy machine look idle without it.
    """
    waited = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            waited += int(path.read_text().split()[1])
        except (OSError, IndexError):
            continue  # the thread ended just now
    return waited / 1e9


def _seen(at: float, values: Mapping[str, float]) -> _Seen:
    def total(name: str) -> float:
        return values.get(f"mainspring_{name}_total", 0.0)

    computed = total("cpu_seconds") + total("cpu_waited_seconds")
    return _Seen(at, computed, total("model_seconds"), total("waited_seconds"), total("model_requests"))


def _since(before: _Seen, found: _Seen) -> _Seen:
    # A file is written again only when something happened: in a longer gap all of it happened at the end.
    took = max(0.1, min(found.at - before.at, 2 * tally.EVERY_S))
    busy = min(1.0, max(found.cpu_s - before.cpu_s, found.model_s - before.model_s) / took)
    asked = found.asked - before.asked
    wait = (found.waited_s - before.waited_s) / asked if asked > 0 else 0.0
    return _Seen(
        found.at,
        found.cpu_s,
        found.model_s,
        found.waited_s,
        found.asked,
        before.busy + _NEWEST * (busy - before.busy),
        before.wait_s + _NEWEST * (wait - before.wait_s),
    )


def note_change(folder: Path, change: Change) -> None:
    """Add a change to the file of changes, later than those in it; a file that grew too long is begun anew."""
    path, last = folder / CHANGES, max((known.at for known in changes_since(folder, 0)), default=0)
    if path.exists() and path.stat().st_size > _MAX_CHANGES_BYTES:
        path.unlink()
    at = max(last + 1, time.time_ns() // 1000)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(replace(change, at=at)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def changes_since(folder: Path, at: int) -> list[Change]:
    """Changes of the number of workers after a time (microseconds), oldest first."""
    try:
        lines = (folder / CHANGES).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Change))
        except msgspec.DecodeError:
            continue  # the power went while it was written
    return [change for change in found if change.at > at]
