"""Which rows a model is worst on: slices of one and two columns, with the false ones under control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, cast

from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

LEAST_ROWS = 50
_LEVELS = 20
_PARTS = 4
_MOST_COLUMNS = 24
_MISSING = "missing"
_LOSS, _ROWS, _SUM, _SQUARES = "\x1floss", "\x1frows", "\x1fsum", "\x1fsquares"
"""Columns beside those of the inputs, under names that these do not have."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows on which the loss is proved to be greater than on all others.

    Attributes:
        name: Such as "carrier is AA" or "hour in (12, 17]", two of them joined by "and".
        columns: The columns it is made of.
        rows: Labelled rows in it.
        loss: Mean loss of these.
        rest: Mean loss of all others.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        p: One-sided p-value of "no worse than the rest".
        excess: Loss of all rows together that would be spared if these were like the rest, as a share.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    loss: float
    rest: float
    low: float
    high: float
    p: float
    excess: float

    @property
    def difference(self) -> float:
        """How much worse it is than the rest."""
        return self.loss - self.rest


def worst_slices(inputs: pl.DataFrame, losses: NDArray[np.float64], *, q: float = 0.05, most: int = 10) -> list[Slice]:
    """The slices on which a model does worse than elsewhere, the worst first.

    Every level (of the 20 most frequent) and every quarter of a column of numbers is a slice, and so is every pair of
    them of two columns. Slices under 50 rows are not looked at. Of what is given back, a share of at most `q` is false
    on average, however the slices depend on each other. A pair that is no worse than one of its parts is left out.

    Args:
        inputs: What the model was asked, one row a prediction.
        losses: What each row lost, shape (rows,).
        q: Share of false slices that is accepted.
        most: How many are given back at most.
    Source: Benjamini, Yekutieli (2001), The control of the false discovery rate under dependency; Welch (1947).
    """
    import polars as pl

    levels = _levels(inputs)
    names = levels.columns[:_MOST_COLUMNS]
    if not names:
        return []
    rows = levels.select(names).with_columns(pl.Series(_LOSS, losses)).filter(pl.col(_LOSS).is_finite())
    if rows.height < 2 * LEAST_ROWS:
        return []
    groups = [(name,) for name in names] + list(combinations(names, 2))
    found = [one for columns in groups for one in _of(rows, columns)]
    limit = _limit([one.p for one in found], q)
    proved = [one for one in found if one.p <= limit]
    return sorted(_without_echoes(proved), key=lambda one: (-one.excess, one.name))[:most]


def _limit(p_values: Sequence[float], q: float) -> float:
    """The largest p-value that counts, by Benjamini and Yekutieli; below 0 when none does."""
    share = q / math.fsum(1 / place for place in range(1, len(p_values) + 1)) if p_values else 0.0
    ordered = enumerate(sorted(p_values), start=1)
    return max((p for place, p in ordered if p <= share * place / len(p_values)), default=-1.0)


def _levels(inputs: pl.DataFrame) -> pl.DataFrame:
    """Each column as a text that says in which part of it a row lies; columns of one part are left out."""
    import polars as pl

    columns = []
    for column in inputs.get_columns():
        if column.dtype.is_numeric():
            parts = _quarters(column)
        elif column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
            parts = _frequent(column.cast(pl.String))
        else:
            continue
        if parts.n_unique() > 1:
            columns.append(parts.rename(column.name))
    return pl.DataFrame(columns)


def _frequent(column: pl.Series) -> pl.Series:
    import polars as pl

    name = column.name
    known = column.drop_nulls().value_counts(sort=True)[name].head(_LEVELS).to_list()
    said = (
        pl.when(pl.col(name).is_null())
        .then(pl.lit(f"{name} is {_MISSING}"))
        .when(pl.col(name).is_in(known))
        .then(pl.concat_str(pl.lit(f"{name} is "), pl.col(name)))
    )
    return column.to_frame().select(said.otherwise(pl.lit(f"{name} is another")).alias(name))[name]


def _quarters(column: pl.Series) -> pl.Series:
    import numpy as np
    import polars as pl

    name, values = column.name, column.cast(pl.Float64).fill_nan(None)
    quantiles = [values.quantile(part / _PARTS) for part in range(1, _PARTS)]
    cuts = sorted({cut for cut in quantiles if cut is not None and math.isfinite(cut)})
    if cuts and values.max() == cuts[-1]:
        cuts.pop()
    if not cuts:
        return pl.select(
            pl.when(values.is_null()).then(pl.lit(f"{name} is {_MISSING}")).otherwise(pl.lit(f"{name} is known"))
        ).to_series()
    labels = [f"{name} up to {cuts[0]:.4g}"]
    labels += [f"{name} in ({low:.4g}, {high:.4g}]" for low, high in pairwise(cuts)]
    labels.append(f"{name} over {cuts[-1]:.4g}")
    if len(set(labels)) < len(labels):  # cuts that look alike in four digits
        labels = [f"{name} in part {place} of {len(labels)}" for place in range(1, len(labels) + 1)]
    places = np.searchsorted(cuts, values.fill_null(0.0).to_numpy(), side="left")
    missing = pl.Series([f"{name} is {_MISSING}"])
    return pl.Series(labels).gather(places).zip_with(values.is_not_null(), missing)


def _of(rows: pl.DataFrame, columns: Sequence[str]) -> list[Slice]:
    import polars as pl

    loss = pl.col(_LOSS)
    total, whole, squares = cast(
        "tuple[float, float, float]",
        rows.select(pl.len().alias(_ROWS), loss.sum().alias(_SUM), (loss**2).sum().alias(_SQUARES)).row(0),
    )
    grouped = rows.group_by(columns).agg(pl.len().alias(_ROWS), loss.sum().alias(_SUM), (loss**2).sum().alias(_SQUARES))
    enough = grouped.filter(pl.col(_ROWS) >= LEAST_ROWS, pl.col(_ROWS) <= total - LEAST_ROWS)
    return [
        _slice(columns, [str(level) for level in levels], (n, s, q), (total - n, whole - s, squares - q))
        for *levels, n, s, q in enough.sort(columns).iter_rows()
    ]


def _slice(
    columns: Sequence[str],
    levels: Sequence[str],
    mine: tuple[int, float, float],
    others: tuple[float, float, float],
) -> Slice:
    (n, mean, spread), (m, rest, wide) = _moments(*mine), _moments(*others)
    error = math.sqrt(spread / n + wide / m)
    difference = mean - rest
    p = 0.5 * math.erfc(difference / error / math.sqrt(2)) if error > 0 else float(difference <= 0)
    reach = 1.959963984540054 * error
    whole = mine[1] + others[1]
    excess = difference * n / whole if whole > 0 else 0.0
    return Slice(
        " and ".join(levels), tuple(columns), int(n), mean, rest, difference - reach, difference + reach, p, excess
    )


def _moments(rows: float, total: float, squares: float) -> tuple[float, float, float]:
    mean = total / rows
    return rows, mean, max(0.0, squares / rows - mean * mean) * rows / max(rows - 1, 1)


def _without_echoes(proved: Sequence[Slice]) -> list[Slice]:
    """Without pairs that one of their parts tells already: those whose interval reaches that part's difference."""
    singles = {one.name: one for one in proved if len(one.columns) == 1}
    return [
        one
        for one in proved
        if len(one.columns) == 1
        or all(part not in singles or one.low > singles[part].difference for part in one.name.split(" and "))
    ]
