"""Bytes as they are."""

from __future__ import annotations

from pathlib import Path
from typing import cast

NAME = "bytes"


def takes(value: object) -> bool:
    """Whether it is `bytes`."""
    return type(value) is bytes


def write(value: object, path: Path) -> None:
    """Write the bytes."""
    path.write_bytes(cast(bytes, value))


def read(path: Path) -> object:
    """The bytes."""
    return path.read_bytes()
