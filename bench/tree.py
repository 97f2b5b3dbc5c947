"""CPU seconds of whole process trees, of those that run and of those that ended.

As a program, `python tree.py REPORT LIMIT_S COMMAND...` runs a command, takes in whatever it leaves behind, and writes
`{"cpu_s": ..., "wall_s": ..., "exit": ..., "left": ...}` to the file REPORT.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 5.0


@dataclass(frozen=True)
class Used:
    """What a command took with all its descendants, how it ended, and what it printed (both streams)."""

    cpu_s: float
    wall_s: float
    exit: int
    output: str


def used(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], limit_s: float) -> Used:
    """Run a command to its end, and wait for what it left behind; over `limit_s` it is killed, and `exit` is 124."""
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report"), Path(folder, "log")
        with log.open("wb") as file:
            watcher = [sys.executable, "-S", __file__, str(report), str(limit_s), *command]
            subprocess.run(watcher, cwd=cwd, env=env, stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=True)
        found = json.loads(report.read_text())
        return Used(found["cpu_s"], found["wall_s"], found["exit"], log.read_text(errors="replace"))


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and its descendants so far, with those that ended and were waited for.

    What the kernel shows is in hundredths of a second, so take enough work for a difference.
    """
    import psutil

    total = 0.0
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(pid)
        for each in [own, *own.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its descendants."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        for each in [*own.children(recursive=True), own]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def _main(report: str, limit_s: float, command: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become ours, and count
    started = time.perf_counter()
    code = 124
    main = subprocess.Popen(command, start_new_session=True)
    with _alarm(limit_s):
        code = main.wait()
    wall_s = time.perf_counter() - started
    if main.returncode is None:
        os.killpg(main.pid, signal.SIGKILL)
        main.wait()
    with _alarm(_GRACE_S), suppress(ChildProcessError):
        while True:
            os.wait()
    while _kill_children():
        with suppress(ChildProcessError):
            while True:
                os.wait()
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"cpu_s": times.ru_utime + times.ru_stime, "wall_s": wall_s, "exit": code}
    Path(report).write_text(json.dumps(found))


class _Late(Exception):
    """The time is up."""


@contextmanager
def _alarm(limit_s: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        with suppress(_Late):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _kill_children() -> bool:
    """Kill those that outlived the command; whether there were any."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    return bool(children)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
