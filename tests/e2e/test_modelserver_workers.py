"""Several workers on one port: one is killed, the others answer, another takes its place, and no count falls."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.plansite import Load, Site, make_packages

from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.plan import read_applied
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

pytestmark = pytest.mark.usefixtures("warm_programs")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "serving", open_delta("", tmp_path), *make_packages(tmp_path / "packages"))


@pytest.fixture
def server(site: Site) -> Iterator[Supervisor]:
    site.plan(1, 1)
    supervisor = Supervisor(site.folder, ServerOptions(workers=2, drain_s=0.3, pin=True))
    supervisor.start()
    yield supervisor
    supervisor.stop()


def answered(text: str) -> int:
    lines = [line for line in text.splitlines() if line.startswith("mainspring_requests_total{")]
    return sum(int(line.split()[-1]) for line in lines if 'status="200"' in line)


@pytest.mark.long
def test_a_killed_worker_is_replaced_while_the_others_answer(site: Site, server: Supervisor) -> None:
    pids = {worker.pid for worker in read_applied(site.folder)}
    assert len(pids) == 2
    if len(os.sched_getaffinity(0)) > 1:
        assert set.intersection(*(os.sched_getaffinity(pid) for pid in pids)) == set(), "each has cores of its own"
    load = Load(server.url)
    try:
        load.wait_for(100)
        dead = min(pids)
        os.kill(dead, signal.SIGKILL)
        load.wait_for(300)
        deadline = time.monotonic() + 60
        while len(now := {worker.pid for worker in read_applied(site.folder)} - {dead}) < 2:
            assert time.monotonic() < deadline
            load.wait_for(5)
        load.wait_for(100)
    finally:
        load.end()
    assert server.restarts == 0
    assert len(now & pids) == 1
    time.sleep(2 * tally.EVERY_S)
    with urllib.request.urlopen(f"{server.url}/metrics") as reply:
        told = reply.read().decode()
    assert "mainspring_workers 2" in told
    assert answered(told) == answered(tally.text_of(site.folder))
    server.stop()
    site.compactor.run()
    counts = Counter(site.logged())
    assert {name for name, _ in load.answered} <= set(counts)
    assert max(counts.values()) == 1
