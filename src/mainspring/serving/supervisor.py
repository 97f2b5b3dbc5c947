"""The model server as a child process: started, watched, started again, asked to drain."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from mainspring.core.errors import Conflict, Failed, Timeout, Unavailable
from mainspring.core.values import dataclass
from mainspring.serving.guards import is_alive, living
from mainspring.serving.modelserver.plan import PLAN, Applied, note_death, read_applied, read_plan

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the model server listens (port 0: a free one, kept over restarts; gRPC port 0: none), how many workers it
    has (`max_workers` under load, 0: no more), and whether each is pinned to cores of its own."""

    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 1
    pin: bool = False
    drain_s: float = 1.0
    grpc_port: int = 0
    max_workers: int = 0
    calm_s: float = 60.0


class Supervisor:
    """Keeps one model server alive over a plan folder. Safe to share between threads.

    Args:
        folder: The plan folder; the serving room writes `plan.json` there.
        options: Where it listens.
        prepare: Called before a start; `Serving.write_plan` makes the plan from the rows again.
    """

    def __init__(
        self, folder: Path, options: ServerOptions | None = None, *, prepare: Callable[[], object] = lambda: None
    ) -> None:
        self.folder = folder
        self._prepare = prepare
        self._options = options or ServerOptions()
        self._port = self._options.port
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self.restarts = 0

    @property
    def url(self) -> str:
        """Where it answers.

        Raises: Unavailable: It was never started, so it has no port.
        """
        if not self._port:
            raise Unavailable("the model server is not running", hint="mainspring up")
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"http://{host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the model server, None when it is not alive."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def launch(self) -> None:
        """Start the model server if it is not alive, and return at once: `start` waits for it.

        Raises: Failed, Conflict or Unavailable as `start` does, where it is known already.
        """
        with self._lock:
            if self.pid is None:
                self._spawn()

    def start(self, *, timeout_s: float = 60.0) -> str:
        """Start the model server if it is not alive, and wait until it serves the plan.

        Returns: Its address.
        Raises: Failed: It ended at once. Timeout: It was not ready in time. Unavailable: gRPC is asked for and not
            installed.
        """
        with self._lock:
            self.launch()
            self.wait_applied(read_plan(self.folder).generation, timeout_s=timeout_s, strict=False)
            return self.url

    def ensure(self) -> bool:
        """Start the model server again if it died. Returns whether it had to."""
        with self._lock:
            if self._process is None or self._process.poll() is None:
                return False
            self.restarts += 1
            note_death(self.folder)
            self._spawn()
            return True

    def wait_ended(self, *, timeout_s: float = 30.0) -> bool:
        """Wait until the model server is not alive; False when it still is."""
        try:
            return self._process is None or self._process.wait(timeout_s) is not None
        except subprocess.TimeoutExpired:
            return False

    def stop(self, *, timeout_s: float = 60.0) -> int | None:
        """Drain and end it; what is in flight is answered. Returns its exit code, None when it was not alive."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            process.terminate()
            try:
                return process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()

    def close(self) -> None:
        """End it."""
        self.stop()

    def apply(self, generation: int | None = None, *, timeout_s: float = 60.0) -> None:
        """Wait until every worker serves this generation of the plan (default: the present one) or a later one.

        Raises:
            Failed: A model of the plan could not be loaded; what was served before still is.
            Timeout: It took too long.
        """
        wanted = read_plan(self.folder).generation if generation is None else generation
        self.wait_applied(wanted, timeout_s=timeout_s, strict=True)

    def wait_applied(self, generation: int, *, timeout_s: float, strict: bool) -> None:
        """As `apply`; with `strict` off, models that could not be loaded are no failure."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.pid is None:
                raise self._ended()
            workers = self._workers()
            if len(workers) >= self._options.workers and all(w.generation >= generation for w in workers):
                self._port = workers[0].port
                if strict:
                    _refuse_problems(workers)
                return
            time.sleep(_POLL_S)
        raise _too_late(self.folder, generation, self._workers(), timeout_s)

    def _workers(self) -> list[Applied]:
        """What the workers of the present process say (files of dead ones are left out)."""
        pid = self.pid
        return [w for w in read_applied(self.folder) if w.pid == pid or _parent(w.pid) == pid]

    def _spawn(self) -> None:
        check_grpc(self._options.grpc_port)
        self._prepare()
        self.folder.mkdir(parents=True, exist_ok=True)
        for worker in read_applied(self.folder):
            if not is_alive(worker.pid):
                (self.folder / f"applied-{worker.worker}.json").unlink(missing_ok=True)
        options = self._options
        command = [sys.executable, "-m", "mainspring.serving.modelserver", "--plan", str(self.folder)]
        command += ["--host", options.host, "--port", str(self._port), "--workers", str(options.workers)]
        command += ["--grpc-port", str(options.grpc_port)]
        command += ["--max-workers", str(options.max_workers), "--calm-s", str(options.calm_s)]
        command += ["--drain-s", str(options.drain_s), *(["--pin"] if options.pin else [])]
        with (self.folder / "modelserver.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _ended(self) -> Conflict | Failed:
        """Why the model server ended, from what it said last."""
        log = self.folder / "modelserver.log"
        lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
        if os.strerror(errno.EADDRINUSE) in lines[-1]:
            host, port = self._options.host, self._options.port
            hint = f"mainspring up --serving-port {port + 2}"
            return Conflict(f"port {port} of the model server is taken", where=f"{host}:{port}", hint=hint)
        return Failed(f"the model server ended: {lines[-1][:300]}", where=str(log), hint="read its last lines")


def check_grpc(port: int) -> None:
    """Refuse a port for gRPC where its packages are missing: a child that can't say so would only end.

    Raises: Unavailable: They are.
    """
    if port and not all(find_spec(name) for name in ("grpc", "grpc_health", "grpc_reflection")):
        raise Unavailable("gRPC is not installed", where="serving.grpc_port", hint="pip install 'mainspring[grpc]'")


def wait_served(folder: Path, *, timeout_s: float = 30.0) -> bool:
    """Wait until the model server over this plan folder, whoever started it, serves the newest plan.

    Returns: Whether one runs. Raises: Failed: A model could not be loaded. Timeout.
    """
    generation, deadline = read_plan(folder).generation, time.monotonic() + timeout_s
    while workers := living(folder):
        if all(worker.generation >= generation for worker in workers):
            _refuse_problems(workers)
            return True
        if time.monotonic() > deadline:
            raise _too_late(folder, generation, workers, timeout_s)
        time.sleep(_POLL_S)
    return False


def address_of(folder: Path, host: str) -> str:
    """Where the model server over this plan folder answers, whoever started it.

    Args:
        folder: The plan folder.
        host: Where it listens; one that means every address is asked on this machine's own.
    Raises: Unavailable: None runs.
    """
    for worker in living(folder):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
        return f"http://[{host}]:{worker.port}" if ":" in host else f"http://{host}:{worker.port}"
    raise Unavailable("no model server runs", where=str(folder), hint="mainspring up")


def _too_late(folder: Path, generation: int, workers: Sequence[Applied], timeout_s: float) -> Timeout:
    """What there is to say of a server that did not get as far as it should."""
    there = ", ".join(str(worker.generation) for worker in workers)
    found = f"its workers serve plan {there}" if there else "no worker has loaded a plan"
    hint = f"see {folder / 'modelserver.log'}" if (folder / PLAN).exists() else f"{folder / PLAN} is gone: deploy again"
    what = f"the model server did not reach plan {generation} in {timeout_s:g} s: {found}"
    return Timeout(what, where=str(folder), hint=hint)


def _refuse_problems(workers: Sequence[Applied]) -> None:
    for worker in workers:
        for name, problem in worker.problems.items():
            raise Failed(f"{name or 'the plan'} could not be loaded: {problem}", where=name)


def _parent(pid: int) -> int | None:
    """The parent of a process, from /proc; None when it is gone or there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
