"""Whole vectors of a window beside those of the training data: what a comparison takes, finds, and says without reason.

    python bench/measure_vectors.py

Places are standard normal, each second one tied to the one before it by a correlation; a moved window has its sign
turned, which no place shows. A day with weather of its own adds one shift to all of its rows.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np
import polars as pl
from figure import Figure

from mainspring.data.sketch.derivation import VectorColumn
from mainspring.monitoring.comparisons import VectorFigures
from mainspring.monitoring.rules.vectors import compare_vectors

Rows = np.ndarray[tuple[int, int], np.dtype[np.float64]]
WIDTHS = (64, 384, 1536)
WEATHER = 0.1
LEVEL = 0.05


def tied(rng: np.random.Generator, rows: int, width: int, by: float, *, weather: float = 0.0) -> Rows:
    found = rng.normal(size=(rows, width))
    found[:, 1::2] = by * found[:, 0::2] + np.sqrt(1 - by * by) * found[:, 1::2]
    return found + weather * rng.normal(size=width)


def compared(before: Rows, now: Rows, seed: int) -> VectorFigures:
    width = before.shape[1]
    vector = VectorColumn("embedding", np.zeros(width), np.empty((0, width)), np.empty((0, width)))
    frames = (pl.DataFrame({"embedding": pl.Series(side, dtype=pl.Array(pl.Float64, width))}) for side in (before, now))
    return compare_vectors(vector, *frames, seed=seed)


def takes(width: int) -> list[Figure]:
    """One comparison of as many rows as there are at most, in a process of its own, less what its inputs take."""
    rng = np.random.default_rng(0)
    before, now = tied(rng, 4000, width, 0.3), tied(rng, 2000, width, 0.3)
    start = resource.getrusage(resource.RUSAGE_SELF)
    compared(before, now, 0)
    end = resource.getrusage(resource.RUSAGE_SELF)
    return [
        Figure(f"{width} places, 2,000 rows: one comparison", end.ru_utime - start.ru_utime, "s CPU", 60.0),
        Figure(f"{width} places, 2,000 rows: memory at most", end.ru_maxrss / 1024, "MB", 1500.0),
    ]


def passes(runs: int, *, rows: int, turned: bool, by: float = 0.5, days: int = 0) -> dict[str, float]:
    """The share of windows below 5 %, of each figure; with `days`, training data of so many days with weather."""
    below = {"energy distance": 0, "classifier": 0}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        weather = WEATHER if days else 0.0
        before = np.vstack([tied(rng, 2000 // max(days, 1), 64, by, weather=weather) for _ in range(max(days, 1))])
        found = compared(before, tied(rng, rows, 64, -by if turned else by, weather=weather), seed)
        below["energy distance"] += (found.energy_p or 0.0) < LEVEL
        below["classifier"] += (found.classifier_p or 0.0) < LEVEL
    return {name: count / runs for name, count in below.items()}


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--takes", type=int, default=0, help="Only what a comparison of so many places takes.")
    given = parser.parse_args()
    if given.takes:
        print("\n".join(figure.row() for figure in takes(given.takes)))
        return
    print("| what | found | limit | held |\n|---|---|---|---|")
    for width in WIDTHS:
        subprocess.run([sys.executable, __file__, "--takes", str(width)], check=True)
    allowed = LEVEL + 3.1 * np.sqrt(LEVEL * (1 - LEVEL) / given.runs)
    told: list[Figure] = []
    for name, share in passes(given.runs, rows=400, turned=False).items():
        told.append(Figure(f"nothing changed, rows independent: {name} below 5 %", share, "of windows", allowed))
    for name, share in passes(given.runs, rows=400, turned=False, days=20).items():
        told.append(Figure(f"nothing changed, every day with weather: {name} below 5 %", share, "of windows"))
    for by in (0.1, 0.2, 0.3, 0.5):
        for name, share in passes(given.runs, rows=400, turned=True, by=by).items():
            told.append(Figure(f"correlation {by} turned: {name} below 5 %", share, "of windows"))
    print("\n".join(figure.row() for figure in told))


if __name__ == "__main__":
    main()
