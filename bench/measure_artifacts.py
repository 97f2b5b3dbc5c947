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
        _random_file(root / "kept", 99)
        yield from _copies_and_transfers(server, root)


def _copies_and_transfers(server: ServerProcess, root: Path) -> Iterator[Figure]:
    assert server.pid is not None
    made = Api(server.address).post("/api/v1/runs", {"experiment": "bench"})
    assert isinstance(made, dict)
    place, transfers = f"/api/v1/runs/{made['id']}/artifacts", Transfers(server.address, passes=False)
    passing = Transfers(server.address)
    watch, cpu = _Watch(server.pid), cpu_of(server.pid)
    source, kept, copy, out = (root / name for name in ("source", "kept", "copy", "out"))
    passing.upload(f"{place}/kept.bin", kept)
    ways: dict[str, list[float]] = {}
    for turn in range(RUNS):
        jobs: list[tuple[str, Callable[[], object]]] = [
            ("copy", partial(shutil.copyfile, source, copy)),
            ("up", partial(transfers.upload, f"{place}/{turn}.bin", source)),
            ("durable", partial(_durable_copy, source, copy)),
            ("passed up", partial(passing.upload, f"{place}/passed-{turn}.bin", source)),
            ("down", partial(transfers.download, f"{place}/kept.bin", out)),
            ("passed down", partial(passing.download, f"{place}/kept.bin", out)),
        ]
        for nth, (way, job) in enumerate(jobs[2 * turn :] + jobs[: 2 * turn]):
            # Each in another place of the turn, and each after a new file: a disk is slower when much was written.
            _random_file(source, 10 * turn + nth)
            copy.unlink(missing_ok=True)  # to free the copy before takes longer than to make a new one
            _free_memory(root / "ballast")
            ways.setdefault(way, []).append(_seconds(job))
            if way.endswith("down"):
                assert out.read_bytes() == kept.read_bytes()
                out.unlink()
    used, grown = cpu_of(server.pid) - cpu, watch.stop()
    found = {way: statistics.median(took) for way, took in ways.items()}
    yield from _beside_copies(found)
    yield Figure("CPU of the server for 1 GB up and down, both ways", used / RUNS, "s")
    yield Figure("memory the server grew by meanwhile, at most", grown / 1e6, "MB", 64)
    again = _seconds(lambda: transfers.upload(f"{place}/again.bin", root / "kept"))
    yield Figure("1 GB up that the project has already", again, "s")
    yield Figure("1 GB broken off half way: sent twice", _sent_twice(server, place, transfers, root) / 1e6, "MB", 16)


def _beside_copies(found: dict[str, float]) -> Iterator[Figure]:
    """Speeds by seconds; a file is passed to a server of the same machine and user, and sent to any other one."""
    copy, durable = found["copy"], found["durable"]
    yield Figure("plain copy of 1 GB", SIZE / copy / 1e6, "MB/s")
    yield Figure("plain copy of 1 GB, on disk when it returns", SIZE / durable / 1e6, "MB/s")
    for way, what in (("passed ", "passed"), ("", "through a socket")):
        up, down = found[f"{way}up"], found[f"{way}down"]
        yield Figure(f"1 GB up, {what}, on disk when it is answered", SIZE / up / 1e6, "MB/s")
        yield Figure(f"1 GB down, {what}, checked", SIZE / down / 1e6, "MB/s")
        yield Figure(f"1 GB up, {what} / durable copy, speed", durable / up, "times", 0.6, True)
        yield Figure(f"1 GB up, {what} / copy that may still be lost, speed", copy / up, "times")
        yield Figure(f"1 GB down, {what} / plain copy, speed", copy / down, "times", 0.6, True)


def _sent_twice(server: ServerProcess, place: str, transfers: Transfers, root: Path) -> float:
    """Bytes that cross a relay beyond the file's own when the relay hangs up after half of it."""
    _random_file(root / "kept", 100)
    with _Relay(server.address, SIZE // 2) as relay:
        Transfers(relay.address, passes=False).upload(f"{place}/broken.bin", root / "kept")
        transfers.download(f"{place}/broken.bin", root / "out")
        assert (root / "out").read_bytes() == (root / "kept").read_bytes()
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


def _free_memory(path: Path) -> None:
    """Leave free what was in use a moment ago, for each way as much: a machine within another pays a second time for
    memory that it never had before, and a copy over a copy never does."""
    _random_file(path, 98)
    path.unlink()


def _durable_copy(source: Path, to: Path) -> None:
    shutil.copyfile(source, to)
    with to.open("rb") as file:
        os.fsync(file.fileno())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
