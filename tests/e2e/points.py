"""Points on their way from a program to a server while both are killed, again and again, at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import own_ports

from mainspring.core.errors import MainspringError
from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess

CLIENT = """
import sys, time
import mainspring as ms
run_id, points, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with ms.run(resume=run_id) as run:
    print("at", run.next_step, time.monotonic(), flush=True)
    for step in range(run.next_step, points):
        run.log({"loss": step * 0.5}, step=step)
        if step % 500 == 0:
            print("logged", step, time.monotonic(), flush=True)
            time.sleep(pause)
"""
"""A training that goes on where its run stands, as one with checkpoints does."""
SAFE_S = 0.2
_PATIENCE_S = 240.0


@dataclass
class Survived:
    """What came of it: steps that are stored, kills, and the points each killed client took with it."""

    steps: list[int]
    run: dict[str, object]
    client_kills: int = 0
    server_kills: int = 0
    lost: list[int] = field(default_factory=list)
    seconds: float = 0.0


class Storm:
    """One run that gets all its points, and a server, both of which die.

    Args:
        root: Folder of the server.
        points: How many points the run shall have.
        kills: How often each of both is killed.
        seed: Of the moments.
        pause_s: How long the client rests after 500 points.
    """

    def __init__(self, root: Path, *, points: int, kills: int, seed: int, pause_s: float) -> None:
        port, serving_port = own_ports(2)
        self.server = ServerProcess(root, port=port, serving_port=serving_port)
        self._root, self._points, self._pause_s = root, points, pause_s
        self._random = random.Random(seed)
        self._kills = kills
        self._safe = 0
        self._api = Api(self.server.address, timeout_s=60)
        self._last = 0
        self.done = Survived([], {})

    def run(self) -> Survived:
        """Until all points are stored.

        Raises:
            AssertionError: A client lost more than the last 200 ms, or it never ends.
        """
        self.server.start()
        try:
            api, started = self._api, time.monotonic()
            made = api.post("/api/v1/runs", {"experiment": "storm"})
            assert isinstance(made, dict)
            run_id = str(made["id"])
            while not self._life(run_id):
                assert time.monotonic() - started < _PATIENCE_S * max(1, self._points // 100_000), "it never ends"
            self.done.seconds = time.monotonic() - started
            history = api.get(f"/api/v1/runs/{run_id}/metrics/loss")
            assert isinstance(history, dict)
            self.done.steps = history["steps"]
            found = api.get(f"/api/v1/runs/{run_id}")
            assert isinstance(found, dict)
            self.done.run = found
            return self.done
        finally:
            self._api.close()
            self.server.stop()

    def _life(self, run_id: str) -> bool:
        """One client until it is killed or done; the server may die meanwhile. Whether it was done."""
        command = [sys.executable, "-c", CLIENT, run_id, str(self._points), str(self._pause_s)]
        environ = {**os.environ, "MAINSPRING_URL": self.server.address}
        client = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self._root, env=environ
        )
        assert client.stdout is not None and client.stderr is not None
        killed = float("inf")
        first = client.stdout.readline()  # it logs from here on
        if first and self.done.server_kills < self._kills:
            time.sleep(self._random.uniform(0.0, 0.6))
            self.server.kill()
            self.done.server_kills += 1
            time.sleep(self._random.uniform(0.0, 0.5))
            if self._random.random() < 0.5:
                killed = self._kill(client)
            self.server.start()
        if first and self.done.client_kills < self._kills and killed == float("inf"):
            time.sleep(self._random.uniform(0.0, 1.0))
            killed = self._kill(client)
        said, complaint = client.communicate()
        self._account([first, *said.splitlines()], killed)
        if client.returncode not in (0, -9) and "Unavailable" not in complaint:
            raise MainspringError(f"the client ended with {client.returncode}: {complaint[-2000:]}")
        return client.returncode == 0

    def _kill(self, client: subprocess.Popen[str]) -> float:
        if client.poll() is None:
            client.kill()
            self.done.client_kills += 1
        return time.monotonic()

    def _account(self, lines: list[str], killed: float) -> None:
        """What a client found stored must be all that the one before it had logged 200 ms before its death."""
        for line in lines:
            words = line.split()
            if len(words) != 3:
                continue  # cut by the kill
            step, at = int(words[1]), float(words[2])
            if words[0] == "at":
                assert step >= self._safe, f"{self._safe} points were safe, {step} are stored"
                self.done.lost.append(max(0, self._last - step))
            else:
                self._last = step + 1
                if at <= killed - SAFE_S:
                    self._safe = max(self._safe, step + 1)
