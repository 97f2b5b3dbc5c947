"""Versions swapped behind an endpoint that 64 clients ask without pause.

Who answered is in every answer, so it can be held against which versions were live at that moment. How many swaps:
MAINSPRING_SWAPS.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure
from load import Answers, drive
from place import folder

from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.plansite import Load, Site, make_packages

SWAPS, CLIENTS = int(os.environ.get("MAINSPRING_SWAPS", "50")), 64
BODY = b'{"inputs":[{"name":"rows","shape":[1,3],"datatype":"FP64","data":[0.5,0.5,0.5]}]}'


def measure() -> Iterator[Figure]:
    with folder() as root:
        site = _site(root)
        server = Supervisor(site.folder, ServerOptions(drain_s=0.3))
        try:
            server.start()
            yield from _swapped(site, server)
        finally:
            server.stop()


def _swapped(site: Site, server: Supervisor) -> Iterator[Figure]:
    done, found = threading.Event(), Answers()

    def ask(_client: int, _count: int) -> tuple[str, bytes]:
        return "/v2/models/m/infer", BODY

    def load() -> None:
        while not done.is_set():
            part = drive(server.url, ask, clients=CLIENTS, seconds=2.0, strict=False)
            found.seconds += part.seconds
            found.failed += part.failed

    clients, watch = threading.Thread(target=load), Load(server.url, clients=4)
    clients.start()
    waits, wrong = [], 0
    try:
        for number in range(SWAPS):
            version, before = 1 + (number + 1) % 2, len(watch.answered)
            started = time.perf_counter()
            site.plan(number + 2, version)
            server.apply(number + 2)
            waits.append(time.perf_counter() - started)
            after = len(watch.answered)
            watch.wait_for(40)  # those under way when the swap ended may still name the version before
            wrong += sum(name != str(version) for _, name in watch.answered[after + 16 :])
            wrong += 0 if len(watch.answered) > before else 1
    finally:  # whatever went wrong, nothing asks on, and the server is stopped
        done.set()
        clients.join()
        watch.end()
    answers = len(found.seconds) + len(watch.answered)
    yield Figure(f"{SWAPS} swaps, {CLIENTS} clients: answers", answers, "answers")
    yield Figure(f"{SWAPS} swaps: failed requests", len(found.failed) + len(watch.refused), "requests", 0)
    yield Figure(f"{SWAPS} swaps: answers of a version that was not live", wrong, "answers", 0)
    yield Figure("a swap until it is applied, median", sorted(waits)[len(waits) // 2], "s")


def _site(root: Path) -> Site:
    site = Site(root / "serving", open_delta("", root), *make_packages(root / "packages"))
    site.plan(1, 1)
    return site
