"""What training saw of the inputs of a version, found once and kept: a version never changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.errors import NotFound
from mainspring.registry import folder_name
from mainspring.serving.rules.humility import Seen, is_number, is_text

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.data.sketch import ColumnSketch
    from mainspring.registry import ModelVersion

Means = dict[str, float | dict[str, float]]
_OF_LINEAR = ("sklearn", "composed")
_MAX_LEVELS = 10_000
"""A text with more levels is no category, and a rule about it has to list them."""


class SeenStore:
    """Ranges and texts of the data that versions were trained on.

    Args:
        folder: Where they are kept, a file for each version.
        data: Has the rows; None knows nothing of any version.
    """

    def __init__(self, folder: Path, data: Data | None) -> None:
        self._folder = folder
        self._data = data
        self._means: dict[str, Means] = {}

    def of(self, version: ModelVersion) -> dict[str, Seen]:
        """What the reference dataset of a version has of its inputs; nothing of what is not there."""
        path = self._folder / f"{folder_name(version.model)}-{version.number}-{version.digest[:16]}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Seen])
        except FileNotFoundError:
            found = self._look(version)
        if found:
            keep_file(path, msgspec.json.encode(found))
        return found

    def means(self, version: ModelVersion) -> Means:
        """The mean of each number and the share of each text in the data a version was trained on, by its profile.

        Only for formats that may hold linear models, whose reason codes start there.
        """
        if self._data is None or not version.reference or version.flavour not in _OF_LINEAR:
            return {}
        if version.digest not in self._means:
            try:
                dataset = self._data.resolve(version.reference)
                profile = self._data.profile(dataset.dataset, dataset.number)
            except NotFound:
                return {}
            found = {name: _mean(profile.sketch.column(name)) for name in version.columns}
            self._means[version.digest] = {name: mean for name, mean in found.items() if mean is not None}
        return self._means[version.digest]

    def _look(self, version: ModelVersion) -> dict[str, Seen]:
        import polars as pl

        if self._data is None or not version.reference:
            return {}
        try:
            dataset = self._data.resolve(version.reference)
            rows = self._data.frame(dataset.dataset, dataset.number)
        except NotFound:
            return {}
        there = rows.collect_schema()
        numbers = [c.name for c in version.inputs if is_number(c) and c.name in there and there[c.name].is_numeric()]
        texts = [c.name for c in version.inputs if is_text(c) and there.get(c.name) == pl.String]
        found = {}
        if numbers:
            values = [pl.col(name).cast(pl.Float64) for name in numbers]
            low = rows.select(value.min() for value in values).collect().row(0, named=True)
            high = rows.select(value.max() for value in values).collect().row(0, named=True)
            found = {name: Seen(low[name], high[name]) for name in numbers if low[name] is not None}
        for name in texts:
            levels = rows.select(pl.col(name).drop_nulls().unique()).head(_MAX_LEVELS + 1).collect()[name].sort()
            if 0 < len(levels) <= _MAX_LEVELS:
                found[name] = Seen(levels=tuple(levels.to_list()))
        return found


def _mean(column: ColumnSketch | None) -> float | dict[str, float] | None:
    if column is None or not column.present:
        return None
    if column.cells.kind != "categorical":
        return column.mean
    return {level: count / column.present for level, count in column.levels().items() if count}


def keep_file(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, and may be lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)  # not synced: what is lost is looked up again
    part.replace(path)
