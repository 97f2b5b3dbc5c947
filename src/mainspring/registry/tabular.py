"""From the columns of a table to numbers, as the first step of a scikit-learn pipeline: the model takes raw columns.

It holds names, levels and medians, and reads nothing but the columns it is given, so a package may hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_LEVELS = 40
"""How many levels of a category get a column of their own; rarer ones share what an unknown level gets."""
_DAY_S = 86_400.0


class Tabular(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Makes numbers of numbers, categories, dates and texts, and of what is missing in them.

    Args:
        numbers: Columns of numbers and booleans.
        categories: Columns of text with few values.
        dates: Columns of text that hold ISO dates or times; a time without a zone counts as UTC.
        texts: Columns of free text: their length and their number of words.
        spread: A column for each level, and missing numbers replaced by the median with a mark beside them, for models
            that add up columns. Otherwise a category is the place of its level by frequency, and missing is NaN.
    """

    def __init__(
        self,
        numbers: Sequence[str] = (),
        categories: Sequence[str] = (),
        dates: Sequence[str] = (),
        texts: Sequence[str] = (),
        spread: bool = True,
    ) -> None:
        self.numbers = numbers
        self.categories = categories
        self.dates = dates
        self.texts = texts
        self.spread = spread

    def fit(self, X: pl.DataFrame, y: object = None) -> Tabular:  # noqa: N803  # the name scikit-learn calls it by
        """Learn levels, medians and which columns have gaps."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = len(X.columns)
        self.levels_ = {name: _frequent(X[name]) for name in self.categories}
        raw, names = self._raw(X)
        gaps = np.isnan(raw)
        self.medians_ = np.array(
            [np.median(column[~gap]) if not gap.all() else 0.0 for column, gap in zip(raw.T, gaps.T, strict=True)]
        )
        self.gaps_ = np.flatnonzero(gaps.any(axis=0))
        self.names_ = names
        return self

    def transform(self, X: pl.DataFrame) -> Floats:  # noqa: N803
        """The columns as numbers, shape (rows, columns)."""
        raw, _ = self._raw(X)
        if not self.spread:
            return np.column_stack([raw, *(self._codes(X, name) for name in self.categories)])
        gaps = np.isnan(raw)
        filled = np.where(gaps, self.medians_, raw)
        marks = gaps[:, self.gaps_].astype(np.float64)
        return np.column_stack([filled, marks, *(self._spread(X, name) for name in self.categories)])

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """What each column of numbers is."""
        names = list(self.names_)
        if not self.spread:
            return np.array([*names, *self.categories], dtype=object)
        names += [f"{self.names_[place]} is missing" for place in self.gaps_]
        names += [f"{name} = {level}" for name in self.categories for level in (*self.levels_[name], "another")]
        return np.array(names, dtype=object)

    def _raw(self, rows: pl.DataFrame) -> tuple[Floats, list[str]]:
        columns: list[Floats] = [_numbers(rows[name]) for name in self.numbers]
        names = list(self.numbers)
        for name in self.dates:
            columns += _calendar(rows[name].to_list())
            names += [f"{name}: {part}" for part in ("day", "month", "weekday", "hour")]
        for name in self.texts:
            columns += _measured(rows[name].to_list())
            names += [f"{name}: {part}" for part in ("length", "words")]
        return (np.column_stack(columns) if columns else np.empty((rows.height, 0))), names

    def _codes(self, rows: pl.DataFrame, name: str) -> Floats:
        places = {level: float(place) for place, level in enumerate(self.levels_[name])}
        other = float(len(places))
        return np.array([np.nan if v is None else places.get(v, other) for v in rows[name].to_list()], dtype=np.float64)

    def _spread(self, rows: pl.DataFrame, name: str) -> Floats:
        """A column a level, and one for other levels; a row without a value has zeros in all of them."""
        codes = self._codes(rows, name)
        found = np.zeros((len(codes), len(self.levels_[name]) + 1))
        known = np.flatnonzero(~np.isnan(codes))
        found[known, codes[known].astype(np.intp)] = 1.0
        return found


def _numbers(column: pl.Series) -> Floats:
    import polars as pl

    found = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


def _frequent(column: pl.Series) -> list[str]:
    """The most frequent levels, the most frequent first; of equally frequent ones the lesser text."""
    counts = column.drop_nulls().value_counts().rows()
    return [str(level) for level, _ in sorted(counts, key=lambda row: (-row[1], row[0]))[:MOST_LEVELS]]


def _calendar(texts: Sequence[str | None]) -> list[Floats]:
    """Days since 1970, month, weekday (Monday is 0) and hour; all missing for what is no date."""
    found = np.full((4, len(texts)), np.nan)
    known: dict[str, tuple[float, float, float, float]] = {}
    for place, text in enumerate(texts):
        if text is None:
            continue
        if text not in known:
            known[text] = _moment(text)
        found[:, place] = known[text]
    return list(found)


def _moment(text: str) -> tuple[float, float, float, float]:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return (np.nan,) * 4
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.timestamp() / _DAY_S, float(at.month), float(at.weekday()), at.hour + at.minute / 60


def _measured(texts: Sequence[str | None]) -> list[Floats]:
    found = [(np.nan, np.nan) if text is None else (float(len(text)), float(len(text.split()))) for text in texts]
    return list(cast("Floats", np.array(found, dtype=np.float64).reshape(-1, 2).T))
