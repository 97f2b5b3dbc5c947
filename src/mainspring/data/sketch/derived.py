"""Columns that stand for what has no cells itself: a text by its statistics, a vector by its length and directions.

Every derived column has one value a row, so a sketch of it merges like any other and its p-values hold.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.data.sketch.grid import Floats

COMPONENTS = 3
BUCKETS = 64
LOOKED_AT = 2000
_LEARNED_FROM = 4000
_NO_TRIGRAM = np.uint64(2**64 - 1)


def is_text(column: pl.Series) -> bool:
    """Whether a column holds sentences, not levels or identifiers: most values differ, and have two words or more.

    >>> is_text(pl.Series(["the first note", "another one", "and a third"])), is_text(pl.Series(["a1", "b2", "c3"]))
    (True, False)
    """
    if column.dtype != pl.String:
        return False
    known = column.drop_nulls().head(LOOKED_AT)
    if known.n_unique() <= known.len() / 2:
        return False
    words = known.str.count_matches(r"\S+").mean()
    return isinstance(words, float) and words >= 2


def text_columns(column: pl.Series) -> list[pl.Series]:
    """Statistics of a text that mean the same in every language, and what it is about.

    Returns:
        Characters, words, characters a word, shares of letters, capitals, digits and characters outside ASCII, and
        `content`: the bucket of the three-byte piece of least hash. Texts that share words share it more often, so the
        distribution of buckets moves with what is written about. Null where the text is null.
    Source: Broder (1997), On the resemblance and containment of documents, for the least hash.
    """
    text = pl.col("text")
    length = text.str.len_chars().cast(pl.Float64)
    words = text.str.count_matches(r"\S+").cast(pl.Float64)
    shares = {"letters": r"\p{L}", "capitals": r"\p{Lu}", "digits": r"\p{Nd}", "beyond ASCII": r"[^\x00-\x7F]"}
    found = column.cast(pl.String).alias("text").to_frame()
    made = found.select(
        length.alias("characters"),
        words.alias("words"),
        (text.str.count_matches(r"\S").cast(pl.Float64) / words).fill_nan(None).alias("characters a word"),
        *((text.str.count_matches(shape) / length).fill_nan(None).alias(name) for name, shape in shares.items()),
    )
    parts = [*made.get_columns(), _content(found["text"])]
    return [part.alias(f"{column.name}: {part.name}") for part in parts]


def _content(text: pl.Series) -> pl.Series:
    """The bucket of the piece of least hash of every row, all pieces of all rows hashed at once."""
    lowered = text.str.to_lowercase().fill_null("")
    data = np.frombuffer("".join(lowered.to_list()).encode(), np.uint8).astype(np.uint64)
    sizes = lowered.str.len_bytes().to_numpy().astype(np.int64)
    ends = np.cumsum(sizes)
    long = sizes >= 3
    buckets = np.full(len(sizes), -1)
    if long.any():
        pieces = np.full(len(data), _NO_TRIGRAM)
        pieces[:-2] = _hashed((data[:-2] << np.uint64(16)) | (data[1:-1] << np.uint64(8)) | data[2:])
        for back in (1, 2):  # a piece that reaches into the next row is none
            pieces[(ends[sizes >= back] - back)] = _NO_TRIGRAM
        least = np.minimum.reduceat(pieces, (ends - sizes)[long])
        buckets[long] = (least & np.uint64(0xFFFF)) % BUCKETS
    return pl.Series("content", [None if bucket < 0 else f"{bucket:02}" for bucket in buckets.tolist()], pl.String)


def _hashed(pieces: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Source: Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators, the mixing of SplitMix64."""
    with np.errstate(over="ignore"):
        mixed = pieces + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def vectors(column: pl.Series) -> Floats | None:
    """A column of vectors as a matrix (rows, places) with NaN for rows without one; None when it holds no vectors.

    >>> vectors(pl.Series([[1, 2], None])).shape, vectors(pl.Series([[1, 2], [3]])) is None
    ((2, 2), True)
    """
    dtype = column.dtype
    if not isinstance(dtype, (pl.List, pl.Array)) or not isinstance(dtype.inner, pl.DataType):
        return None
    known = column.drop_nulls()
    if isinstance(dtype, pl.Array):
        width = dtype.size if len(dtype.shape) == 1 else 0
    else:
        lengths = known.list.len()
        width = int(lengths[0]) if lengths.n_unique() == 1 else 0
    if not width or not dtype.inner.is_numeric():
        return None
    found = np.full((column.len(), width), np.nan)
    values = known.explode().cast(pl.Float64).to_numpy().reshape(-1, width)
    found[column.is_not_null().to_numpy()] = np.where(np.isfinite(values), values, np.nan)
    return found


def vector_columns(reference: pl.Series, current: pl.Series) -> tuple[list[pl.Series], list[pl.Series]]:
    """The length of every vector and its place along the main directions of the reference.

    Returns:
        At most 1 + 3 columns of each side; nothing when the reference holds no vectors. Vectors of another width, or
        with a missing place, are null.
    Source: Pearson (1901) for the directions, learned from 4,000 rows spread over the reference.
    """
    before, now = vectors(reference), vectors(current)
    if before is None:
        return [], []
    if now is None or now.shape[1] != before.shape[1]:
        now = np.full((current.len(), before.shape[1]), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        known = before[np.isfinite(before).all(axis=1)]
        centre, axes = directions(known[:: max(1, len(known) // _LEARNED_FROM)], width=before.shape[1])
        return _placed(reference.name, before, centre, axes), _placed(reference.name, now, centre, axes)


def directions(rows: Floats, *, width: int = 0) -> tuple[Floats, Floats]:
    """The mean of vectors and their main directions, at most three; none where they cannot be told.

    Args:
        rows: Vectors without missing places, shape (rows, places).
        width: How many places there are when there are no rows.
    """
    centre = rows.mean(axis=0) if len(rows) else np.zeros(width)
    sound = len(rows) > 1 and bool(np.isfinite(rows - centre).all()) and float(np.abs(rows).max()) < 1e150
    if not sound:
        return centre, np.empty((0, len(centre)))
    return centre, np.linalg.svd(rows - centre, full_matrices=False)[2][:COMPONENTS]


def _placed(name: str, rows: Floats, centre: Floats, axes: Floats) -> list[pl.Series]:
    columns = {"length": np.linalg.norm(rows, axis=1)}
    columns |= {f"direction {place}": (rows - centre) @ axis for place, axis in enumerate(axes, start=1)}
    return [pl.Series(f"{name}: {part}", values, nan_to_null=True) for part, values in columns.items()]
