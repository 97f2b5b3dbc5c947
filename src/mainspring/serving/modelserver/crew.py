"""Equal workers on one port: each a process of its own, replaced when it dies, as many as the load wants."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mainspring.core.values import dataclass
from mainspring.serving.modelserver.plan import forget_worker, note_death
from mainspring.serving.modelserver.tally import bury
from mainspring.serving.modelserver.watching import Change, Watch, note_change
from mainspring.serving.rules.scaling import Pace, Scaling, next_pace

_LOOK_S = 0.2
_YOUNG_S = 5.0
_TOO_MANY = 6
"""So many workers in a row that died young: it is no accident, and the supervisor shall know."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    place: int
    since: float
    leaves: bool = False


class Crew:
    """Starts workers and keeps their number.

    Args:
        command: Starts one worker; `--cores` is added to it where cores are given.
        fd: The listening socket, which every worker inherits: what one of them leaves in its queue, others take.
        folder: The plan folder, where workers leave what they say and count.
        cores: For each worker the cores it runs on; an empty list lets the system choose. As many entries as there are
            workers at most.
        scaling: How many of them there shall be at which load; None keeps all.
    """

    def __init__(
        self,
        command: Sequence[str],
        fd: int,
        folder: Path,
        cores: Sequence[Sequence[int]],
        scaling: Scaling | None = None,
    ) -> None:
        self._command = list(command)
        self._fd = fd
        self._folder = folder
        self._cores = cores
        self._scaling = scaling or Scaling(len(cores), len(cores))
        self._pace = Pace(self._scaling.least)
        self._watch = Watch(folder)
        self._children: dict[int, _Child] = {}
        self._stopping = False
        self._died_young = 0
        self._worst = 0

    def run(self) -> int:
        """Work until told to stop, or until workers die as fast as they start. Returns the exit code."""
        parent = os.getppid()
        ears, mouth = os.pipe()  # a signal ends the wait below at once
        os.set_blocking(ears, False)
        os.set_blocking(mouth, False)
        before = signal.set_wakeup_fd(mouth)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for place in range(self._pace.wanted):
            self._start(place)
        while self._children:
            if select.select([ears], [], [], _LOOK_S)[0]:
                os.read(ears, 4096)
            self._reap()
            if os.getppid() != parent:
                self._stop()
            if not self._stopping:
                self._scale()
        signal.set_wakeup_fd(before)
        os.close(ears)
        os.close(mouth)
        return self._worst

    def _reap(self) -> None:
        """Bury those that died, and have others take the places of those that were not told to go."""
        for pid, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            del self._children[pid]
            if not self._stopping:
                self._replace(child)
            if self._stopping and code != -signal.SIGTERM:  # told to stop before it listened for it
                self._worst = max(self._worst, abs(code))

    def _replace(self, dead: _Child) -> None:
        pid = dead.process.pid
        forget_worker(self._folder, pid)
        bury(self._folder, pid)
        if dead.leaves:
            return
        note_death(self._folder)
        self._died_young = self._died_young + 1 if time.monotonic() - dead.since < _YOUNG_S else 0
        if self._died_young >= _TOO_MANY:
            self._stop()
            return
        time.sleep(0.02 * 2**self._died_young if self._died_young else 0.0)
        if not self._stopping:
            self._start(dead.place)

    def _scale(self) -> None:
        """Have as many workers as the load wants."""
        staying = [child for child in self._children.values() if not child.leaves]
        load = self._watch.look([child.process.pid for child in staying], time.monotonic())
        if load is None or self._scaling.least == self._scaling.most:
            return
        before = self._pace.wanted
        self._pace = next_pace(self._scaling, self._pace, load, time.monotonic())
        wanted = self._pace.wanted
        if wanted == before:
            return
        note_change(self._folder, Change(before, wanted, self._pace.reason, load.busy, 1000 * load.wait_s))
        free = sorted(set(range(len(self._cores))) - {child.place for child in staying})
        for place in free[: wanted - len(staying)] if wanted > len(staying) else []:
            self._start(place)
        for child in sorted(staying, key=lambda child: -child.place)[: max(0, len(staying) - wanted)]:
            self._children[child.process.pid] = replace(child, leaves=True)
            child.process.terminate()

    def _start(self, place: int) -> None:
        cores = ",".join(map(str, self._cores[place]))
        command = [*self._command, *(["--cores", cores] if cores else [])]
        process = subprocess.Popen(command, pass_fds=[self._fd])
        self._children[process.pid] = _Child(process, place, time.monotonic())
        if self._stopping:  # the signal came in between
            process.terminate()

    def _stop(self, *_: object) -> None:
        self._stopping = True
        for child in list(self._children.values()):
            child.process.terminate()


def cores_of(workers: int, *, pin: bool) -> list[list[int]]:
    """The cores of each worker: an equal part of those of this process, or none where they are not to be pinned.

    More workers than cores are not pinned: two on one core would only get in each other's way.
    """
    mine = sorted(os.sched_getaffinity(0))
    each = len(mine) // workers
    if not pin or not each:
        return [[] for _ in range(workers)]
    return [mine[i * each : (i + 1) * each] for i in range(workers)]
