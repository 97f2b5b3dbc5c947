"""Bytes as they are."""

from __future__ import annotations

from typing import cast

NAME = "bytes"


def takes(value: object) -> bool:
    """Whether it is `bytes`."""
    return type(value) is bytes


def pack(value: object) -> bytes:
    """The bytes."""
    return cast(bytes, value)


def unpack(data: bytes) -> object:
    """The bytes."""
    return data
