"""Records by key in one file, made once and read through a memory map: workers share its pages, whatever its size.

The file ends with what is needed to read it: the records as they came, the hashes of their keys in order, where each
record begins, and a head that says what it is about. So it is written in one go, and a part of it is no such file.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from mainspring.core.errors import Corrupt, NotFound

Key = Sequence[str | int | bool]
_MAGIC = b"MSKEYED1"
_FOOT = struct.Struct("<QI8s")
_SIZE = struct.Struct("<I")
_WORD = 8
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[object]).decode


def write_keyed(path: Path, about: Mapping[str, object], records: Iterable[tuple[Key, object]]) -> int:
    """Put records into a new file, whole or not at all; who reads the file before keeps reading that.

    Args:
        path: The file; what is there is replaced at once.
        about: Plain JSON that says what the records are.
        records: Keys, each of them once, and plain values.
    Returns: How many there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    hashes, starts, at = array("Q"), array("Q"), 0
    try:
        with part.open("wb") as file:
            for key, value in records:
                packed = _pack([list(key), value])
                hashes.append(_hash(key))
                starts.append(at)
                at += file.write(_SIZE.pack(len(packed))) + file.write(packed)
            file.write(bytes(-at % _WORD))
            for column in _in_order(hashes, starts):
                file.write(column)
            head = json.dumps(dict(about)).encode()
            file.write(head)
            file.write(_FOOT.pack(len(hashes), len(head), _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return len(hashes)


def _in_order(hashes: array[int], starts: array[int]) -> tuple[bytes, bytes]:
    from numpy import argsort, frombuffer, uint64

    found, begins = frombuffer(hashes, dtype=uint64), frombuffer(starts, dtype=uint64)
    order = argsort(found, kind="stable")
    return found[order].tobytes(), begins[order].tobytes()


def _hash(key: Key) -> int:
    return int.from_bytes(hashlib.blake2b(_pack(key), digest_size=_WORD).digest(), "little")


class KeyedFile:
    """A file of records, looked up by key. Safe to share between threads.

    Attributes:
        path: Where it is.
        about: What was said of the records.

    Raises:
        NotFound: There is no such file.
        Corrupt: It is no such file, or not all of one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.stamp = _stamp(os.fstat(file.fileno()))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._view = memoryview(self._map)
            count, head, magic = _FOOT.unpack(self._view[-_FOOT.size :])
            ends = len(self._view) - _FOOT.size - head
            starts = ends - _WORD * count
            hashes = starts - _WORD * count
            if magic != _MAGIC or hashes < 0:
                raise ValueError("it does not end like one")
            self.about = cast("dict[str, object]", json.loads(bytes(self._view[ends : ends + head])))
            self._starts = self._view[starts:ends].cast("Q")
            self._hashes = self._view[hashes:starts].cast("Q")
        except FileNotFoundError:
            raise NotFound("there is no file of records", where=str(path)) from None
        except (ValueError, struct.error) as reason:
            raise Corrupt(f"no file of records: {reason}", where=str(path), hint="make it anew") from None

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, key: Key) -> list[object] | None:
        """The value under a key, which is a list of plain values; None where there is none."""
        wanted, asked = _hash(key), list(key)
        at = bisect_left(self._hashes, wanted)
        while at < len(self._hashes) and self._hashes[at] == wanted:
            start = self._starts[at] + _SIZE.size
            (size,) = _SIZE.unpack_from(self._map, start - _SIZE.size)
            found, value = _unpack(self._view[start : start + size])
            if found == asked:
                return cast("list[object]", value)
            at += 1
        return None

    @property
    def is_newest(self) -> bool:
        """Whether no other file took its place since; one that was taken away counts as the newest still."""
        try:
            return _stamp(self.path.stat()) == self.stamp
        except OSError:
            return True


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_ino, stat.st_mtime_ns
