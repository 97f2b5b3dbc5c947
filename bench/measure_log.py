"""The prediction log when everything that writes it is killed with -9, at random moments and at every step of a move.

How many kills and for how long: MAINSPRING_KILLS, and MAINSPRING_SOAK_S for the soak, which is left out at 0.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from figure import Figure
from place import folder

from mainspring.core.errors import Overloaded
from mainspring.serving.log import Compactor, table_of
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests import spools
from tests.e2e.plansite import Load, Site, make_packages

KILLS = int(os.environ.get("MAINSPRING_KILLS", "200"))
SOAK_S = float(os.environ.get("MAINSPRING_SOAK_S", "0"))
_LOG = "_delta_log"
_CALLS = ("linkat", "rename", "unlink", "fsync", "fdatasync", "pwrite64", "ftruncate", "mkdir")
"""What changes files, in a move: SQLite and the Delta library use no others."""
_MOVE = """
import sys, time
from pathlib import Path
import deltalake, polars
from mainspring.serving.log import Compactor
from mainspring.storage.open import open_delta
compactor, pause_s = Compactor(Path(sys.argv[1]), open_delta("", Path(sys.argv[2]))), float(sys.argv[3])
compactor.run()
while pause_s:
    time.sleep(pause_s)
    compactor.run()
"""


def measure() -> Iterator[Figure]:
    yield from _kills()
    yield from _steps()
    if SOAK_S:
        yield from _soak()


@dataclass
class _Mover:
    """A process that moves rows to the table, started again when it was killed."""

    site: Site
    root: Path
    pause_s: float = 0.05

    def start(self) -> None:
        arguments = [str(self.site.folder / SPOOLS), str(self.root), str(self.pause_s)]
        self.process = subprocess.Popen([sys.executable, "-c", _MOVE, *arguments])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def _running(root: Path, *, pause_s: float, clients: int) -> Iterator[tuple[Site, Supervisor, _Mover, Load]]:
    """A model server under load and a process that moves its log. All of them end before the folder goes: rows that
    are moved while it is taken away leave a table with holes, which says nothing about the product."""
    site = Site(root / "serving", open_delta("", root), *make_packages(root / "packages"))
    site.plan(1, 1)
    server, mover = Supervisor(site.folder, ServerOptions(drain_s=0.3)), _Mover(site, root, pause_s)
    server.start(timeout_s=300)
    load = Load(server.url, clients=clients)
    mover.start()
    try:
        yield site, server, mover, load
    finally:
        load.end()
        server.stop()
        mover.kill()


def _soak() -> Iterator[Figure]:
    """Asked without pause for a long time, the rows moved every second: what do the two processes hold?"""
    with folder() as root, _running(root, pause_s=1.0, clients=1) as (site, server, mover, load):
        began, held = time.monotonic(), list[tuple[float, float, float]]()
        while (now := time.monotonic() - began) < SOAK_S:
            assert server.pid is not None
            held.append((now, _held_mb(server.pid), _held_mb(mover.process.pid)))
            time.sleep(min(10.0, SOAK_S / 100))
        load.end()
        server.stop()
        mover.kill()
        site.compactor.run()
        rows, lost = len(load.answered), len({name for name, _ in load.answered} ^ set(site.logged()))
    yield Figure(f"soak of {SOAK_S / 60:.0f} min: rows answered", rows, "rows")
    yield Figure("soak: answers without a row or rows without an answer", lost, "rows", 0)
    for place, who in enumerate(("model server", "mover"), start=1):
        parts = [[entry[place] for entry in held if _quarter(entry[0]) == quarter] for quarter in range(4)]
        means = [sum(part) / len(part) for part in parts]
        yield Figure(f"soak: memory of the {who}, mean of each quarter: {_listed(means)}", means[3], "MB")
        yield Figure(f"soak: {who}, last quarter / second", means[3] / means[1], "times", 1.1)


def _quarter(at_s: float) -> int:
    return min(3, int(4 * at_s / SOAK_S))


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _held_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6


def _kills() -> Iterator[Figure]:
    """At random moments: the model server, who moves its rows, or both."""
    chance, killed = random.Random(7), Counter[str]()
    with folder() as root, _running(root, pause_s=0.05, clients=6) as (site, server, mover, load):
        for _ in range(KILLS):
            load.wait_for(10)
            time.sleep(chance.random() * 0.2)
            whom = chance.choice(("model server", "mover", "both"))
            killed[whom] += 1
            if whom != "mover":
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
            if whom != "model server":
                mover.kill()
                mover.start()
            if whom != "mover":
                server.wait_ended()
                server.ensure()
                server.wait_applied(1, timeout_s=300, strict=True)
        load.end()
        server.stop()
        mover.kill()
        site.compactor.run()
        counts, missing = Counter(site.logged()), _missing(root)
        left = list((site.folder / SPOOLS).glob("*"))
    lost = {name for name, _ in load.answered} - set(counts)
    odd = [error for error in load.refused if isinstance(error, Overloaded)]
    who = ", ".join(f"{count} of {whom}" for whom, count in sorted(killed.items()))
    yield Figure(f"{KILLS} kills ({who}): rows answered", len(load.answered), "rows")
    yield Figure(f"{KILLS} kills: answered rows that are not in the table", len(lost), "rows", 0)
    yield Figure(f"{KILLS} kills: rows that are in the table twice", sum(n > 1 for n in counts.values()), "rows", 0)
    yield Figure(f"{KILLS} kills: commits that the table lacks", missing, "commits", 0)
    yield Figure(
        f"{KILLS} kills: files of the log left behind", sum(p.name != "compact.lock" for p in left), "files", 0
    )
    yield Figure(f"{KILLS} kills: requests refused for load", len(odd), "requests")


def _missing(root: Path) -> int:
    """How many commits lack between the first and the last of the table."""
    entries = sorted(int(path.stem) for path in (root / "tables" / table_of("m") / _LOG).glob("*.json"))
    return entries[-1] - entries[0] + 1 - len(entries)


def _steps() -> Iterator[Figure]:
    """Killed at the first, second, ... of each call that changes a file, in moves to a new table and to one present."""
    if shutil.which("strace") is None:
        return
    with folder() as root:
        plain = _laid_out(root / "plain")
        bad, points = Counter[str](), 0
        for call in _CALLS:
            for number in range(1, 200):
                place = root / "killed"
                shutil.copytree(plain, place)
                if _move(place, f"inject={call}:signal=SIGKILL:when={number}") == 0:
                    shutil.rmtree(place)
                    break  # there is no such call any more
                points += 1
                _move(place)
                bad += _wrong(place)
                shutil.rmtree(place)
    yield Figure("moves killed, at each call that changes a file", points, "kills")
    for what in ("lost", "doubled", "commits that lack", "files left behind"):
        yield Figure(f"moves killed at each call: {what}", bad[what], "", 0)


def _laid_out(root: Path) -> Path:
    """A table with rows of one spool, and three spools to be moved, of two endpoints."""
    for spool, endpoint, rows in (("a", "m", range(20)), ("b", "m", range(20, 60)), ("c", "n", range(60, 90))):
        made = [_row(number) for number in rows]
        spools.write(root / SPOOLS / f"{spool}.sqlite", made, columns=[("x", "float")], deployment=endpoint)
        if spool == "a":
            Compactor(root / SPOOLS, open_delta("", root)).run()
    return root


def _row(number: int) -> dict[str, object]:
    where = {"id": f"i{number}", "request_id": f"r{number}", "at": number, "event_at": number, "key": f"k{number}"}
    return {**where, "inputs": [0.5], "outputs": {"prediction": 1.0}}


def _move(root: Path, inject: str = "") -> int:
    command = [sys.executable, "-c", _MOVE, str(root / SPOOLS), str(root), "0"]
    if inject:
        command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={','.join(_CALLS)}", "-e", inject, *command]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode


def _wrong(root: Path) -> Counter[str]:
    delta, found, missing = open_delta("", root), Counter[str](), 0
    for endpoint in ("m", "n"):
        found += Counter(delta.scan(table_of(endpoint)).select("id").collect()["id"].to_list())
        entries = sorted(int(path.stem) for path in (root / "tables" / table_of(endpoint) / _LOG).glob("*.json"))
        missing += entries[-1] - entries[0] + 1 - len(entries)
    wanted = {f"i{number}" for number in range(90)}
    left = [path for path in (root / SPOOLS).glob("*") if path.name != "compact.lock"]
    return Counter(
        {
            "lost": len(wanted - set(found)),
            "doubled": sum(count > 1 for count in found.values()),
            "commits that lack": missing,
            "files left behind": len(left),
        }
    )
