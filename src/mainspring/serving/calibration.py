"""How far off a version is on held-out rows, found once and kept: neither changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.canonical import digest
from mainspring.core.errors import Invalid, Refused, did_you_mean
from mainspring.registry import folder_name
from mainspring.serving.rules.conformal import Interval, chances_of, half_width, strangeness
from mainspring.serving.seen import keep_file

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.registry import ModelVersion, Registry
    from mainspring.serving.modelserver.plan import Options


class Calibrations:
    """Half widths of intervals, and how unlikely a class of a set may be.

    Args:
        folder: Where they are kept, a file for each version and interval.
        registry: Loads versions.
        data: Has the held-out rows.
    """

    def __init__(self, folder: Path, registry: Registry, data: Data | None) -> None:
        self._folder, self._registry, self._data = folder, registry, data

    def of(self, version: ModelVersion, interval: Interval) -> float:
        """Half of the width of a version's interval; of a classifier, how unlikely a class in its sets may be.

        Raises:
            NotFound: There is no such dataset.
            Invalid: The rows do not fit the version, or are too few.
            Refused: The version was trained on these very rows.
        """
        name = digest(msgspec.json.encode([version.digest, interval]))
        path = self._folder / f"{folder_name(version.model)}-{version.number}-{name[:16]}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=float)
        except FileNotFoundError:
            found = half_width(self._residuals(version, interval), interval.coverage)
        keep_file(path, msgspec.json.encode(found))
        return found

    def pinned(self, options: Options) -> Options:
        """The options with the very version of the held-out rows, so that later ones change nothing.

        Raises:
            NotFound: There is no such dataset.
        """
        if options.interval is None or self._data is None:
            return options
        held_out = self._data.resolve(options.interval.data)
        return replace(options, interval=replace(options.interval, data=held_out.ref))

    def _residuals(self, version: ModelVersion, interval: Interval) -> list[float]:
        import polars as pl

        if self._data is None:
            raise Invalid("there is no data to calibrate on", where="interval", hint="open the house with its data")
        held_out = self._data.resolve(interval.data)
        if held_out.ref in (*version.datasets, version.reference):
            hint = "hold rows out: on its own training data a model looks better than it is"
            raise Refused(f"{version.ref} was trained on {held_out.ref}", where="interval", hint=hint)
        rows = self._data.frame(held_out.dataset, held_out.number)
        names = rows.collect_schema().names()
        for column in (interval.label, *version.columns):
            if column not in names:
                hint = did_you_mean(column, names) or f"it has {', '.join(names[:20])}"
                raise Invalid(f"no column {column!r}", where=interval.data, hint=hint)
        table = rows.select(*dict.fromkeys([*version.columns, interval.label])).collect()
        answers = self._registry.load(version.model, version.number).predict(table.select(version.columns))
        if version.task != "regression":
            return _strange(version, answers["probability"].tolist(), table[interval.label].to_list())
        truth = table[interval.label].cast(pl.Float64, strict=False)
        residuals = (truth - pl.Series(answers["prediction"])).abs()
        return residuals.filter(residuals.is_finite()).to_list()


def _strange(version: ModelVersion, found: list[float | list[float]], truths: list[object]) -> list[float]:
    """How unlikely each truth was; rows without one are left out."""
    rows = zip(found, truths, strict=True)
    return [strangeness(chances_of(chance), truth, version.classes) for chance, truth in rows if truth is not None]
