"""What windows of inputs are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch, Grid, Profile, Sketch
from mainspring.data.sketch.derivation import Derivation, VectorColumn
from mainspring.monitoring.rules import dispersion, rates
from mainspring.monitoring.rules.causes import Days
from mainspring.monitoring.rules.statistics.samples import choice_of_levels

Floats = NDArray[np.float64]
_RISK = 0.01


@dataclass(frozen=True)
class Reference:
    """What windows of inputs are compared with: the profile of the training data, with the inputs of the model only."""

    profile: Profile

    @cached_property
    def _learnt(self) -> tuple[dispersion.Usual, list[dispersion.Season | None]]:
        columns = len(self.profile.grid.columns)
        known = dispersion.learn(self.profile.windows, self.profile.sketch.rows) if self.profile.windows else None
        return known or (dispersion.unknown(columns), [None] * columns)

    @property
    def usual(self) -> dispersion.Usual:
        """How much windows differ although nothing changed."""
        return self._learnt[0]

    @property
    def seasons(self) -> list[dispersion.Season | None]:
        """Columns that go with the day of the week."""
        return self._learnt[1]

    @cached_property
    def shares(self) -> list[Floats]:
        """What share of the rows is expected in each cell, per column, shape (cells + 2,) each."""
        return [_expected(column) for column in self.profile.sketch.columns]

    @cached_property
    def levels(self) -> Floats:
        """Levels of each column with a cell of their own or in common, 0 for numbers, shape (columns,)."""
        cells = self.profile.grid.columns
        return np.array([one.cells if one.kind == "categorical" else 0 for one in cells], np.float64)

    def expected(self, week: Floats) -> tuple[Floats, Floats]:
        """What is expected of rows, and how many rows it is known from.

        Of a column with a season it is what the days of the week had, each for as many rows as came on it: a day with
        few rows, as at the beginning of a rollout, says little of what there should be.

        Args:
            week: Rows of each column by day of the week, shape (columns, 7).
        Returns: Shares up to each cell, shape (columns, widest column), and rows, shape (columns,). Both may be shared
            with others who ask: they are not to be changed.
        """
        shares, known = self._of_any_day
        if not self._seasonal.size:
            return shares, known
        shares, known, mine = shares.copy(), known.copy(), week[self._seasonal]
        rows, by_day = self._by_day
        weight = np.where(mine.sum(1, keepdims=True) > 0, mine, 1.0)
        weight /= weight.sum(1, keepdims=True)
        shares[self._seasonal] = np.matmul(weight[:, None, :], by_day)[:, 0]
        known[self._seasonal] = 1 / (weight**2 / rows).sum(1)
        return shares, known

    @cached_property
    def _seasonal(self) -> NDArray[np.int64]:
        return np.array([i for i, one in enumerate(self.seasons) if one is not None], np.int64)

    @cached_property
    def _by_day(self) -> tuple[Floats, Floats]:
        """Of columns with a season: rows by day of the week, shape (columns, 7), and shares up to each cell."""
        width = self._of_any_day[0].shape[1]
        counts = [one.counts for one in self.seasons if one is not None]
        rows = np.stack([one.sum(1) for one in counts])
        shares = [np.pad(one / one.sum(1)[:, None], ((0, 0), (0, width - one.shape[1]))) for one in counts]
        return rows, np.cumsum(np.stack(shares), axis=2)

    @cached_property
    def _of_any_day(self) -> tuple[Floats, Floats]:
        rows = np.array([column.rows for column in self.profile.sketch.columns], np.float64)
        return dispersion.cumulated(self.shares), rows

    def days_of(self, at: int) -> Days | None:
        """The single days of a column, for a season to be seen in it; None without any that has rows."""
        if at not in self._days_of:
            self._days_of[at] = Days.of([(one.start, one.sketch.columns[at]) for one in self.profile.windows])
        return self._days_of[at]

    @cached_property
    def _days_of(self) -> dict[int, Days | None]:
        return {}

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

    @property
    def vectors(self) -> tuple[VectorColumn, ...]:
        """The inputs that are vectors."""
        return tuple(one for one in self.profile.grid.derivations if isinstance(one, VectorColumn))

    @property
    def days(self) -> int:
        """How many windows the reference has that tell how windows differ."""
        return len(self.profile.windows)

    @classmethod
    def of(cls, profile: Profile, inputs: Sequence[str]) -> Reference:
        """The columns of a profile that a model takes, and those that stand for its texts and vectors.

        Numbered inputs that are the places of a vector are watched as one: a single place says nothing.
        """
        derivations = tuple(one for one in profile.grid.derivations if _is_taken(one, inputs))
        whole = [one for one in derivations if isinstance(one, VectorColumn) and one.places]
        wanted = {*inputs, *(one.name for one in derivations)}.difference(*(one.places for one in whole))
        kept = [i for i, one in enumerate(profile.grid.columns) if (one.source or one.name) in wanted]
        grid = Grid(tuple(profile.grid.columns[i] for i in kept), derivations)

        def part(sketch: Sketch) -> Sketch:
            return Sketch(grid, sketch.rows, tuple(sketch.columns[i] for i in kept))

        windows = tuple(type(window)(window.start, window.end, part(window.sketch)) for window in profile.windows)
        return cls(Profile(grid, part(profile.sketch), windows))


def _is_taken(one: Derivation, inputs: Sequence[str]) -> bool:
    places = one.places if isinstance(one, VectorColumn) else ()
    return set(places).issubset(inputs) if places else one.name in inputs


def _expected(column: ColumnSketch) -> Floats:
    """Shares by cell; levels without a cell are expected as often as they are once the luck of the others is over."""
    counts = dispersion.cells_of(column)
    if column.cells.kind == "categorical" and column.present:
        rise = choice_of_levels(column) * column.present
        known = counts[:-3].sum()
        counts[:-3] *= max(0.0, 1 - rise / max(known, 1.0))
        counts[-3] += min(rise, known)
    return np.asarray(counts / max(column.rows, 1), np.float64)


def _gone(column: ColumnSketch) -> float:
    """Rows without a value that can be read."""
    return float(column.nulls + column.invalid)
