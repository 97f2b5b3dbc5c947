"""A reference to a dataset version, `Dataset("datasets/flights/3")`: the rows stay where they are."""

from __future__ import annotations

from pathlib import Path

from mainspring.pipelines.model import Dataset

NAME = "dataset"


def takes(value: object) -> bool:
    """Whether it is such a reference."""
    return isinstance(value, Dataset)


def write(value: object, path: Path) -> None:
    """Write the reference."""
    path.write_text(str(value), encoding="utf-8")


def read(path: Path) -> object:
    """The reference."""
    return Dataset(path.read_text(encoding="utf-8"))
