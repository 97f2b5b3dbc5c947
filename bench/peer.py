"""A real MLflow server to measure against, from an environment of its own.

`MAINSPRING_PEER` names the Python of that environment: `python -m venv peer && peer/bin/pip install mlflow`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_S = 300.0


@dataclass
class Contestant:
    """A server that speaks MLflow's protocol."""

    name: str
    address: str
    pid: int
    started_s: float = 0.0

    def processes(self) -> list[psutil.Process]:
        """The server and all its children."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def memory_mb(self) -> float:
        """Memory of all its processes, shared pages counted once for each that has them in proportion."""
        return sum(float(process.memory_full_info().pss) for process in self.processes()) / 1e6


def python() -> str:
    """The Python of the peer's environment.

    Raises:
        SystemExit: There is none.
    """
    found = os.environ.get("MAINSPRING_PEER", "")
    if found and Path(found).exists():
        return found
    beside = shutil.which("mlflow")
    if beside:
        return str(Path(beside).parent / "python")
    hint = "python -m venv peer && peer/bin/pip install mlflow; export MAINSPRING_PEER=peer/bin/python"
    raise SystemExit(f"no MLflow to measure against\ntry: {hint}")


@contextmanager
def mlflow(root: Path, *, url: str = "", workers: Sequence[str] = ()) -> Iterator[Contestant]:
    """An MLflow server with its database and files below `root`, at its default but for `workers`."""
    root.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [python(), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        url or f"sqlite:///{root / 'mlflow.db'}",
        "--artifacts-destination",
        str(root / "files"),
    ]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    started = time.perf_counter()
    with (root / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, *workers], cwd=root, stdout=log, stderr=log, env=quiet)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, process)
        name = "MLflow" + (" with one worker" if workers else "")
        yield Contestant(name, address, process.pid, time.perf_counter() - started)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # it waits for its workers, which on a crowded machine may take minutes
            process.kill()
            process.wait()
        for child in psutil.wait_procs(family, timeout=10)[1]:
            child.kill()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"MLflow did not start: {process.poll()}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
