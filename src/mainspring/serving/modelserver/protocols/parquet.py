"""Parquet bodies. What a file would expand to is added up from its page headers before any page is read."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, TooLarge
from mainspring.serving.modelserver.columns import Raw

if TYPE_CHECKING:
    import polars as pl

_MAX_EXPANDED = 64 * 1024 * 1024
_MAX_DEPTH = 16
Fields = Mapping[int, object]


def read_parquet(body: bytes, max_rows: int) -> dict[str, Raw]:
    """The columns of a file.

    Raises: Invalid: It is no Parquet file, or has more rows than that. TooLarge: It would expand to too much.
    """
    import polars as pl

    _check(body, max_rows)
    try:
        frame = pl.read_parquet(io.BytesIO(body), use_statistics=False, memory_map=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as reason:
        raise Invalid(f"not Parquet that can be read: {str(reason)[:200]}") from None
    return {series.name: _values(series) for series in frame}


def _values(series: pl.Series) -> Raw:
    import polars as pl

    if series.dtype == pl.String and (series.str.len_bytes().sum() or 0) > _MAX_EXPANDED:
        raise TooLarge(f"column {series.name[:100]!r} is over {_MAX_EXPANDED} bytes of text")
    return raw_of(series)


def raw_of(series: pl.Series) -> Raw:
    """A column of a frame as a protocol gives it."""
    if series.dtype.is_float() and not series.null_count():
        return series.to_numpy()
    return series.to_list()


def _check(body: bytes, max_rows: int) -> None:
    try:
        size = struct.unpack("<I", body[-8:-4])[0]
        if body[:4] != b"PAR1" or body[-4:] != b"PAR1" or size > len(body) - 12:
            raise Invalid("not a Parquet file: it does not begin and end like one")
        expanded = 0
        for chunk in _chunks(_Thrift(body, len(body) - 8 - size).struct(), max_rows):
            for page in _pages(body, chunk):
                expanded += page
                if expanded > _MAX_EXPANDED:
                    raise TooLarge(f"the Parquet file expands to more than {_MAX_EXPANDED} bytes")
    except (struct.error, IndexError, KeyError, TypeError, ValueError):
        raise Invalid("not a Parquet file: its footer or a page header can't be read") from None


def _chunks(footer: Fields, max_rows: int) -> Iterator[Fields]:
    """The metadata of every column chunk of a file."""
    rows = _whole(footer[3])
    if not 1 <= rows <= max_rows:
        raise Invalid(f"a request has 1 to {max_rows} rows, found {rows}")
    for group in _list(footer[4]):
        for column in _list(_struct(group)[1]):
            chunk = _struct(_struct(column)[3])
            if _whole(chunk[5]) > max_rows:
                raise Invalid(f"a column has {_whole(chunk[5])} values, a request has 1 to {max_rows} rows")
            yield chunk


def _pages(body: bytes, chunk: Fields) -> Iterator[int]:
    """The expanded size of every page of a chunk."""
    starts = [_whole(chunk[field]) for field in (9, 11) if field in chunk]
    at = min(start for start in starts if start > 0)
    end = at + _whole(chunk[7])
    if end > len(body):
        raise Invalid("not a Parquet file: a column lies outside of it")
    while at < end:
        reader = _Thrift(body, at)
        header = reader.struct()
        expanded, packed = _whole(header[2]), _whole(header[3])
        yield expanded
        at = reader.at + packed


class _Thrift:
    """Thrift's compact protocol, as far as Parquet has it: a struct becomes its fields by number."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._depth = 0
        self.at = at

    def struct(self) -> dict[int, object]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("too deep")
        fields: dict[int, object] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> object:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 12:
            return self.struct()
        if kind in (9, 10):
            return self._values()
        size = 8 if kind == 7 else self._varint() if kind == 8 else -1
        if size < 0 or self.at + size > len(self._data):
            raise ValueError("no such type, or beyond the end")
        self.at += size
        return None

    def _values(self) -> list[object]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        if count > len(self._data) - self.at:
            raise ValueError("a list beyond the end")
        kind = head & 15
        return [self._byte() == 1 if kind in (1, 2) else self._value(kind) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number without end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a size")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _struct(value: object) -> dict[int, object]:
    if not isinstance(value, dict):
        raise TypeError("not a struct")
    return value
