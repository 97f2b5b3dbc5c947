"""What stands for columns that have no cells themselves: which ones, and how it is made."""

from __future__ import annotations

import struct
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from mainspring.core.values import dataclass

Floats = NDArray[np.float64]
REGION = "region"


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of sentences: its statistics and what it is about stand for it.

    Attributes:
        name: The column.
    """

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class VectorColumn:
    """A column of vectors, or numbered columns that hold one place of them each.

    Attributes:
        name: The column; what the numbered ones have in common.
        centre: The mean of the reference, shape (places,).
        axes: Its main directions, shape (at most 3, places).
        middles: The middles of its regions, shape (regions, places).
        places: The numbered columns in order; none when one column holds whole vectors.
    """

    name: str
    centre: Floats
    axes: Floats
    middles: Floats
    places: tuple[str, ...] = field(default=())

    @property
    def width(self) -> int:
        """How many places a vector has."""
        return len(self.centre)

    @property
    def map(self) -> Floats:
        """Where the middle of each region lies along the first two directions, shape (regions, 2)."""
        found = np.zeros((len(self.middles), 2))
        flat = (self.middles - self.centre) @ self.axes[:2].T
        found[:, : flat.shape[1]] = flat
        return found


@dataclass(frozen=True, slots=True)
class SeparateColumns:
    """Numbered columns that are no places of a vector, as somebody said: each stands for itself.

    Attributes:
        name: What they have in common.
    """

    name: str


Derivation = TextColumn | VectorColumn | SeparateColumns
_KINDS = (TextColumn, VectorColumn, SeparateColumns)
"""A kind is stored by its place."""


def packed(derivations: tuple[Derivation, ...]) -> bytes:
    """Bytes that `unpacked` reads back."""
    parts = [struct.pack("<I", len(derivations))]
    for one in derivations:
        name = one.name.encode()
        parts.append(struct.pack("<BI", _KINDS.index(type(one)), len(name)) + name)
        if isinstance(one, VectorColumn):
            places = "\0".join(one.places).encode()
            parts.append(struct.pack("<IIII", one.width, len(one.axes), len(one.middles), len(places)) + places)
            parts += [part.astype("<f4").tobytes() for part in (one.centre, one.axes, one.middles)]
    return b"".join(parts)


def unpacked(data: bytes, at: int) -> tuple[Derivation, ...]:
    """Read back what `packed` wrote; nothing where the bytes end."""
    if at >= len(data):
        return ()
    found: list[Derivation] = []
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(count):
        kind, size = struct.unpack_from("<BI", data, at)
        at += 5 + size
        name = data[at - size : at].decode()
        if _KINDS[kind] is not VectorColumn:
            found.append(SeparateColumns(name) if _KINDS[kind] is SeparateColumns else TextColumn(name))
            continue
        width, axes, middles, size = struct.unpack_from("<IIII", data, at)
        at += 16 + size
        places = tuple(data[at - size : at].decode().split("\0")) if size else ()
        numbers = np.frombuffer(data, "<f4", width * (1 + axes + middles), at).astype(np.float64)
        at += 4 * len(numbers)
        rows = numbers.reshape(-1, width)
        found.append(VectorColumn(name, rows[0], rows[1 : 1 + axes], rows[1 + axes :], places))
    return tuple(found)
