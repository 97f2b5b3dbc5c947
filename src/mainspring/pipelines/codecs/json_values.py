"""Plain JSON values, with NaN and infinities; dicts keep their order. What JSON would change is left to others."""

from __future__ import annotations

import json

NAME = "json"


def takes(value: object) -> bool:
    """Whether JSON gives back exactly this value: no tuples, no keys but text, no subclasses."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) is list:
        return all(map(takes, value))
    if type(value) is dict:
        return all(type(key) is str and takes(each) for key, each in value.items())
    return False


def pack(value: object) -> bytes:
    """JSON, one line."""
    return json.dumps(value, separators=(",", ":")).encode()


def unpack(data: bytes) -> object:
    """The value."""
    found: object = json.loads(data)
    return found
