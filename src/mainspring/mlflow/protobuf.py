"""Reading protobuf: as much of its wire format as spans of OpenTelemetry need, checked as any input is.

A message comes out as protobuf's own JSON form with snake_case names: bytes in base64, 64-bit numbers as numbers,
enumerations as words. What is not in its shape is skipped, as protobuf asks.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

MAX_DEPTH = 64
"""How deep messages may lie in one another."""
Plain = dict[str, object]
Shape = Mapping[int, "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a message.

    Args:
        name: Its snake_case name.
        kind: text, bytes, bool, int, double, fixed (a number of 4 or 8 bytes), word or message.
        words: Of `word`, what the numbers stand for.
        shape: Of `message`, the name of its shape.
        many: Whether it is a list.
    """

    name: str
    kind: str
    words: tuple[str, ...] = ()
    shape: str = ""
    many: bool = False


def read(data: bytes, shape: str, shapes: Mapping[str, Shape], depth: int = 0) -> Plain:
    """A message of a shape.

    Raises:
        Invalid: The bytes are no such message.
    """
    if depth > MAX_DEPTH:
        raise broken(f"messages lie more than {MAX_DEPTH} deep")
    found: Plain = {}
    for number, raw in fields(data):
        part = shapes[shape].get(number)
        if part is None:
            continue
        value = _value(part, raw, shapes, depth)
        if part.many:
            kept = found.setdefault(part.name, [])
            assert isinstance(kept, list)
            kept.append(value)
        else:
            found[part.name] = value
    return found


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: a number for a varint, else the bytes.

    >>> list(fields(bytes([8, 150, 1, 18, 1, 65])))
    [(1, 150), (2, b'A')]

    Raises:
        Invalid: The bytes are no message.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise broken("a field has the number 0")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise broken(f"wire type {kind}")
        if at + size > len(data):
            raise broken("the message ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def broken(why: str) -> Invalid:
    """The error that says that bytes are no message."""
    return Invalid(f"Invalid OpenTelemetry format: {why}", where="body", hint="send an ExportTraceServiceRequest")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise broken("a number does not end")
        byte = data[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return found & (2**64 - 1), at


def _value(part: Part, raw: int | bytes, shapes: Mapping[str, Shape], depth: int) -> object:
    if part.kind in ("bool", "int", "word"):
        if not isinstance(raw, int):
            raise broken(f"{part.name} is no number")
        return _whole(part, raw)
    if isinstance(raw, int):
        raise broken(f"{part.name} is a number")
    if part.kind == "message":
        return read(raw, part.shape, shapes, depth + 1)
    if part.kind == "text":
        try:
            return raw.decode().replace("\x00", "\ufffd")  # no database keeps NUL in a text
        except UnicodeDecodeError:
            raise broken(f"{part.name} is no text") from None
    if part.kind == "bytes":
        return base64.b64encode(raw).decode()
    return _fixed(part, raw)


def _whole(part: Part, raw: int) -> object:
    if part.kind == "bool":
        return raw != 0
    if part.kind == "word":
        return part.words[raw] if raw < len(part.words) else part.words[0]
    return raw - 2**64 if raw >= 2**63 else raw


def _fixed(part: Part, raw: bytes) -> object:
    if len(raw) not in ((8,) if part.kind == "double" else (4, 8)):
        raise broken(f"{part.name} has {len(raw)} bytes")
    if part.kind == "double":
        found: float = struct.unpack("<d", raw)[0]
        words = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
        return "NaN" if found != found else words.get(found, found)
    return int.from_bytes(raw, "little")
