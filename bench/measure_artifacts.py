"""A file of 1 GB to a real server and back, beside a plain copy of it; the memory of the server meanwhile; a file that
the server has already; an upload that is broken off half way."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
from figure import Figure
from place import cpu_of, folder, running

from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess
from mainspring.sdk.transfers import Transfers

SIZE = 1_000_000_000
RUNS = 3


def measure() -> Iterator[Figure]:
    with folder() as root, running(root) as server:
        for name in range(RUNS):
            _random_file(root / f"source-{name}", name)
        yield from _copies_and_transfers(server, root)


def _copies_and_transfers(server: ServerProcess, root: Path) -> Iterator[Figure]:
    assert server.pid is not None
    made = Api(server.address).post("/api/v1/runs", {"experiment": "bench"})
    assert isinstance(made, dict)
    place, transfers = f"/api/v1/runs/{made['id']}/artifacts", Transfers(server.address)
    watch, cpu = _Watch(server.pid), cpu_of(server.pid)
    copies, synced, up, down = [], [], [], []
    for name in range(RUNS):  # in turns, so that a slow moment of the machine hits all of them
        source, out = root / f"source-{name}", root / "out"
        copies.append(_seconds(partial(shutil.copyfile, source, root / "copy")))
        synced.append(_seconds(partial(_durable_copy, source, root / "copy")))
        up.append(_seconds(partial(transfers.upload, f"{place}/{name}.bin", source)))
        down.append(_seconds(partial(transfers.download, f"{place}/{name}.bin", out)))
        assert out.read_bytes() == source.read_bytes()
        for path in (root / "copy", out):
            path.unlink()
    used, grown = cpu_of(server.pid) - cpu, watch.stop()
    copy, durable = statistics.median(copies), statistics.median(synced)
    yield Figure("plain copy of 1 GB", SIZE / copy / 1e6, "MB/s")
    yield Figure("plain copy of 1 GB, on disk when it returns", SIZE / durable / 1e6, "MB/s")
    yield Figure("1 GB up, on disk when it is answered", SIZE / statistics.median(up) / 1e6, "MB/s")
    yield Figure("1 GB down, checked", SIZE / statistics.median(down) / 1e6, "MB/s")
    yield Figure("1 GB up / durable copy, speed", durable / statistics.median(up), "times", 0.6, True)
    yield Figure("1 GB up / copy that may still be lost, speed", copy / statistics.median(up), "times")
    yield Figure("1 GB down / plain copy, speed", copy / statistics.median(down), "times", 0.6, True)
    yield Figure("CPU of the server for 1 GB up and down", used / RUNS, "s")
    yield Figure("memory the server grew by meanwhile, at most", grown / 1e6, "MB", 64)
    again = _seconds(lambda: transfers.upload(f"{place}/again.bin", root / "source-0"))
    yield Figure("1 GB up that the project has already", again, "s")
    yield Figure("1 GB broken off half way: sent twice", _sent_twice(server, place, transfers, root) / 1e6, "MB", 16)


def _sent_twice(server: ServerProcess, place: str, transfers: Transfers, root: Path) -> float:
    """Bytes that cross a relay beyond the file's own when the relay hangs up after half of it."""
    _random_file(root / "source-0", RUNS)
    with _Relay(server.address, SIZE // 2) as relay:
        Transfers(relay.address).upload(f"{place}/broken.bin", root / "source-0")
        transfers.download(f"{place}/broken.bin", root / "out")
        assert (root / "out").read_bytes() == (root / "source-0").read_bytes()
        return float(relay.passed - SIZE)


class _Relay:
    """Passes connections on to a server, and breaks the one on which `hang_up_after` bytes were sent, once."""

    def __init__(self, address: str, hang_up_after: int) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._limit = hang_up_after
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.passed = 0
        self._header = b""

    def __enter__(self) -> _Relay:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            self._forth(client, server)

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        # the server checks Host: it must be named as it knows itself
        own = f"127.0.0.1:{self._listening.getsockname()[1]}".encode()
        named = f"{self._to[0]}:{self._to[1]}".encode()
        first = True
        while piece := client.recv(1 << 18):
            server.sendall(piece.replace(own, named, 1) if first else piece)
            first = False
            self.passed += len(piece)
            if self._limit and self.passed > self._limit:
                self._limit = 0
                break
        for end in (client, server):
            end.shutdown(socket.SHUT_RDWR)  # a mere close would wait for the thread that reads from it
            end.close()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := server.recv(1 << 18):
                client.sendall(piece)
        except OSError:
            return


class _Watch:
    """The most memory of its own that a process has had, looked at 50 times a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._most = self._own()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> float:
        self._ending.set()
        self._thread.join()
        return self._most - self._before

    def _run(self) -> None:
        while not self._ending.wait(0.02):
            self._most = max(self._most, self._own())

    def _own(self) -> float:
        found = self._process.memory_info()
        return float(found.rss - found.shared)


def _random_file(path: Path, seed: int) -> None:
    from blake3 import blake3

    with path.open("wb") as file:
        for at in range(0, SIZE, 10_000_000):
            file.write(blake3(b"%d" % seed).digest(length=10_000_000, seek=at))
        file.flush()
        os.fsync(file.fileno())


def _durable_copy(source: Path, to: Path) -> None:
    shutil.copyfile(source, to)
    with to.open("rb") as file:
        os.fsync(file.fileno())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
