"""Sketches as bytes: filled cells only, counts as narrow as they can be, sums in seven digits where they fit."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from mainspring.core.errors import Corrupt
from mainspring.data.sketch.counting import ColumnSketch, Sketch
from mainspring.data.sketch.grid import Floats, Grid, GridColumn

_MAGIC = b"MSK1"
_HEAD = struct.Struct("<4s8sQ")
_COLUMN = struct.Struct("<BBQQdddH")
_WIDTHS = ("<u1", "<u2", "<u4", "<i8")


def encode(sketch: Sketch) -> bytes:
    """The bytes of a sketch; they name its grid but do not hold it."""
    body = b"".join(map(_encode_column, sketch.columns))
    return _HEAD.pack(_MAGIC, sketch.grid.digest, sketch.rows) + zlib.compress(body, 1)


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
    body, at, columns = zlib.decompress(data[_HEAD.size :]), 0, []
    for cells in grid.columns:
        column, at = _decode_column(body, at, cells)
        columns.append(column)
    return Sketch(grid, rows, tuple(columns))


def _encode_column(column: ColumnSketch) -> bytes:
    filled = column.counts > 0
    counts = column.counts[filled]
    most = int(counts.max(initial=0))
    width = next(i for i, limit in enumerate((1 << 8, 1 << 16, 1 << 32, 1 << 63)) if most < limit)
    sums = column.sums[filled] if len(column.sums) else column.sums
    narrow = bool(np.all(np.abs(sums) < 3e38))
    numbers = (column.nulls, column.invalid, column.squares, column.least, column.most)
    parts = [_COLUMN.pack(width, narrow, *numbers, len(column.unseen)), np.packbits(filled).tobytes()]
    parts += [counts.astype(_WIDTHS[width]).tobytes(), sums.astype("<f4" if narrow else "<f8").tobytes()]
    for level, rows in column.unseen.items():
        text = level.encode()
        parts.append(struct.pack("<IQ", len(text), rows) + text)
    return b"".join(parts)


def _decode_column(data: bytes, at: int, cells: GridColumn) -> tuple[ColumnSketch, int]:
    width, narrow, nulls, invalid, squares, least, most, levels = _COLUMN.unpack_from(data, at)
    at += _COLUMN.size
    mask = np.frombuffer(data, np.uint8, (cells.cells + 7) // 8, at)
    filled = np.unpackbits(mask, count=cells.cells).astype(bool)
    at += len(mask)
    size = int(filled.sum())
    counts, at = _scatter(data, at, filled, _WIDTHS[width])
    sums: Floats = np.empty(0)
    if cells.is_number:
        sums, at = _scatter(data, at, filled, "<f4" if narrow else "<f8")
    unseen = {}
    for _ in range(levels):
        size, rows = struct.unpack_from("<IQ", data, at)
        at += 12 + size
        unseen[data[at - size : at].decode()] = rows
    column = ColumnSketch(cells, counts.astype(np.int64), sums, nulls, invalid, squares, least, most, unseen)
    return column, at


def _scatter(
    data: bytes, at: int, filled: np.ndarray[tuple[int], np.dtype[np.bool_]], dtype: str
) -> tuple[Floats, int]:
    values = np.frombuffer(data, dtype, int(filled.sum()), at)
    cells = np.zeros(len(filled))
    cells[filled] = values
    return cells, at + values.nbytes
