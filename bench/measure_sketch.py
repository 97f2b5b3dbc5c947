"""Counting a table in the cells of a grid, and adding up a month of hours."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import polars as pl
from figure import Figure, wall

from mainspring.data.sketch import Sketch, learn_grid, sketch

ROWS, NUMBERS, TEXTS, HOURS = 100_000, 40, 10, 720
COLUMNS = NUMBERS + TEXTS


def measure() -> Iterator[Figure]:
    frame = _table()
    began = time.perf_counter()
    grid = learn_grid(frame)
    yield Figure(f"learn the grid of {ROWS:,} x {COLUMNS}", time.perf_counter() - began, "s")
    for what, part in (
        (f"{NUMBERS} of numbers, {TEXTS} of text", frame),
        ("numbers only", frame.select(pl.selectors.numeric())),
        ("text only", frame.select(pl.selectors.string())),
    ):
        own = grid if part.width == frame.width else learn_grid(part)
        seconds = statistics.median(wall(5, functools.partial(sketch, part, own)))
        yield Figure(f"sketch {ROWS:,} x {part.width} ({what})", ROWS * part.width / seconds / 1e6, "M values/s")
    hours = [sketch(part, grid) for part in frame.iter_slices(ROWS // HOURS)][:HOURS]
    stored = [hour.to_bytes() for hour in hours]
    merged = wall(5, lambda: Sketch.total(grid, hours))
    read = wall(5, lambda: Sketch.total(grid, (Sketch.from_bytes(data, grid) for data in stored)))
    yield Figure(f"merge {HOURS} hours x {COLUMNS} columns", 1000 * statistics.median(merged), "ms")
    yield Figure(f"read from bytes and merge {HOURS} hours", 1000 * statistics.median(read), "ms")
    yield Figure(f"size of an hour of {hours[0].rows} rows, {COLUMNS} columns", len(stored[0]) / 1000, "KB")


def _table() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    numbers = {f"n{i:02}": rng.normal(size=ROWS) for i in range(NUMBERS)}
    texts = {f"t{i:02}": pl.Series(rng.integers(0, 5 * (i + 1), ROWS)).cast(pl.String) for i in range(TEXTS)}
    return pl.DataFrame({**numbers, **texts})
