"""Ports for the servers of the tests: no two tests share one, not even while its server is down between two lives."""

from __future__ import annotations

import os

from mainspring.demo.server import free_ports

_FIRST, _EACH, _WORKERS = 20_000, 2_900, 4
"""Below the ports that the kernel hands out by itself; each worker of a test run has a range of its own."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_next = os.getpid() * 10 % 1_000  # so that a second test run beside this one seldom begins at the same port


def own_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no test of this run has had for a long time."""
    global _next
    found = free_ports(count, near=_FIRST + _EACH * (_worker % _WORKERS) + _next)
    _next = (_next + 2 * count) % (_EACH - 100)
    return found
