"""The port of an engine: a task goes in, an outcome comes out, and a watcher hears of everything between."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast

from mainspring.core.errors import Failed, Invalid, MainspringError, error_codes
from mainspring.core.values import dataclass

Message = dict[str, object]
"""A small JSON object."""
Ask = Callable[[Message], Message]
"""How running work asks its watcher: a message out, an answer back."""
Entry = Callable[[Message, Ask], Message]
"""What a task runs: the payload and the way to ask, a result."""
NO_ROOM = os.EX_IOERR
"""How a process exits that could not store its result, as the disk was full all the time."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a task wants of the machine it runs on: cores, bytes of memory, graphics cards; 0 says nothing."""

    cpu: float = 0.0
    memory: int = 0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Work for an engine.

    Args:
        entry: The function to run as "package.module:function"; it gets the payload and an `Ask`, it returns a message.
        payload: A JSON object.
        folder: A folder of its own for the task's files (log, result); who puts something there makes it.
        cwd: Working directory of a child process; None = that of the caller.
        env: Environment variables on top of the caller's, for engines with processes of their own.
        wants: What an engine with many machines keeps free for it.
    """

    entry: str
    payload: Message
    folder: Path
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    wants: Wants = Wants()


class OutcomeState(StrEnum):
    """How a task ended: with a result, with an error of its own, without a word, or over its time."""

    FINISHED = "finished"
    FAILED = "failed"
    DIED = "died"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended. `exit_code` is negative for a signal, as in `subprocess`; None where there was no process."""

    state: OutcomeState
    seconds: float
    result: Message = field(default_factory=dict)
    error: MainspringError | None = None
    exit_code: int | None = None
    log: Path | None = None


class Watch(Protocol):
    """Whoever started a task and looks after it. What its methods raise stops the task and passes through `run`."""

    def answer(self, message: Message) -> Message:
        """Answer a question of the running task."""
        ...

    def beat(self) -> float | None:
        """Called about twice a second. Returns the seconds that the task still has, None for no limit."""
        ...


class Engine(Protocol):
    """Runs a task to its end. The behaviour is fixed by the tests in `tests/unit/engines`."""

    @property
    def name(self) -> str:
        """The name in settings and records."""
        ...

    def run(self, task: Task, watch: Watch) -> Outcome:
        """Run `task` until it ends, is stopped by what `watch` raises, or is out of time."""
        ...


def find_entry(text: str) -> Entry:
    """The function that "package.module:function" names.

    Raises:
        Invalid: It has another form, or there is no such module or function.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise Invalid(f"{text!r} names no function", where="task entry", hint='write "package.module:function"')
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as reason:
        raise Invalid(f"{text!r} cannot be imported: {reason}", where="task entry") from None
    return cast(Entry, found)


def describe_exit(code: int) -> str:
    """What an exit code means, in words.

    >>> describe_exit(-9)
    'was killed by SIGKILL (by hand, or by the system when memory ran out)'
    >>> describe_exit(3)
    'exited with code 3'
    """
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    causes = {
        "SIGKILL": " (by hand, or by the system when memory ran out)",
        "SIGSEGV": " (native code touched memory it may not)",
        "SIGABRT": " (native code gave up)",
    }
    return f"was killed by {name}{causes.get(name, '')}"


def pack_error(error: BaseException) -> Message:
    """An error as a message, so that it can leave a process.

    Any other error than Mainspring's own becomes a `Failed` with the kind in front.
    """
    if isinstance(error, MainspringError):
        return {"code": error.code, "what": error.what, "where": error.where, "hint": error.hint}
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"code": Failed.code, "what": text, "where": "", "hint": ""}


def unpack_error(message: Mapping[str, object]) -> MainspringError:
    """The error that `pack_error` packed."""
    kind = error_codes().get(str(message["code"]), Failed)
    return kind(str(message["what"]), where=str(message["where"]), hint=str(message["hint"]))
