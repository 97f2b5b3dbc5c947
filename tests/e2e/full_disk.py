"""What a house on a full disk says and keeps. Run in a folder on a small disk of its own; prints JSON.

Each act is tried on the full disk, and again after space was freed: [name, what it said, what was there before and
after the failure, what was there at the end].
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression

from mainspring.core.errors import MainspringError
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.storage.ports import Blobs, Delta
from mainspring.tracking import Files, Metric, Tracking

POINTS = 1000


class Disk:
    """The disk, with a file that takes up all that is free."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self, leave: int) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\1" * size)
                except OSError as reason:
                    assert reason.errno == errno.ENOSPC
        os.truncate(self._filler, self._filler.stat().st_size - leave)

    def free(self) -> None:
        self._filler.unlink()


def parts(folder: Path) -> list[str]:
    """Unfinished files of every kind."""
    where = folder / ".mainspring"
    return sorted(path.name for name in ("blobs/part", "uploads") for path in (where / name).glob("*"))


class Acts:
    """What is tried, and what is there."""

    def __init__(self, house: Wiring, folder: Path) -> None:
        self.house, self.folder = house, folder
        self.run = house.get(Tracking).create_run("first").id
        self.batches = 0
        self.frame = pl.DataFrame({"x": np.random.default_rng(0).random(400_000)})

    def ingest(self) -> None:
        self.house.get(Data).ingest("lines", self.frame)

    def log_batch(self) -> None:
        """Batches until the disk is full, or many."""
        for _ in range(100):
            points = [Metric("loss", n + 0.5, self.batches * POINTS + n, 1) for n in range(POINTS)]
            self.house.get(Tracking).log_batch(self.run, metrics=points)
            self.batches += 1

    def artifact(self) -> None:
        files = self.house.get(Files)
        files.put(f"{files.run_folder(self.run)}big.bin", os.urandom(3 << 20))

    def register(self) -> None:
        example = pl.DataFrame(np.random.default_rng(1).random((3, 400)), schema=[f"c{n}" for n in range(400)])
        model = LinearRegression().fit(example.to_numpy(), [1.0, 2.0, 3.0])
        self.house.get(Registry).register("line", model, example=example)

    def there(self) -> dict[str, object]:
        """What can be read back."""
        tracking, data, registry = self.house.get(Tracking), self.house.get(Data), self.house.get(Registry)
        points = len(tracking.history(self.run, "loss"))
        assert points == self.batches * POINTS, f"{points} points of {self.batches} batches"
        files = self.house.get(Files)
        named = files.below(files.run_folder(self.run))
        blobs = self.house.get(Blobs)  # type: ignore[type-abstract]
        for entry in named:
            assert len(files.read(files.run_folder(self.run) + entry.path)) == entry.size_bytes
        for digest in blobs.digests():
            blobs.get(digest)
        delta = self.house.get(Delta)  # type: ignore[type-abstract]
        return {
            "datasets": [data.frame(found.name).collect().height for found in data.datasets()],
            "versions": sum((delta.version(name) or 0) + 1 for name in delta.names()),
            "parquet": len(list(self.folder.rglob("tables/**/part-*.parquet"))),
            "files": [entry.path for entry in named],
            "models": [registry.verify(model.name, "latest").number for model in registry.models()],
        }


def main(folder: Path) -> None:
    disk = Disk(folder)
    house = open_house(load(folder, environ={}))
    acts = Acts(house, folder)
    done = []
    full = [(acts.ingest, 0), (acts.ingest, 600_000), (acts.artifact, 0), (acts.artifact, 600_000)]
    for act, leave in [*full, (acts.register, 0), (acts.log_batch, 0), (acts.log_batch, 600_000)]:
        before = acts.there()
        disk.fill(leave)
        said = attempt(act)
        after = acts.there()
        left = parts(folder)
        disk.free()
        again = attempt(act)
        done.append([act.__name__, said, before, after, left, again, acts.there()])
    house.close()
    print(json.dumps(done))


def attempt(act: Callable[[], None]) -> str:
    try:
        act()
    except MainspringError as reason:
        return str(reason)
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
