"""Columns of numbers as Postgres receives them: packed at once, as its driver asks of each anew how it is written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

_BIGINT, _DOUBLE = 20, 701
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
    return _packed(column, "q", _BIGINT)


def real(column: Sequence[float]) -> Array:
    """Numbers, for `float8[]`."""
    return _packed(column, "d", _DOUBLE)


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


def _packed(column: Sequence[float], code: str, kind: int) -> Array:
    """One dimension, without nulls, counted from 1; each number follows its width."""
    count = len(column)
    parts: list[float] = [_WIDTH] * (2 * count)
    parts[1::2] = column
    return Array(struct.pack(">5i" + f"i{code}" * count, 1, 0, kind, count, 1, *parts))
