"""Plain JSON values, with NaN and infinities; dicts keep their order. What JSON would change is left to others."""

from __future__ import annotations

import json
from pathlib import Path

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


def write(value: object, path: Path) -> None:
    """Write JSON, one line."""
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")


def read(path: Path) -> object:
    """The value."""
    found: object = json.loads(path.read_bytes())
    return found
