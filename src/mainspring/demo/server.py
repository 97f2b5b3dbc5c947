"""A `mainspring up` of the demo's own: a real server process on free ports, stopped when the demo is over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from mainspring.core.errors import Failed, Timeout

READY_S = 60
PLACES = 5
"""On so many ports at most it is tried, when others are sooner."""


def free_ports(count: int, *, near: int = 7600) -> list[int]:
    """So many ports in a row that nobody listens on, the first such row of the rows that begin at `near`.

    Two programs that look at the same time find the same row. As rows do not overlap, whoever has the first port of one
    has all of it.
    """
    for first in range(near, 65536 - count, count):
        row = list(range(first, first + count))
        if all(map(_is_free, row)):
            return row
    raise Failed("no free port on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class ServerProcess:
    """`mainspring up` in a folder, as a child process.

    Args:
        folder: Where `mainspring.toml` is; the log goes to `server.log` in it.
        port: Of API and pages.
        serving_port: Of the model server.
        env: Variables on top of this process's.
    """

    def __init__(self, folder: Path, *, port: int, serving_port: int, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.port, self.serving_port = folder, port, serving_port
        self.env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._log_path = folder / "server.log"

    @property
    def address(self) -> str:
        """Of API and pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def model_address(self) -> str:
        """Of the model server."""
        return f"http://127.0.0.1:{self.serving_port}"

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it and return when it has said that it is ready; when it does not, it is ended."""
        self.spawn()
        try:
            self.await_ready()
        except BaseException:
            self.kill()
            raise

    def spawn(self) -> None:
        """Start it."""
        self._log = self._log_path.open("a", encoding="utf-8")
        ports = ["--port", str(self.port), "--serving-port", str(self.serving_port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mainspring", "up", *ports],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def await_ready_somewhere(self) -> None:
        """As `await_ready`, on other ports when somebody took its own before it had them.

        Raises:
            Failed: It ended, with its ports free, or again and again.
            Timeout: It said nothing for a minute.
        """
        for left in reversed(range(PLACES)):
            try:
                self.await_ready()
                break
            except Failed:
                ports = free_ports(2, near=self.port)
                if not left or ports == [self.port, self.serving_port]:
                    raise
            self.kill()
            self.port, self.serving_port = ports
            self.spawn()

    def await_ready(self) -> None:
        """Return when it has said that it is ready.

        Raises:
            Failed: It ended instead.
            Timeout: It said nothing for a minute.
        """
        assert self._process is not None  # spawned before
        assert self._process.stdout is not None  # it was asked for
        os.set_blocking(self._process.stdout.fileno(), False)
        said, deadline = "", time.monotonic() + READY_S
        while "ready" not in said:
            if self._process.poll() is not None:
                raise Failed(
                    f"the server ended with {self._process.returncode}: {_tail(self._log_path)}",
                    where=str(self._log_path),
                )
            if time.monotonic() > deadline:
                raise Timeout(f"the server was not ready after {READY_S} s", where=str(self._log_path))
            said += self._process.stdout.readline() or ""
            time.sleep(0.01)

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self._forget()
        return code

    def kill(self) -> None:
        """Kill it with -9, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def wait(self) -> None:
        """Until it ends by itself."""
        if self._process is not None:
            self._process.wait()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        if self._log is not None:
            self._log.close()
        self._process = self._log = None


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it said nothing"
