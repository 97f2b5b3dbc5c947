"""What windows of inputs are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mainspring.data.sketch import ColumnSketch, Grid, Profile, Sketch
from mainspring.monitoring.rules import dispersion, rates

_RISK = 0.01


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of a column in a stretch of time.

    Attributes:
        shares: Share of the rows by cell, shape (cells + 2,).
        rows: How many rows of the reference tell so.
        dispersion: How much more windows vary than rows drawn independently, at least 1.
    """

    shares: NDArray[np.float64]
    rows: int
    dispersion: float


@dataclass(frozen=True)
class Reference:
    """What windows of inputs are compared with: the profile of the training data, with the inputs of the model only."""

    profile: Profile

    @cached_property
    def dispersions(self) -> list[float]:
        """How much more days vary than independent rows, per column."""
        return dispersion.dispersions(self.profile.windows) or [1.0] * len(self.profile.grid.columns)

    @cached_property
    def seasons(self) -> list[dispersion.Season | None]:
        """Columns that go with the day of the week."""
        return dispersion.seasons(self.profile.windows, self.dispersions)

    @cached_property
    def missing_dispersions(self) -> list[float]:
        """How much more the share of missing values varies between days than between rows, per column."""
        windows = self.profile.windows
        rows = np.array([window.sketch.rows for window in windows], np.float64)
        columns = range(len(self.profile.grid.columns))
        return [rates.rate_dispersion(np.array([_gone(w.sketch.columns[i]) for w in windows]), rows) for i in columns]

    @cached_property
    def missing_bars(self) -> list[float]:
        """The share of missing values that each column may have had all along, but for a risk of 1 % for all."""
        columns = self.profile.sketch.columns
        risk = _RISK / max(len(columns), 1)
        return [
            rates.upper_share(int(_gone(column)), column.rows, dispersion=phi, risk=risk)
            for column, phi in zip(columns, self.missing_dispersions, strict=True)
        ]

    def expected(self, at: int, start: int, end: int, rows: int) -> Expected:
        """What is expected of a column in a stretch of time.

        Args:
            at: Which column.
            start: First microsecond.
            end: First microsecond after it.
            rows: Rows that were seen in it.
        """
        base, season, phi = self.profile.sketch.columns[at], self.seasons[at], self.dispersions[at]
        if season is not None:
            shares, known = season.expected(start, end)
            return Expected(shares, known, season.dispersion)
        counts = dispersion.cells_of(base)
        phi = max(phi, dispersion.unlearnt(len(self.profile.windows), rows))
        return Expected(counts / max(base.rows, 1), base.rows, phi)

    @property
    def is_learnt(self) -> bool:
        """Whether there are enough windows to know how much they differ from each other."""
        return len(self.profile.windows) >= dispersion.REFERENCE_WINDOWS

    @classmethod
    def of(cls, profile: Profile, inputs: Sequence[str]) -> Reference:
        """The columns of a profile that a model takes."""
        kept = [i for i, column in enumerate(profile.grid.columns) if column.name in inputs]
        grid = Grid(tuple(profile.grid.columns[i] for i in kept))

        def part(sketch: Sketch) -> Sketch:
            return Sketch(grid, sketch.rows, tuple(sketch.columns[i] for i in kept))

        windows = tuple(type(window)(window.start, window.end, part(window.sketch)) for window in profile.windows)
        return cls(Profile(grid, part(profile.sketch), windows))


def _gone(column: ColumnSketch) -> float:
    """Rows without a value that can be read."""
    return float(column.nulls + column.invalid)
