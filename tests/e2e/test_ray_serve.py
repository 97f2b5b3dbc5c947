"""A deployment on Ray Serve with a replica on each of two nodes, one of which is killed under load."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.clusters import RayCluster, served_by_ray
from tests.e2e.plansite import NAMES, Site, make_packages
from tests.ports import own_ports

from mainspring.core.errors import MainspringError, Unavailable
from mainspring.serving.client import Client
from mainspring.serving.ray_commands import config
from mainspring.storage.open import open_delta

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
CLIENTS = 4
PATIENCE_S = 120
KINDS = [{name: [0.5 * kind - 1.0] * (1 + kind % 3) for name in NAMES} for kind in range(6)]


class Askers:
    """Clients that ask without pause, each request once, and hold every answer against the first of its kind."""

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self.wrong: list[object] = []
        self.failed: list[MainspringError] = []
        self.longest_s = 0.0
        with Client(url, timeout_s=30) as first:
            self._right = [first.predict("m", rows).outputs for rows in KINDS]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url, number)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, number: int) -> None:
        count = 0
        with Client(url, timeout_s=30) as client:
            while not self._stop.is_set():
                count += 1
                kind, began = count % len(KINDS), time.monotonic()
                try:
                    answer = client.predict("m", KINDS[kind], request_id=f"{number}-{count}")
                except MainspringError as error:
                    self.failed.append(error)
                    continue
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.ids += answer.ids
                if answer.outputs != self._right[kind]:
                    self.wrong.append((kind, answer.outputs))

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, (what, len(self.ids), self.failed[-5:])
            time.sleep(0.05)

    def more(self, count: int) -> None:
        """Wait for so many rows more."""
        goal = len(self.ids) + count
        self.until(f"{count} rows more", lambda: len(self.ids) >= goal)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_node_with_a_replica_is_killed_and_requests_go_on(cluster: RayCluster, tmp_path: Path) -> None:
    site = Site(cluster.unseen / "serving", open_delta("", tmp_path), *make_packages(cluster.unseen / "packages"))
    site.plan(1, 1)
    (port,) = own_ports(1)
    made = config(site.folder, host="127.0.0.1", port=port, replicas=2, max_replicas=0, cpus=2)  # all of a node
    with served_by_ray(made, tmp_path, cluster.address, cluster.env) as url:
        askers = Askers(url)
        try:
            askers.until("a replica on each node", lambda: len(replicas(cluster)) == 2)
            askers.more(100)
            assert askers.failed == []
            before = replicas(cluster)
            assert len({*before} & {*cluster.kill_a_node()}) == 1
            askers.more(300)  # by the other one alone: there is no room for a second
            assert len(replicas(cluster)) == 1
            cluster.fill_up()
            askers.until("a replica on each node again", lambda: len(replicas(cluster)) == 2)
            askers.more(200)
        finally:
            askers.end()
    site.compactor.run()
    check(askers, Counter(site.logged()))


def replicas(cluster: RayCluster) -> list[int]:
    return cluster.actors("ServeReplica:mainspring:Replica")


def check(askers: Askers, logged: Counter[str]) -> None:
    assert askers.wrong == []
    assert not {*askers.ids} - {*logged}, "what was answered is in the log"
    assert [name for name, count in logged.items() if count > 1] == []
    print("failed", askers.failed, "longest", askers.longest_s)
    assert len(askers.failed) <= 2 * CLIENTS, "but for what was under way on the node"
    for error in askers.failed:  # a connection that was cut, or what Ray's proxy says of a replica that is gone
        assert isinstance(error, Unavailable) or str(error).startswith("status 500: Internal Server Error")
