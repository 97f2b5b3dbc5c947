"""Versions swapped behind an endpoint that 64 clients ask without pause, and a model server killed again and again.

Who answered is in every answer, so it can be held against which versions were live at that moment; ids of answered
requests are held against the rows of the table of predictions. How many swaps and kills: MAINSPRING_SWAPS and
MAINSPRING_KILLS.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from figure import Figure
from load import Answers, drive
from place import folder

from mainspring.core.errors import Overloaded
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.plansite import Load, Site, make_packages

SWAPS, CLIENTS = int(os.environ.get("MAINSPRING_SWAPS", "50")), 64
KILLS = int(os.environ.get("MAINSPRING_KILLS", "200"))
BODY = b'{"inputs":[{"name":"rows","shape":[1,3],"datatype":"FP64","data":[0.5,0.5,0.5]}]}'


def measure() -> Iterator[Figure]:
    yield from _swaps()
    yield from _kills()


def _swaps() -> Iterator[Figure]:
    with folder() as root:
        site = _site(root)
        server = Supervisor(site.folder, ServerOptions(drain_s=0.3))
        server.start()
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
        done.set()
        clients.join()
        watch.end()
        server.stop()
    answers = len(found.seconds) + len(watch.answered)
    yield Figure(f"{SWAPS} swaps, {CLIENTS} clients: answers", answers, "answers")
    yield Figure(f"{SWAPS} swaps: failed requests", len(found.failed) + len(watch.refused), "requests", 0)
    yield Figure(f"{SWAPS} swaps: answers of a version that was not live", wrong, "answers", 0)
    yield Figure("a swap until it is applied, median", sorted(waits)[len(waits) // 2], "s")


def _kills() -> Iterator[Figure]:
    """Killed at random moments, also while rows are moved to the table and after."""
    chance = random.Random(7)
    with folder() as root:
        site = _site(root)
        server = Supervisor(site.folder, ServerOptions(drain_s=0.3))
        server.start()
        load, moving = Load(server.url), threading.Event()

        def move() -> None:
            while not moving.wait(0.05):
                site.compactor.run()

        mover = threading.Thread(target=move)
        mover.start()
        for _ in range(KILLS):
            load.wait_for(10)
            time.sleep(chance.random() * 0.2)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            server.wait_ended()
            server.ensure()
            server.wait_applied(1, timeout_s=60, strict=True)
        load.end()
        moving.set()
        mover.join()
        server.stop()
        site.compactor.run()
        counts = Counter(site.logged())
    lost = {name for name, _ in load.answered} - set(counts)
    odd = [error for error in load.refused if isinstance(error, Overloaded)]
    yield Figure(f"{KILLS} kills: rows answered", len(load.answered), "rows")
    yield Figure(f"{KILLS} kills: answered rows that are not in the table", len(lost), "rows", 0)
    yield Figure(f"{KILLS} kills: rows that are in the table twice", sum(n > 1 for n in counts.values()), "rows", 0)
    yield Figure(f"{KILLS} kills: requests refused for load", len(odd), "requests")


def _site(root: Path) -> Site:
    site = Site(root / "serving", open_delta("", root), *make_packages(root / "packages"))
    site.plan(1, 1)
    return site
