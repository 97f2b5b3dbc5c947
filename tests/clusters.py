"""A cluster of Ray on this machine, of several nodes and with a token, for tests and measurements.

It is run by a process of its own, which is told what to do in lines of JSON; the end of its input ends it. Nodes other
than the head see one folder of this machine empty, as they would from a machine of their own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psutil

STORE_BYTES = 80_000_000
NOTICE = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 8}
"""A dead node is known as such after some eight seconds; by default it takes fifteen."""
THERE = "the node is there"


class RayCluster:
    """Nodes that each say they have so many cores; the first is the head. They want a token of whoever comes.

    Args:
        port: For clients that are no node of it.
        nodes: How many.
        cpus: Cores of each.
        head_cpus: Cores of the head; without any, all work is on nodes that can be killed.
        env: Variables of all nodes.
    """

    def __init__(
        self, port: int, nodes: int = 3, cpus: int = 2, head_cpus: int = 0, env: Mapping[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # paths of sockets are short
        token = Path(self._folder.name) / "token"
        token.write_text("7f" * 32)
        self.client = f"ray://127.0.0.1:{port}"
        self.env = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.unseen = Path(self._folder.name) / "unseen"
        """What is in this folder is there for the head and for this process only."""
        self.unseen.mkdir()
        numbers = map(str, (port, nodes, cpus, head_cpus))
        command = [sys.executable, "-W", "ignore", __file__, self._folder.name, *numbers]
        with Path(self._folder.name, "cluster.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {}), **self.env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.address: str = self._hear()["address"]
        self.env["RAY_ADDRESS"] = self.address

    def kill_a_node(self, pid: int = 0) -> list[int]:
        """SIGKILL everything of a node at once, the head excepted; the processes that were killed.

        Args:
            pid: One of the node's; 0 for the newest node.
        """
        return cast("list[int]", self._ask(kill=pid)["killed"])

    def actors(self, kind: str) -> list[int]:
        """Processes of actors whose title, as Ray gives it, has this in it."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [process.pid] if kind in (process.cmdline() or [""])[0] else []
        return found

    def fill_up(self) -> None:
        """Start nodes in the place of those that were killed."""
        self._ask(fill=True)

    def close(self) -> None:
        """End every process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()

    def _ask(self, **order: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, Path(self._folder.name, "cluster.log").read_text()
        return json.loads(line)


@contextmanager
def served_by_ray(
    made: Mapping[str, object], folder: Path, address: str, env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """`serve run` over a config; the address that answers.

    Args:
        made: The config.
        folder: For its file and the log.
        address: Of the cluster.
        env: Variables that whoever connects to it needs.
    """
    (folder / "serve.yaml").write_text(json.dumps(made))  # which is YAML
    script = "import sys; from ray.serve.scripts import cli; sys.exit(cli())"
    command = [sys.executable, "-W", "ignore", "-c", script, "run", str(folder / "serve.yaml"), "--address", address]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(env or {})})
    url = "http://127.0.0.1:{port}".format(**cast("dict[str, object]", made["http_options"]))
    try:
        while not _is_ready(url):
            assert process.poll() is None, (folder / "serve.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def hold(port: str, nodes: str, cpus: str) -> None:
    """Keep a cluster until there is no more input, and say by which variables it is reached."""
    made = RayCluster(int(port), int(nodes), int(cpus), int(cpus))
    try:
        print(json.dumps(made.env), flush=True)
        sys.stdin.read()
    finally:
        made.close()


def main(folder: str, port: int, nodes: int, cpus: int, head_cpus: int) -> None:
    """Start the nodes, and do what is said until no more is."""
    from ray.cluster_utils import Cluster

    head: dict[str, object] = {"num_cpus": head_cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    head |= {"temp_dir": folder, "ray_client_server_port": port, "_system_config": NOTICE}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    others: list[subprocess.Popen[str]] = []

    def fill() -> None:
        while len(others) < nodes - 1:
            others.append(_start(cluster.address, cpus, f"{folder}/unseen"))
            _await(others[-1])  # two that start at once take the same names for their sockets

    try:
        fill()
        print(json.dumps({"address": cluster.address}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            killed: list[int] = []
            if "kill" in order:
                at = next(node for node in reversed(others) if order["kill"] in (0, *_family(node)))
                others.remove(at)
                killed = _kill(at)
            else:
                fill()
            print(json.dumps({"killed": killed}), flush=True)
    finally:
        for node in others:
            _kill(node)
        cluster.shutdown()


def _start(address: str, cpus: int, unseen: str) -> subprocess.Popen[str]:
    """A node with mounts of its own, in which a folder is empty."""
    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", hide, unseen]
    command += [sys.executable, "-W", "ignore", __file__, address, str(cpus)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def join(address: str, cpus: int) -> None:
    """Be a node of a cluster until there is no more input."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    ports = {"node_manager_port": 0, "dashboard_agent_listen_port": None, "min_worker_port": 0, "max_worker_port": 0}
    given = {"gcs_address": address, "redis_address": address, "include_log_monitor": False, **ports}
    node: Any = Node(RayParams(num_cpus=cpus, object_store_memory=STORE_BYTES, **given), head=False)
    print(THERE, flush=True)
    sys.stdin.read()
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def _await(node: subprocess.Popen[str]) -> None:
    assert node.stdout is not None
    assert node.stdout.readline().strip() == THERE, "a node did not start, or may have no mounts of its own"


def _family(node: subprocess.Popen[str]) -> list[int]:
    return [node.pid, *(child.pid for child in psutil.Process(node.pid).children(recursive=True))]


def _kill(node: subprocess.Popen[str]) -> list[int]:
    family = _family(node)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.communicate()
    return family


if __name__ == "__main__":
    if len(sys.argv) == 3:
        join(sys.argv[1], int(sys.argv[2]))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
