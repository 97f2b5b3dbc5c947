"""A reference to a dataset version, `Dataset("datasets/flights/3")`: the rows stay where they are."""

from __future__ import annotations

from mainspring.pipelines.model import Dataset

NAME = "dataset"


def takes(value: object) -> bool:
    """Whether it is such a reference."""
    return isinstance(value, Dataset)


def pack(value: object) -> bytes:
    """The reference."""
    return str(value).encode()


def unpack(data: bytes) -> object:
    """The reference."""
    return Dataset(data.decode())
