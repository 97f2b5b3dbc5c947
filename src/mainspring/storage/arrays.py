"""Columns of numbers as Postgres receives them: packed at once, as its driver asks of each anew how it is written."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache

_KINDS = {"q": 20, "d": 701}
"""What Postgres calls the types of the elements."""
_WIDTH = 8


class Array:
    """A column in Postgres's binary form: the value of a parameter that is cast to `bigint[]` or `float8[]`."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


def whole(column: Sequence[int]) -> Array:
    """Whole numbers of 64 bits, for `bigint[]`.

    >>> whole([7]).packed.hex(" ", 4)
    '00000001 00000000 00000014 00000001 00000001 00000008 00000000 00000007'
    """
    return joined([piece(column, "q")], "q")


def real(column: Sequence[float]) -> Array:
    """Numbers, for `float8[]`."""
    return joined([piece(column, "d")], "d")


def piece(column: Sequence[float], code: str) -> bytes:
    """A part of a column, to be joined with others.

    Args:
        column: Without nulls.
        code: "q" for whole numbers of 64 bits, "d" for numbers.
    """
    count = len(column)
    parts: list[float] = [_WIDTH] * (2 * count)
    parts[1::2] = column  # each number follows its width
    return struct.pack(">" + f"i{code}" * count, *parts)


def same(number: int, count: int) -> bytes:
    """As `piece`, for one whole number so many times.

    >>> same(7, 2) == piece([7, 7], "q")
    True
    """
    return struct.pack(">iq", _WIDTH, number) * count


def joined(pieces: Iterable[bytes], code: str) -> Array:
    """The column that pieces are parts of: one dimension, counted from 1."""
    packed = b"".join(pieces)
    count = len(packed) // (_WIDTH + 4)
    return Array(struct.pack(">5i", 1, 0, _KINDS[code], count, 1) + packed)


@cache
def teach() -> None:
    """Have the driver take arrays as they are."""
    import psycopg
    from psycopg.adapt import Buffer, Dumper

    class ArrayDumper(Dumper):
        format = psycopg.pq.Format.BINARY

        def dump(self, obj: Array) -> Buffer:
            return obj.packed

    psycopg.adapters.register_dumper(Array, ArrayDumper)
