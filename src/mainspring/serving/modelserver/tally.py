"""The counts of all workers in one place: each leaves its own in a file now and then, and anybody may sum them.

`tally-PID.json` is a living worker's, `tally-past.json` holds what those that died had counted, so that no sum falls
when a worker is replaced.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mainspring.serving.modelserver.metrics import Counts, summed, text

_PAST = "tally-past.json"
EVERY_S = 0.5
"""How old a worker's file may be."""


def path_of(folder: Path, pid: int) -> Path:
    """The file of a living worker."""
    return folder / f"tally-{pid}.json"


def leave(folder: Path, counts: Counts) -> None:
    """Leave this worker's counts for the others."""
    _write(path_of(folder, os.getpid()), counts)


def others(folder: Path) -> list[Counts]:
    """The counts of all workers but this one, the dead ones' included."""
    return _read(folder, without=os.getpid())


def bury(folder: Path, pid: int) -> None:
    """Add the counts of a worker that died to those of the dead."""
    mine = path_of(folder, pid)
    parts = [part.past() for path in (folder / _PAST, mine) if (part := counts_in(path)) is not None]
    _write(folder / _PAST, summed(parts))
    mine.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """A new life of the model server begins: counters start at nothing. When endpoints were asked last stays."""
    before = Counts(asked_at=counts_of(folder).asked_at)
    for path in folder.glob("tally-*.json"):
        path.unlink(missing_ok=True)
    if before.asked_at:
        _write(folder / _PAST, before)


def text_of(folder: Path) -> str:
    """What all workers over a plan folder counted, up to `EVERY_S` ago, as Prometheus reads it."""
    return text(counts_of(folder))


def counts_of(folder: Path) -> Counts:
    """What all workers over a plan folder counted, up to `EVERY_S` ago."""
    return summed(_read(folder))


def _read(folder: Path, without: int = 0) -> list[Counts]:
    paths = [path for path in sorted(folder.glob("tally-*.json")) if path.name != f"tally-{without}.json"]
    return [part for path in paths if (part := counts_in(path)) is not None]


def counts_in(path: Path) -> Counts | None:
    """The counts in a file; None when it is gone."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, counts: Counts) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(msgspec.json.encode(counts))  # not synced: after a power cut nobody asks how many there were
    part.replace(path)
