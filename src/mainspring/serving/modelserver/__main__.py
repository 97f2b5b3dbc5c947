"""`python -m mainspring.serving.modelserver --plan DIR [--port N] [--host H] [--workers N]`."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Bind the port, then serve it here (one worker) or from equal child processes."""
    parser = argparse.ArgumentParser(prog="python -m mainspring.serving.modelserver", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="folder with plan.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; see applied-*.json")
    parser.add_argument("--grpc-port", type=int, default=0, help="0 is none; needs the extra grpc")
    parser.add_argument("--workers", type=int, default=1, help="fewest processes")
    parser.add_argument("--max-workers", type=int, default=0, help="most of them under load; 0: as many as --workers")
    parser.add_argument("--calm-s", type=float, default=60.0, help="how long it is calm before one of them goes")
    parser.add_argument("--drain-s", type=float, default=1.0, help="how long to answer on after SIGTERM")
    parser.add_argument("--pin", action="store_true", help="give each worker cores of its own")
    parser.add_argument("--cores", default="", help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, default=-1, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    most = max(given.workers, given.max_workers)
    _limit_threads(most)
    parent = os.getppid()
    sock = socket.socket(fileno=given.fd) if given.fd >= 0 else _bind(given.host, given.port)
    if given.fd < 0:
        from mainspring.serving.modelserver.tally import clear

        clear(given.plan.absolute())
        if given.grpc_port:  # workers share it, so none of them would notice that a stranger has it
            _bind(given.host, given.grpc_port).close()
    if most > 1:
        return _crew(given, sock, most)
    if given.cores:
        os.sched_setaffinity(0, [int(core) for core in given.cores.split(",")])
    from mainspring.serving.modelserver.worker import WorkerOptions, serve

    options = WorkerOptions(
        given.plan.absolute(),
        parent,
        given.drain_s,
        one_of_many=given.fd >= 0,
        host=given.host,
        grpc_port=given.grpc_port,
    )
    serve(options, sock)
    return 0


def _limit_threads(workers: int) -> None:
    """OpenMP reads these once, when it is first loaded: set them before anything numeric is imported."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, threads)


BACKLOG = 2048
"""Clients that may wait to be let in."""
BIND_S = 10.0
"""How long to wait for a port that a server before this one, killed or draining, still holds."""


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + BIND_S
    while True:
        try:
            sock.bind((host, port))
            break
        except OSError as reason:
            if reason.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    sock.listen(BACKLOG)
    return sock


def _crew(given: argparse.Namespace, sock: socket.socket, most: int) -> int:
    from mainspring.serving.modelserver.crew import Crew, cores_of
    from mainspring.serving.rules.scaling import Scaling

    folder = given.plan.absolute()
    command = [sys.executable, "-m", "mainspring.serving.modelserver", "--plan", str(folder)]
    command += ["--drain-s", str(given.drain_s), "--fd", str(sock.fileno())]
    command += ["--host", given.host, "--grpc-port", str(given.grpc_port)]
    scaling = Scaling(given.workers, most, calm_s=given.calm_s)
    return Crew(command, sock.fileno(), folder, cores_of(most, pin=given.pin), scaling).run()


if __name__ == "__main__":
    sys.exit(main())
