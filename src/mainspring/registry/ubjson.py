"""Whether bytes are one whole value of Universal Binary JSON, before a native library reads them.

XGBoost reads lengths from the file and copies as many bytes, wherever they lie: of a file that was cut it reads past
the end, which now and then ends the process instead of raising an error. Here each length is held against what is
left. The format is of https://ubjson.org/type-reference/ in the dialect that XGBoost writes: big-endian, lengths are
always 64-bit integers, keys have no marker, a counted array has no closing bracket.
"""

from __future__ import annotations

import struct

from mainspring.core.errors import Corrupt

DEPTH = 64
"""How deep values may lie in each other; a model of XGBoost needs 8."""
_SIZES = {b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_ALONE = (b"Z", b"T", b"F")


def check(data: bytes, where: str) -> None:
    """Walk over the whole value, keeping nothing of it.

    Args:
        data: What is said to be one value.
        where: The file it is of, for the error.

    Raises:
        Corrupt: It is cut, has more behind its end, is nested more than `DEPTH` deep or knows a marker nobody writes.

    Examples:
        >>> check(b"{L" + bytes(7) + b"\\x01ai\\x07}", "model.ubj")
        >>> check(b"{L" + bytes(7) + b"\\x09a", "model.ubj")
        Traceback (most recent call last):
        mainspring.core.errors.Corrupt: at byte 10 a length of 9 is given, 1 is left
        where: model.ubj
    """
    walk = _Walk(data, where)
    walk.value(DEPTH)
    if walk.at != len(data):
        raise Corrupt(f"{len(data) - walk.at} bytes follow the end of the model", where=where)


class _Walk:
    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self.at = 0

    def value(self, depth: int) -> None:
        """Step over one value."""
        marker = self._take(1)
        if size := _SIZES.get(marker):
            self._skip(size)
        elif marker == b"S":
            self._text()
        elif marker in (b"{", b"["):
            if not depth:
                raise Corrupt(f"nested more than {DEPTH} deep at byte {self.at}", where=self._where)
            (self._object if marker == b"{" else self._array)(depth - 1)
        elif marker not in _ALONE:
            raise Corrupt(f"no value begins with {marker!r}, at byte {self.at - 1}", where=self._where)

    def _object(self, depth: int) -> None:
        while not self._over(b"}"):
            self._text()
            self.value(depth)

    def _array(self, depth: int) -> None:
        if self._over(b"$"):
            size = _SIZES.get(marker := self._take(1))
            if size is None:
                raise Corrupt(f"no array is of {marker!r}, at byte {self.at - 1}", where=self._where)
            self._expect(b"#")
            self._skip(self._length() * size)
        elif self._over(b"#"):
            for _ in range(self._length()):
                self.value(depth)
        else:
            while not self._over(b"]"):
                self.value(depth)

    def _text(self) -> None:
        self._skip(self._length())

    def _length(self) -> int:
        self._expect(b"L")
        length: int = struct.unpack(">q", self._take(8))[0]
        return length

    def _expect(self, marker: bytes) -> None:
        if (found := self._take(1)) != marker:
            raise Corrupt(f"{found!r} at byte {self.at - 1}, where {marker!r} was expected", where=self._where)

    def _over(self, marker: bytes) -> bool:
        there = self._data[self.at : self.at + 1] == marker
        self.at += there
        return there

    def _take(self, size: int) -> bytes:
        start = self.at
        self._skip(size)
        return self._data[start : self.at]

    def _skip(self, size: int) -> None:
        left = len(self._data) - self.at
        if not 0 <= size <= left:
            raise Corrupt(f"at byte {self.at} a length of {size} is given, {left} is left", where=self._where)
        self.at += size
