"""Where measurements work: a folder of their own, and real servers in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from mainspring.demo.server import ServerProcess, free_ports


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder, gone afterwards; environment variables that were set meanwhile are gone too."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-", ignore_cleanup_errors=True) as made:
        try:
            yield Path(made)
        finally:
            os.environ.clear()
            os.environ.update(before)


def server(root: Path, env: Mapping[str, str] | None = None) -> ServerProcess:
    """A `mainspring up` on free ports, not started yet."""
    port, serving_port = free_ports(2, near=17600)
    return ServerProcess(root, port=port, serving_port=serving_port, env=env)


@contextmanager
def running(root: Path) -> Iterator[ServerProcess]:
    """A `mainspring up` that is ready, stopped afterwards."""
    made = server(root)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used, user and system, all its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user) + float(times.system)


def exact_cpu_of(pid: int) -> float:
    """The same of its living threads, as the scheduler counts: to the nanosecond, not in ticks of 10 ms."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def quantile(found: list[float], share: float) -> float:
    """The value that this share of the found ones does not exceed."""
    return sorted(found)[min(len(found) - 1, int(share * len(found)))]
