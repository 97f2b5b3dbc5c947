"""Ports for the servers of the tests: no two tests share one, not even while its server is down between two lives."""

from __future__ import annotations

import os

from mainspring.demo.server import free_ports

_FIRST, _EACH, _WORKERS = 25_200, 1_200, 4
"""Between the ports of the S3 servers and those above them that these take too; each worker of a run has its own."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_next = os.getpid() * 10 % 500  # so that a second test run beside this one seldom begins at the same port


def own_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no test of this run has had for a long time."""
    global _next
    found = free_ports(count, near=_FIRST + _EACH * (_worker % _WORKERS) + _next)
    _next = (_next + 2 * count) % (_EACH - 100)
    return found
