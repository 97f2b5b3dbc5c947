"""Processes of ours that a test starts begin as forks of one that has everything imported.

A model server or a step of a pipeline imports for one to three seconds of a processor, and tests start hundreds. What
begins here is what `subprocess` starts: a child of the process that asks, with arguments, folder, environment, streams,
descriptors, session and exit code of its own; the imports alone are there already. That each program starts from
nothing is proven in `tests/e2e`, where nothing is warm.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
PROGRAMS = (
    "mainspring",
    "mainspring.engines.child",
    "mainspring.loop.planning.child",
    "mainspring.registry.apart.child",
    "mainspring.serving.batch",
    "mainspring.serving.modelserver",
    "mainspring.serving.replayer",
    "mainspring.serving.shadows",
    "tests.docs.warm",
)
STARTERS = ("mainspring", "mainspring.serving.modelserver")
"""Those that start others of these, as scripts may."""
LIBRARIES = (
    *("numpy", "polars", "deltalake", "lightgbm", "sklearn.linear_model", "sklearn.model_selection", "skops.io"),
    *("anyio._backends._asyncio", "blake3", "uvloop"),
)
ROOMS = ("access", "data", "gates", "governance", "loop", "monitoring", "pipelines", "registry", "serving", "tracking")
PARTS = (
    *(f"mainspring.server.{name}" for name in ("house", "app", "run", "background")),
    *(f"mainspring.server.house.{name}" for name in ROOMS),
    *("mainspring.storage.sqlite", "mainspring.storage.postgres", "mainspring.storage.delta"),
    *(f"mainspring.serving.modelserver.{name}" for name in ("worker", "crew", "app")),
    *(f"mainspring.registry.apart.{name}" for name in ("kept", "function", "unpickled")),
)
TESTS = "import sys;exec(eval(sys.stdin.readline()))"
"""What pytest-xdist starts to run a share of the tests: it is told what to be, and has a seed for what tests start."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: who lost its parent becomes a child of this process
_MOST = 1 << 20
_MOST_FDS = 32
_FAR = 512  # above every descriptor that a process is promised


def load() -> None:
    """Import what our processes import; nothing is computed, so that no library has threads that a fork would lose.

    A warning is an error here, as it is where tests import the same.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from mainspring.cli import COMMANDS

        for module, _ in COMMANDS.values():
            importlib.import_module(module.partition(":")[0])
        for name in (*PARTS, *LIBRARIES):
            importlib.import_module(name)
        importlib.import_module("mainspring.server.rooms").collect_handlers()
    gc.collect()
    gc.freeze()  # a collection would copy every page of memory that is shared with the forks


class Seed:
    """The process that forks, started on first use; it ends with the one that asks it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.link: socket.socket | None = None
        self.owner = 0
        self._process: subprocess.Popen[bytes] | None = None

    def is_mine(self) -> bool:
        """Whether what it forks would be a child of this process: that of a parent does not serve its forks."""
        return self.link is None or self.owner == os.getpid()

    def fork(self, asked: dict[str, object], fds: Sequence[int]) -> int:
        """The process id of a child of this process that does what is asked, with these descriptors."""
        with self._lock:
            link = self.link = self.link or self._start()
            libc = ctypes.CDLL(None)
            libc.prctl(_SUBREAPER, 1)
            try:
                socket.send_fds(link, [json.dumps(asked).encode()], list(fds))
                return int(link.recv(64))
            finally:
                libc.prctl(_SUBREAPER, 0)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.owner = os.getpid()
        with theirs:
            command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
            self._process = COLD(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        return ours

    def end(self) -> None:
        """Let it go."""
        if self.link is not None and self._process is not None:
            self.link.close()
            self._process.wait()
            self.link = None


COLD = subprocess.Popen
SEED = Seed()


def begin(fd: int) -> None:
    """Be a seed that is asked over a socket."""
    del sys.path[0]  # the folder of the tests' own modules
    load()
    _serve(socket.socket(fileno=fd))


class Warm(subprocess.Popen):  # type: ignore[type-arg]  # of bytes or of text, as it is called
    """As `subprocess.Popen`, but a program of ours begins as a fork of the seed."""

    def _execute_child(self, *given: Any) -> None:
        args, _, preexec, _, pass_fds, cwd, env, _, _, shell, *pipes = given[:16]
        program = None if preexec or shell else _program(args)
        if program is None or not SEED.is_mine() or (cwd is not None and not os.path.isdir(cwd)):
            super()._execute_child(*given)  # type: ignore[misc]  # typeshed has no private names
            return
        its = [mine if its < 0 else its for mine, its in zip((0, 1, 2), (pipes[0], pipes[3], pipes[5]), strict=True)]
        asked: dict[str, object] = {
            **asdict(program),
            "folder": os.fspath(cwd or os.getcwd()),
            "environ": dict(os.environ if env is None else env),
            "session": bool(given[-2]),
            "fds": [0, 1, 2, *pass_fds],
        }
        self.pid = SEED.fork(asked, [*its, *pass_fds])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Command:
    """What a command line of Python asks for."""

    program: str  # a module of ours, or the path of a script
    args: tuple[str, ...]
    safe: bool  # nothing is put before the path of modules
    strict: bool  # warnings are errors


def _program(args: object) -> Command | None:
    """What a command starts with this very Python: a program of ours or a script. None for anything else."""
    if sys.platform != "linux" or not isinstance(args, list) or args[0] != sys.executable:
        return None
    given = [os.fspath(part) for part in args[1:]]
    if given == ["-u", "-c", TESTS]:
        return Command(TESTS, (), safe=False, strict=False)
    if safe := given[0] == "-P":
        del given[0]
    if strict := given[:2] == ["-W", "error"]:
        del given[:2]
    if given[0] == "-m" and given[1] in PROGRAMS:
        return Command(given[1], tuple(given[2:]), safe, strict)
    if given[0].endswith(".py"):
        return Command(given[0], tuple(given[1:]), safe, strict)
    return None


def _serve(link: socket.socket) -> NoReturn:
    """Fork for each message; the forks are what was asked. The seed itself ends with who asks."""
    while True:
        text, fds, _, _ = socket.recv_fds(link, _MOST, _MOST_FDS)
        if not text:
            os._exit(0)  # who asks has ended
        told, tell = os.pipe()
        wait, let = os.pipe()
        between = os.fork()  # its end makes the fork the child of whoever asked
        if between == 0:
            if (pid := os.fork()) == 0:
                link.close()
                for fd in (told, tell, let):
                    os.close(fd)
                os.read(wait, 1)  # ends once the process between is gone, and this one the child of who asked
                os.close(wait)
                _become({**json.loads(text), "taken": fds})
            os.write(tell, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        link.send(os.read(told, 64))
        for fd in (told, tell, wait, let, *fds):
            os.close(fd)


def _become(asked: dict[str, Any]) -> NoReturn:
    """Be the program that was asked for, with what `subprocess` would give it."""
    program = asked["program"]
    if program in (*STARTERS, TESTS) or program.endswith(".py"):
        plant(asked["taken"])
    if program == TESTS:
        subprocess.Popen = COLD  # type: ignore[misc]  # the tests say themselves what begins warm
    if asked["session"]:
        os.setsid()
    far = [os.dup2(fd, _FAR + number) for number, fd in enumerate(asked["taken"])]
    for fd in asked["taken"]:
        os.close(fd)
    for fd, wanted in zip(far, asked["fds"], strict=True):
        os.dup2(fd, wanted)
        os.close(fd)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    settle(asked["folder"], asked["environ"])
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in before]
    is_script = program.endswith(".py")
    first = [] if asked["safe"] else [str(Path(program).parent.resolve()) if is_script else asked["folder"]]
    sys.path[:0] = [*first, *added]
    sys.argv = [program, *asked["args"]]
    if asked["strict"]:
        warnings.simplefilter("error")
    if program == TESTS:
        run(_be_told)
    run(partial(runpy.run_path if is_script else _run_module, program, run_name="__main__"))


def _be_told() -> None:
    """As `python -c` of `TESTS`: what runs has no file that its own processes could be told to import."""
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(TESTS, main.__dict__)


_run_module = partial(runpy.run_module, alter_sys=True)


def plant(foreign: Sequence[int] = ()) -> None:
    """Make a seed for what this process will start, while it has no threads yet; its descriptors are not for the seed.

    What the seed forks becomes the program in the seed's own copy of this call, and never returns.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        for fd in foreign:
            os.close(fd)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        _serve(theirs)
    theirs.close()
    SEED.link, SEED.owner = ours, os.getpid()
    subprocess.Popen = Warm  # type: ignore[misc]


def settle(folder: str, environ: Mapping[str, str]) -> None:
    """Take folder, environment and standard streams as a new interpreter does."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open
    size = 0 if os.environ.get("PYTHONUNBUFFERED") else -1
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, "wb", size, closefd=False), write_through=not size or number == 2)
        for number in (1, 2)
    )
    importlib.import_module("numpy").random.seed()


def run(program: Callable[[], object]) -> NoReturn:
    """Run a program to its end, threads and what it registered for the end included.

    The interpreter is not taken apart: that would copy each page of memory it shares, a fifth of a second.
    """
    code: object = 1
    try:
        program()
        code = 0
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as at the end of every interpreter
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # what an interpreter does first when it ends
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 255 if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    from tests.warm import begin as begin_here  # under its own name, where its forks find their seed

    begin_here(int(sys.argv[1]))
