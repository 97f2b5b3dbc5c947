"""Equal workers on one port: each a process of its own, replaced when it dies, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainspring.serving.modelserver.plan import forget_worker, note_death
from mainspring.serving.modelserver.tally import bury

_LOOK_S = 0.2
_YOUNG_S = 5.0
_TOO_MANY = 6
"""So many workers in a row that died young: it is no accident, and the supervisor shall know."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    place: int
    since: float


class Crew:
    """Starts workers and keeps their number.

    Args:
        command: Starts one worker; `--cores` is added to it where cores are given.
        fd: The listening socket, which every worker inherits: what one of them leaves in its queue, others take.
        folder: The plan folder, where workers leave what they say and count.
        cores: For each worker the cores it runs on; an empty list lets the system choose.
    """

    def __init__(self, command: Sequence[str], fd: int, folder: Path, cores: Sequence[Sequence[int]]) -> None:
        self._command = list(command)
        self._fd = fd
        self._folder = folder
        self._cores = cores
        self._children: dict[int, _Child] = {}
        self._stopping = False
        self._died_young = 0

    def run(self) -> int:
        """Work until told to stop, or until workers die as fast as they start. Returns the exit code."""
        parent = os.getppid()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGALRM, lambda *_: self._stop() if os.getppid() != parent else None)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
        for place in range(len(self._cores)):
            self._start(place)
        worst = 0
        while self._children:
            pid, status = os.wait()
            dead = self._children.pop(pid, None)
            if dead is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if not self._stopping:
                self._replace(dead, code)
            if self._stopping and code != -signal.SIGTERM:  # told to stop before it listened for it
                worst = max(worst, abs(code))
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # at the end of the interpreter an alarm would kill it
        return worst

    def _replace(self, dead: _Child, code: int) -> None:
        pid = dead.process.pid
        dead.process.returncode = code  # it was waited for here, not through the object
        forget_worker(self._folder, pid)
        note_death(self._folder)
        bury(self._folder, pid)
        self._died_young = self._died_young + 1 if time.monotonic() - dead.since < _YOUNG_S else 0
        if self._died_young >= _TOO_MANY:
            self._stop()
            return
        time.sleep(0.02 * 2**self._died_young if self._died_young else 0.0)
        if not self._stopping:
            self._start(dead.place)

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
