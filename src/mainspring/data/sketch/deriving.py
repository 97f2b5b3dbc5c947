"""Which columns of a table are texts or vectors, learnt once, and the columns that stand for them in any later rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.data.sketch.derivation import (
    REGION,
    Derivation,
    Floats,
    SeparateColumns,
    TextColumn,
    VectorColumn,
)
from mainspring.data.sketch.derived import directions, is_text, text_columns

PLACES = 64
"""So many numbered columns of numbers that look alike are the places of a vector."""
_REGIONS = 24
_ROUNDS = 10
_LEARNT_FROM = 4000
_LEAST = 200
_LARGEST = 1e30
_NUMBERED = re.compile(r"(.*?)[\[_.\- ]?(\d+)\]?")
_ALIKE = 10.0
_LOOKED_AT = 1000


def learn_derivations(frame: pl.DataFrame, *, separate: Iterable[str] = ()) -> tuple[Derivation, ...]:
    """The texts and vectors of a table: columns of sentences, of vectors of one width, and numbered columns.

    Args:
        frame: The table.
        separate: What numbered columns have in common that are no vector, whatever they look like. It is kept, so that
            later versions of the table know it.

    Source: Lloyd (1982), Least squares quantization in PCM, for the regions of vectors.
    """
    texts = [TextColumn(name) for name in frame.columns if is_text(frame[name])]
    wide = [(name, _usual_width(frame[name]), ()) for name in frame.columns]
    apart = tuple(dict.fromkeys(separate))
    families = (one for one in _families(frame) if one[0] not in apart)
    found = [one for one in (*wide, *families) if one[1] >= 2]
    learnt = (_learn_vector(frame, name, width, places) for name, width, places in found)
    return (*texts, *(one for one in learnt if one is not None), *map(SeparateColumns, apart))


def is_learnt_from(rows: int) -> NDArray[np.bool_]:
    """Which rows directions and regions are learnt from: these fit them better than any other rows ever will."""
    return np.asarray(np.arange(rows) % max(2, -(-rows // _LEARNT_FROM)) == 0)


def derive(frame: pl.DataFrame, derivations: Iterable[Derivation]) -> dict[str, pl.Series]:
    """The columns that stand for texts and vectors, by name, null where there is no text or no whole vector."""
    made: list[pl.Series] = []
    for one in derivations:
        if isinstance(one, VectorColumn):
            made += _vector_columns(one, vectors_of(frame, one))
        elif (
            isinstance(one, TextColumn)
            and one.name in frame.columns
            and frame[one.name].dtype in (pl.String, pl.Categorical)
        ):
            made += text_columns(frame[one.name])
    return {column.name: column for column in made}


def derive_reference(frame: pl.DataFrame, derivations: Sequence[Derivation]) -> dict[str, pl.Series]:
    """The same for the rows that were learnt from, without what fits these too well."""
    held = pl.Series(~is_learnt_from(frame.height))
    vectors = {one.name for one in derivations if isinstance(one, VectorColumn)}
    made = derive(frame, derivations)
    for name, column in made.items():
        if name.rpartition(": ")[0] in vectors:
            made[name] = column.to_frame().select(pl.when(held).then(pl.col(name)).alias(name)).to_series()
    return made


def vectors_of(frame: pl.DataFrame, vector: VectorColumn) -> Floats:
    """The vectors of rows, shape (rows, places); a row that has not all of them, or too large ones, is NaN."""
    if vector.places:
        parts = [
            frame[name].cast(pl.Float64, strict=False) if name in frame.columns else pl.Series([None] * frame.height)
            for name in vector.places
        ]
        found = np.column_stack([part.cast(pl.Float64).to_numpy() for part in parts])
    elif vector.name in frame.columns:
        found = _rows_of(frame[vector.name], vector.width)
    else:
        found = np.full((frame.height, vector.width), np.nan)
    with np.errstate(invalid="ignore"):
        broken = ~(np.abs(found) <= _LARGEST).all(axis=1)
    found[broken] = np.nan
    return found


def _rows_of(column: pl.Series, width: int) -> Floats:
    found = np.full((column.len(), width), np.nan)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list() if len(column.dtype.shape) == 1 else pl.Series([None] * column.len())
    if not isinstance(column.dtype, pl.List) or not _is_number(column.dtype.inner):
        return found
    fits = (column.list.len() == width).fill_null(value=False)
    values = column.filter(fits).explode().cast(pl.Float64).to_numpy()
    found[fits.to_numpy()] = values.reshape(-1, width)
    return found


def _is_number(dtype: object) -> bool:
    return isinstance(dtype, pl.DataType) and dtype.is_numeric()


def _usual_width(column: pl.Series) -> int:
    """How many places most vectors of a column have, 0 when it holds none or they differ."""
    dtype = column.dtype
    if isinstance(dtype, pl.Array):
        return dtype.size if len(dtype.shape) == 1 and _is_number(dtype.inner) else 0
    if not isinstance(dtype, pl.List) or not _is_number(dtype.inner):
        return 0
    lengths = column.drop_nulls().list.len()
    width = lengths.mode().min() if lengths.len() else None
    common = isinstance(width, int) and (lengths == width).mean()
    return width if isinstance(width, int) and isinstance(common, float) and common > 0.9 else 0


def common_name(column: str) -> str:
    """What a numbered column has in common with the others of its kind; "" when it has no number.

    >>> common_name("sensor_12"), common_name("7"), common_name("age")
    ('sensor', 'vector', '')
    """
    match = _NUMBERED.fullmatch(column)
    return (match[1] or "vector") if match else ""


def _families(frame: pl.DataFrame) -> list[tuple[str, int, tuple[str, ...]]]:
    """Numbered columns that are the places of one vector: many, none left out, of numbers that spread alike."""
    groups: dict[str, dict[int, str]] = {}
    for name, dtype in frame.schema.items():
        if dtype.is_numeric() and (match := _NUMBERED.fullmatch(name)):
            groups.setdefault(match[1], {})[int(match[2])] = name
    found = []
    for prefix, numbered in groups.items():
        first, last = min(numbered), max(numbered)
        places = tuple(numbered[number] for number in sorted(numbered))
        name = prefix or "vector"
        whole = len(places) >= PLACES and first <= 1 and last - first + 1 == len(places)
        if whole and name not in frame.columns and _alike(frame, places):
            found.append((name, len(places), places))
    return found


def _alike(frame: pl.DataFrame, places: Sequence[str]) -> bool:
    """Whether most columns take many values and spread about as far as each other, as columns of a table seldom do."""
    rows = frame.select(pl.col(name).cast(pl.Float64, strict=False) for name in places).head(_LOOKED_AT)
    if rows.height < _LEAST:
        return False
    spreads = np.array([one if isinstance(one, float) else 0.0 for one in rows.select(pl.all().std()).row(0)])
    values = np.array(rows.select(pl.all().n_unique()).row(0))
    spread = spreads[np.isfinite(spreads) & (spreads > 0)]
    most = len(places) // 2
    return (
        len(spread) > most and bool(spread.max() < _ALIKE * np.median(spread)) and bool(np.median(values) > _LEAST / 8)
    )


def _learn_vector(frame: pl.DataFrame, name: str, width: int, places: tuple[str, ...]) -> VectorColumn | None:
    blank = VectorColumn(name, np.zeros(width), np.empty((0, width)), np.empty((0, width)), places)
    rows = vectors_of(frame.filter(pl.Series(is_learnt_from(frame.height))), blank)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < _LEAST // 2:
        return None
    centre, axes = directions(rows)
    return VectorColumn(name, _short(centre), _short(axes), _short(_middles(rows)), places)


def _short(numbers: Floats) -> Floats:
    """As they are stored: what is derived before and after storing must be the same."""
    return numbers.astype(np.float32).astype(np.float64)


def _middles(rows: Floats) -> Floats:
    """The middles of regions, at most one for 20 rows, begun far apart and moved to where the rows are."""
    count = min(_REGIONS, len(rows) // 20)
    middles, far = rows[:1], np.square(rows - rows[0]).sum(axis=1)
    rng = np.random.default_rng(0)
    while len(middles) < count and far.sum() > 0:
        middles = np.vstack([middles, rows[rng.choice(len(rows), p=far / far.sum())]])
        far = np.minimum(far, np.square(rows - middles[-1]).sum(axis=1))
    for _ in range(_ROUNDS):
        region = _nearest(rows, middles)
        middles = np.stack(
            [rows[region == at].mean(axis=0) if (region == at).any() else middles[at] for at in range(len(middles))]
        )
    return middles


def _nearest(rows: Floats, middles: Floats) -> NDArray[np.int64]:
    """The middle that each row is nearest to; the squares of the rows are left out, as they are the same for all."""
    return np.asarray((np.square(middles).sum(axis=1) - 2 * rows @ middles.T).argmin(axis=1), np.int64)


def _vector_columns(vector: VectorColumn, rows: Floats) -> list[pl.Series]:
    """Whether there is a vector, its length, its places along the directions, what is left, and its region."""
    there = np.asarray(np.isfinite(rows).all(axis=1), np.bool_)
    known = rows[there]
    flat = (known - vector.centre) @ vector.axes.T
    off = np.sqrt(np.maximum(np.square(known - vector.centre).sum(axis=1) - np.square(flat).sum(axis=1), 0.0))
    parts: Mapping[str, Floats] = {
        "length": np.linalg.norm(known, axis=1),
        **{f"direction {place}": flat[:, place - 1] for place in range(1, flat.shape[1] + 1)},
        "off the directions": off,
    }
    named = np.array([f"{at:02}" for at in range(len(vector.middles))], object)
    region = pl.Series(named[_nearest(known, vector.middles)].tolist(), dtype=pl.String)
    made = [_spread(f"{vector.name}: {name}", pl.Series(values), there) for name, values in parts.items()]
    made.append(_spread(f"{vector.name}: {REGION}", region, there))
    return (
        [*made, pl.Series(vector.name, [True if one else None for one in there], pl.Boolean)] if vector.places else made
    )


def _spread(name: str, values: pl.Series, there: NDArray[np.bool_]) -> pl.Series:
    """Values in the rows that have one, null in the others."""
    if there.all():
        return values.alias(name)
    places = np.where(there, np.cumsum(there) - 1, -1)
    at = pl.Series([place if place >= 0 else None for place in places.tolist()], dtype=pl.UInt32)
    return values.gather(at).alias(name) if len(values) else pl.Series(name, [None] * len(there), values.dtype)
