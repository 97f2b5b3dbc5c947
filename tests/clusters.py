"""A cluster of Ray on this machine, of several nodes and with a token, for tests and measurements.

It is run by a process of its own, whose words it is known by: `kill` kills a node, and the end of its input ends it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import psutil

STORE_BYTES = 80_000_000


class RayCluster:
    """Nodes that each say they have so many cores; the first is the head. They want a token of whoever comes.

    Args:
        port: For clients that are no node of it.
        nodes: How many.
        cpus: Cores of each.
    """

    def __init__(self, port: int, nodes: int = 3, cpus: int = 2) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # paths of sockets are short
        token = Path(self._folder.name) / "token"
        token.write_text("7f" * 32)
        self.client = f"ray://127.0.0.1:{port}"
        self.env = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        command = [sys.executable, "-W", "ignore", __file__, self._folder.name, *map(str, (port, nodes, cpus))]
        with Path(self._folder.name, "cluster.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self.env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self.address: str = self._hear()["address"]
        self.env["RAY_ADDRESS"] = self.address

    def kill_a_node(self) -> list[int]:
        """SIGKILL everything of the newest node at once; the processes that were killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"kill\n")
        self._process.stdin.flush()
        return cast("list[int]", self._hear()["killed"])

    def close(self) -> None:
        """End every process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, Path(self._folder.name, "cluster.log").read_text()
        return json.loads(line)


def hold(port: str, nodes: str, cpus: str) -> None:
    """Keep a cluster until there is no more input, and say by which variables it is reached."""
    made = RayCluster(int(port), int(nodes), int(cpus))
    try:
        print(json.dumps(made.env), flush=True)
        sys.stdin.read()
    finally:
        made.close()


def main(folder: str, port: int, nodes: int, cpus: int) -> None:
    """Start the nodes, and do what is said until no more is."""
    from ray.cluster_utils import Cluster

    given = {"num_cpus": cpus, "object_store_memory": STORE_BYTES}
    head = {**given, "include_dashboard": False, "ray_client_server_port": port, "temp_dir": folder}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        others = [cluster.add_node(**given) for _ in range(nodes - 1)]
        print(json.dumps({"address": cluster.address}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"killed": _kill(others.pop())}), flush=True)
    finally:
        cluster.shutdown()


def _kill(node: Any) -> list[int]:
    raylet = node.all_processes["raylet"][0].process.pid
    family = [raylet, *(child.pid for child in psutil.Process(raylet).children(recursive=True))]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return family


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
