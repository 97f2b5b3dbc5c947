"""Sketches as bytes: filled cells only, counts as narrow as they can be, sums in seven digits where they fit."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Corrupt
from mainspring.data.sketch.counting import ColumnSketch, Sketch
from mainspring.data.sketch.grid import Floats, Grid

_MAGIC = b"MSK2"
_HEAD = struct.Struct("<4s8sQ")
_SHAPE = struct.Struct("<BB")
_COLUMN = np.dtype("<i8,<i8,<f8,<f8,<f8,<u2")
"""Of a column: nulls, invalid rows, squares, least, most, and how many levels outside the grid follow."""
_LEVEL = struct.Struct("<IQ")
_WIDTHS = ("<u1", "<u2", "<u4", "<i8")
_NO_SUMS: Floats = np.empty(0)


def encode(sketch: Sketch) -> bytes:
    """The bytes of a sketch; they name its grid but do not hold it.

    What the columns have in common stands together, so that reading it takes a few steps for all of them.
    """
    columns = sketch.columns
    counts = np.concatenate([np.zeros(0, np.int64), *(column.counts for column in columns)])
    filled = counts > 0
    sums = np.concatenate([np.zeros(0), *(_sums_of(column) for column in columns)])[filled]
    most = int(counts.max(initial=0))
    width = next(i for i, limit in enumerate((1 << 8, 1 << 16, 1 << 32, 1 << 63)) if most < limit)
    narrow = bool(np.all(np.abs(sums) < 3e38))
    heads = np.array([_head_of(column) for column in columns], _COLUMN)
    body = [_SHAPE.pack(width, narrow), heads.tobytes(), np.packbits(filled).tobytes()]
    body += [counts[filled].astype(_WIDTHS[width]).tobytes(), sums.astype("<f4" if narrow else "<f8").tobytes()]
    for column in columns:
        for level, rows in column.unseen.items():
            text = level.encode()
            body.append(_LEVEL.pack(len(text), rows) + text)
    return _HEAD.pack(_MAGIC, sketch.grid.digest, sketch.rows) + zlib.compress(b"".join(body), 1)


def decode(data: bytes, grid: Grid) -> Sketch:
    """Read a sketch back.

    Raises:
        Corrupt: The bytes are not a sketch, or a sketch on another grid.
    """
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise Corrupt("these bytes are not a sketch", where=repr(data[:4]))
    _, digest, rows = _HEAD.unpack_from(data)
    if digest != grid.digest:
        raise Corrupt(
            "this sketch was counted on another grid", where=digest.hex(), hint="read it with the grid of its version"
        )
    body = zlib.decompress(data[_HEAD.size :])
    width, narrow = _SHAPE.unpack_from(body)
    ends = grid.ends
    heads = np.frombuffer(body, _COLUMN, len(grid.columns), _SHAPE.size)
    at = _SHAPE.size + heads.nbytes
    size = ends[-1] if ends else 0
    filled = np.unpackbits(np.frombuffer(body, np.uint8, (size + 7) // 8, at), count=size).view(np.bool_)
    at += (size + 7) // 8
    counts, at = _scatter(body, at, filled, _WIDTHS[width], np.int64)
    sums, at = _scatter(body, at, filled, "<f4" if narrow else "<f8", np.float64)
    columns, begin = [], 0
    for cells, end, head in zip(grid.columns, ends, heads.tolist(), strict=True):
        nulls, invalid, squares, least, most, levels = head
        unseen: dict[str, int] = {}
        for _ in range(levels):
            length, seen = _LEVEL.unpack_from(body, at)
            at += _LEVEL.size + length
            unseen[body[at - length : at].decode()] = seen
        mine = sums[begin:end] if cells.is_number else _NO_SUMS
        columns.append(ColumnSketch(cells, counts[begin:end], mine, nulls, invalid, squares, least, most, unseen))
        begin = end
    return Sketch(grid, rows, tuple(columns))


def _sums_of(column: ColumnSketch) -> Floats:
    return column.sums if len(column.sums) else np.zeros(len(column.counts))


def _head_of(column: ColumnSketch) -> tuple[int, int, float, float, float, int]:
    return column.nulls, column.invalid, column.squares, column.least, column.most, len(column.unseen)


def _scatter(
    data: bytes, at: int, filled: NDArray[np.bool_], kept: str, kind: type[np.int64] | type[np.float64]
) -> tuple[NDArray[Any], int]:
    values = np.frombuffer(data, kept, int(np.count_nonzero(filled)), at)
    cells = np.zeros(len(filled), kind)
    cells[filled] = values
    return cells, at + values.nbytes
