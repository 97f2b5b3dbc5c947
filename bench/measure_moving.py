"""What moving the prediction log to its table costs: often and little, as turns of a loop find it, and at a stretch.

Rows are packed as a worker packs them: of 18 inputs, answered with one probability.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from figure import Figure
from place import folder

from mainspring.serving.log import Compactor, table_of
from mainspring.serving.modelserver.spool import INSERT, Row, begin, connect, entries_of
from mainspring.storage.open import open_delta

ENDPOINT = "late"
TEXTS, NUMBERS = 3, 15
KINDS = [*((f"t{i}", "text") for i in range(TEXTS)), *((f"n{i}", "float") for i in range(NUMBERS))]
SMALL, LARGE = (63, 950, 10), (20, 10_000, 200)
"""Moves, rows of each, and rows of an entry of the spool: those of requests that ended together."""
PER_SECOND = 10_000


def measure() -> Iterator[Figure]:
    _moved(2, 50, 10)
    moves = _moved(*SMALL)
    yield Figure(f"CPU of a move of {SMALL[1]:,} rows, median of {SMALL[0]}", statistics.median(moves) * 1e3, "ms")
    yield Figure("the same by row", sum(moves) / (SMALL[0] * SMALL[1]) * 1e6, "us")
    moves = _moved(*LARGE)
    each = sum(moves) / (LARGE[0] * LARGE[1])
    yield Figure(f"CPU of moving a row, {LARGE[0]} moves of {LARGE[1]:,}", each * 1e6, "us")
    yield Figure(f"cores for {PER_SECOND:,} predictions a second", each * PER_SECOND, "cores")


def _moved(moves: int, rows: int, entry: int) -> list[float]:
    """CPU seconds of each of so many moves, all threads of the process, to one table that grows."""
    with folder() as root:
        delta = open_delta("", root)
        compactor, found = Compactor(root / "spools", delta), list[float]()
        alive = begin(root / "spools" / "w.sqlite")  # its worker lives: the spool stays
        last = 0
        for move in range(moves):
            last = _log(root / "spools" / "w.sqlite", _rows(move * rows, rows), entry, last)
            before = time.process_time()
            assert compactor.run() == rows
            found.append(time.process_time() - before)
        assert delta.scan(table_of(ENDPOINT)).collect().height == moves * rows
        alive.close()
    return found


def _log(path: Path, rows: list[Row], entry: int, last: int) -> int:
    conn = connect(path, "process")
    conn.execute("begin immediate")
    text = msgspec.json.encode(KINDS).decode()
    conn.execute("insert or replace into signature values(?,?,?)", (ENDPOINT, 1, text))
    for first in range(0, len(rows), entry):
        packed, last = entries_of({ENDPOINT: rows[first : first + entry]}, last)
        conn.executemany(INSERT, packed)
    conn.execute("commit")
    conn.close()
    return last


def _rows(first: int, count: int) -> list[Row]:
    rng = np.random.default_rng(first)
    texts = rng.choice([f"l{i}" for i in range(90)], (count, TEXTS)).tolist()
    numbers, answers = rng.normal(0, 10, (count, NUMBERS)).tolist(), rng.random(count).tolist()
    return [
        (f"r{first + i}", f"r{first + i}", 10**15 + i, 10**15 + first + i, 1, "champion", 1.0, f"r{first + i}", "",
         [*texts[i], *numbers[i]], {"probability": answers[i]}, 1500, 200, "", "", 300, 900, [], [])
        for i in range(count)
    ]  # fmt: skip
