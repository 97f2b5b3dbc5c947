"""The program of a child process: `python -m mainspring.engines.child FOLDER SOCKET LIFELINE PARENT`.

Before anything heavy is imported it forks. The first process stays as a guard that does nothing but wait: when the
parent is gone (the lifeline ends, or the parent id changed) it kills the whole process group, whatever native code the
second process is in. The second process does the work, and dies with the guard.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

from mainspring.engines.port import NO_ROOM, Message, find_entry, pack_error

_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0
_ROOM_S = 30.0
_AGAIN_S = 0.1


class Channel:
    """The child's end of the socket: one question at a time, each with its answer."""

    def __init__(self, fd: int) -> None:
        self._file = socket.socket(fileno=fd).makefile("rwb")
        self._lock = threading.Lock()

    def ask(self, message: Message) -> Message:
        """Send a message and wait for the answer. Without a parent there is no answer, and no reason to go on."""
        with self._lock:
            self._file.write(json.dumps(message).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        if not line:
            raise SystemExit("the parent process is gone")
        return cast(Message, json.loads(line))


def main(arguments: list[str]) -> NoReturn:
    """Split into guard and worker."""
    folder, channel, lifeline, parent = Path(arguments[0]), *map(int, arguments[1:])
    if os.getppid() != parent:
        raise SystemExit("the parent process is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    wake_in, wake_out = os.pipe()
    guard = os.getpid()
    worker = os.fork()
    if worker:
        os.close(channel)
        _guard(worker, parent, lifeline, (wake_in, wake_out))
    for fd in (lifeline, wake_in, wake_out):
        os.close(fd)
    _die_with(guard)
    _work(folder, Channel(channel))


def _guard(worker: int, parent: int, lifeline: int, wake: tuple[int, int]) -> NoReturn:
    os.set_blocking(wake[1], False)
    signal.set_wakeup_fd(wake[1])
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGCHLD, _ignore)
    while True:
        gone, status = os.waitpid(worker, os.WNOHANG)
        if gone:
            _end_like(os.waitstatus_to_exitcode(status))
        ready = select.select([lifeline, wake[0]], [], [], _LOOK_S)[0]
        if lifeline in ready or os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)
        if wake[0] in ready:
            os.read(wake[0], 512)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor is all that is wanted of a signal."""


def _end_like(code: int) -> NoReturn:
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(max(code, 0))


def _die_with(guard: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)


def _work(folder: Path, channel: Channel) -> NoReturn:
    signal.signal(signal.SIGTERM, _stop)
    code = 0
    try:
        task = json.loads((folder / "task.json").read_bytes())
        answer: Message = {"result": find_entry(task["entry"])(task["payload"], channel.ask)}
        text = json.dumps(answer)
    except Exception as error:  # noqa: BLE001 - the edge of a process: the reason goes into the result and the log
        with suppress(OSError):  # the log may be on a full disk
            traceback.print_exc()
        text = json.dumps({"error": pack_error(error)})
        code = 1
    _leave(code if _write_when_there_is_room(folder / "result.json", text) else NO_ROOM)


def _leave(code: int) -> NoReturn:
    """End as `sys.exit` would: threads are waited for, exit hooks run, what was printed is written.

    Only the modules are not taken apart one by one, which takes half a second where much was imported.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does it, which ends its children likewise
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _write_when_there_is_room(path: Path, text: str) -> bool:
    """A disk that is full now may have room a moment later, and a result is not lost for that."""
    until = time.monotonic() + _ROOM_S
    while True:
        try:
            _write_whole(path, text)
        except OSError as reason:
            if reason.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        else:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_AGAIN_S)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    try:
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
