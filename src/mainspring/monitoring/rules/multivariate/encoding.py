"""Two tables as two matrices in which every column counts alike."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.data.sketch.derived import vectors
from mainspring.data.sketch.grid import kind_of

Floats = NDArray[np.float64]
LEAST_ROWS = 50
MOST_ROWS = 4000
_LEVELS = 12
_SPREAD = 8.0
_LARGEST = 1e150


def encode(reference: pl.DataFrame, current: pl.DataFrame, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Both tables as finite numbers, each feature scaled by the reference.

    Numbers are centred on the median and scaled by the spread between quartiles (else the standard deviation), cut at 8
    of these; the 12 most frequent levels of text get a feature each; a vector gets one for each of its places; missing
    values get a feature of their own where there are any. Times are left out: they always move on.

    Args:
        reference: What fixes the features.
        current: What is read in them.
        seed: Which rows are drawn when there are over 4,000.
    Returns:
        Two matrices (rows, features).
    """
    before, now = (_drawn(frame, seed + place) for place, frame in enumerate((reference, current)))
    pairs = [pair for name in reference.columns for pair in _column(before[name], _like(now, name))]
    if not pairs:
        return np.empty((before.height, 0)), np.empty((now.height, 0))
    return np.column_stack([left for left, _ in pairs]), np.column_stack([right for _, right in pairs])


def _drawn(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(MOST_ROWS, seed=seed) if frame.height > MOST_ROWS else frame


def _like(frame: pl.DataFrame, name: str) -> pl.Series:
    return frame[name] if name in frame.columns else pl.Series(name, [None] * frame.height, pl.Null)


def _column(before: pl.Series, now: pl.Series) -> list[tuple[Floats, Floats]]:
    kind = kind_of(before.dtype)
    if kind in ("numeric", "boolean"):
        return _numbers(*(side.cast(pl.Float64, strict=False).to_numpy() for side in (before, now)))
    if kind == "categorical":
        return _levels(before, now)
    left, right = vectors(before), vectors(now)
    if left is None:
        return []
    if right is None or right.shape[1] != left.shape[1]:
        right = np.full((now.len(), left.shape[1]), np.nan)
    return [pair for place in range(left.shape[1]) for pair in _numbers(left[:, place], right[:, place])]


def _numbers(before: Floats, now: Floats) -> list[tuple[Floats, Floats]]:
    absent = ~np.isfinite(before), ~np.isfinite(now)
    before, now = (np.clip(side, -_LARGEST, _LARGEST) for side in (before, now))  # so that differences are finite
    known = before[~absent[0]]
    pairs: list[tuple[Floats, Floats]] = []
    if len(known):
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        scale = (high - low) / 1.349 or float(known.std())
        if scale > 0 and np.isfinite(scale):
            scaled = (
                np.clip((np.where(gone, middle, side) - middle) / scale, -_SPREAD, _SPREAD)
                for side, gone in zip((before, now), absent, strict=True)
            )
            pairs.append((next(scaled), next(scaled)))
    every = np.concatenate(absent)
    if every.any() and not every.all():
        pairs.append((2.0 * absent[0], 2.0 * absent[1]))
    return pairs


def _levels(before: pl.Series, now: pl.Series) -> list[tuple[Floats, Floats]]:
    """A share of one half has the deviation 1/2; twice the truth of a level so has about that of a number."""
    texts = [side.cast(pl.String).fill_null("") for side in (before, now)]
    known = texts[0].rename("level").value_counts(sort=True).sort(["count", "level"], descending=[True, False])
    levels = known["level"].head(_LEVELS).to_list()
    if len(levels) < 2 and texts[1].n_unique() < 2:
        return []
    return [((texts[0] == level).to_numpy() * 2.0, (texts[1] == level).to_numpy() * 2.0) for level in levels]
