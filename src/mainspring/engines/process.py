"""The engine with a process: each task runs in a Python child of its own, at the head of its own process group.

The child writes to a log file, asks over a socket, and leaves its result in a file that is whole or absent. However
the task ends, nothing of its process group is left.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

from mainspring.core.errors import Failed, MainspringError, NoRoom, Timeout
from mainspring.engines.port import NO_ROOM, Message, Outcome, OutcomeState, Task, Watch, describe_exit, unpack_error

TASK, RESULT, LOG = "task.json", "result.json", "log.txt"
_BLOCK = 1 << 16


class ProcessEngine:
    """Runs each task in a child process that dies with its parent.

    Args:
        python: The interpreter of the child.
        beat_s: How often the watcher's `beat` is called while the task says nothing.
        grace_s: How long a stopped task has between SIGTERM and SIGKILL.
    """

    name = "process"

    def __init__(self, *, python: str = sys.executable, beat_s: float = 0.5, grace_s: float = 5.0) -> None:
        self._python = python
        self._beat_s = beat_s
        self._grace_s = grace_s

    def run(self, task: Task, watch: Watch) -> Outcome:
        """Start the child, answer it, and wait for its end.

        What `watch` raises stops the child (SIGTERM, then SIGKILL to its whole group) and passes through.
        """
        started = time.monotonic()
        child = _Child(task, self._python)
        try:
            in_time = self._attend(child, watch)
            if not in_time:
                child.stop(self._grace_s)
            child.wait()
        except BaseException:
            child.stop(self._grace_s)
            raise
        finally:
            child.end()
        return _outcome(task, child.exit_code, time.monotonic() - started, in_time=in_time)

    def _attend(self, child: _Child, watch: Watch) -> bool:
        next_beat = time.monotonic()
        while True:
            if time.monotonic() >= next_beat:
                left_s = watch.beat()
                if left_s is not None and left_s <= 0:
                    return False
                next_beat = time.monotonic() + (self._beat_s if left_s is None else min(self._beat_s, left_s))
            for message in child.messages(max(next_beat - time.monotonic(), 0)):
                child.answer(watch.answer(message))
                next_beat = 0.0
            if child.is_gone():
                return True


class _Child:
    """A running child: its process, its socket, and the lifeline whose end tells it that we are gone."""

    def __init__(self, task: Task, python: str) -> None:
        task.folder.mkdir(parents=True, exist_ok=True)
        (task.folder / RESULT).unlink(missing_ok=True)
        (task.folder / TASK).write_text(json.dumps({"entry": task.entry, "payload": task.payload}))
        with ExitStack() as theirs:
            self._socket, its_socket = socket.socketpair()
            theirs.enter_context(its_socket)
            its_lifeline, self._lifeline = os.pipe()
            theirs.callback(os.close, its_lifeline)
            log = theirs.enter_context((task.folder / LOG).open("ab"))
            fds = (its_socket.fileno(), its_lifeline)
            self._process = subprocess.Popen(
                [python, "-m", "mainspring.engines.child", str(task.folder), *map(str, fds), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                cwd=task.cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **task.env},
                start_new_session=True,
            )
        self._socket.setblocking(False)
        self._part = b""
        self._closed = False

    @property
    def exit_code(self) -> int:
        """The exit code, once it was waited for."""
        code = self._process.returncode
        return -signal.SIGKILL if code is None else code

    def messages(self, wait_s: float) -> list[Message]:
        """The questions that came within `wait_s`."""
        if self._closed:
            time.sleep(min(wait_s, 0.02))
            return []
        if not select.select([self._socket], [], [], wait_s)[0]:
            return []
        data = b""
        with suppress(ConnectionResetError, BlockingIOError):
            data = self._socket.recv(_BLOCK)
        if not data:
            self._closed = True
            return []
        *lines, self._part = (self._part + data).split(b"\n")
        return [cast(Message, json.loads(line)) for line in lines]

    def answer(self, message: Message) -> None:
        """Send an answer; a child that is gone does not get it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.setblocking(True)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        self._socket.setblocking(False)

    def is_gone(self) -> bool:
        """Whether the child has ended; it is not reaped yet, so that its group id stays its own."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def stop(self, grace_s: float) -> None:
        """SIGTERM to the group, and SIGKILL when it is still there after `grace_s`."""
        if self._process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # no more answers: a question asked now must not wait for one
        until = time.monotonic() + grace_s
        while not self.is_gone() and time.monotonic() < until:
            time.sleep(0.01)
        self.wait()

    def wait(self) -> None:
        """Kill what is left of the group and reap the child."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def end(self) -> None:
        """Let go of the socket and the lifeline."""
        self._socket.close()
        os.close(self._lifeline)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def timed_out(task: Task, seconds: float, code: int | None = None) -> Outcome:
    """The outcome of a task that was stopped after so many seconds, as its time was up."""
    log = task.folder / LOG
    late = Timeout(f"the time was up after {seconds:.1f} s", where=str(log))
    return Outcome(state=OutcomeState.TIMED_OUT, seconds=seconds, error=late, exit_code=code, log=log)


def _outcome(task: Task, code: int, seconds: float, *, in_time: bool) -> Outcome:
    log = task.folder / LOG
    if not in_time:
        return timed_out(task, seconds, code)
    answer = _read(task.folder / RESULT)
    if answer is None:
        died: MainspringError = Failed(
            f"the child process {describe_exit(code)}", where=str(log), hint="read the last lines of the log"
        )
        if code == NO_ROOM:
            what = "the disk is full: the child process could not store its result"
            died = NoRoom(what, where=str(task.folder), hint="free some space, then run it again")
        return Outcome(state=OutcomeState.DIED, seconds=seconds, error=died, exit_code=code, log=log)
    if "error" in answer:
        error = unpack_error(cast(Message, answer["error"]))
        return Outcome(state=OutcomeState.FAILED, seconds=seconds, error=error, exit_code=code, log=log)
    result = cast(Message, answer["result"])
    return Outcome(state=OutcomeState.FINISHED, seconds=seconds, result=result, exit_code=code, log=log)


def _read(path: Path) -> Message | None:
    try:
        return cast(Message, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
