"""Estimation where the inputs moved: labelled rows are weighted so that they look like the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mainspring.core.scores import CELLS, score_cells
from mainspring.core.values import dataclass
from mainspring.monitoring.rules.estimating.calibrating import LEAST_ROWS, Counted
from mainspring.monitoring.rules.measuring import Floats

if TYPE_CHECKING:
    import polars as pl

CLIP = 20.0
"""The largest density ratio that is believed: beyond it a handful of rows would speak for all."""
_FOLDS = 3
_LEVELS = 30


@dataclass(frozen=True, eq=False)
class Weights:
    """How much each labelled row speaks for the window.

    Attributes:
        values: Density ratios, of mean 1, shape (rows,).
        effective: Rows without weights that are worth as much.
        clipped: Rows whose ratio was held at the limit.
    """

    values: Floats
    effective: float
    clipped: int


def effective_rows(weights: Floats) -> float:
    """How many equal rows these weighted ones are worth.

    Source: Kish (1965), Survey Sampling, section 11.7.

    >>> effective_rows(np.array([1.0, 1.0, 1.0, 0.0]))
    3.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def density_ratio(reference: pl.DataFrame, window: pl.DataFrame, *, seed: int = 0) -> Weights:
    """How much more frequent rows like each reference row are in the window than in the reference.

    A classifier learns to tell the two tables apart; its odds, on rows it did not see, are the ratio.

    Args:
        reference: The inputs of labelled rows.
        window: The same columns of rows without labels.
        seed: Of the classifier and the folds.
    Source: Bickel, Brueckner, Scheffer (2009), Discriminative learning under covariate shift, section 4; Sugiyama,
        Suzuki, Kanamori (2012), Density Ratio Estimation in Machine Learning, section 4.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    rows, categories = matrix([reference, window])
    is_window = np.repeat([0, 1], [reference.height, window.height])
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=50, categorical_features=categories, random_state=seed
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # threads that wait for a busy processor cost many times what they win
        chance = cross_val_predict(model, rows, is_window, cv=folds, method="predict_proba")[: reference.height, 1]
    odds = chance / np.maximum(1 - chance, 1e-9) * (reference.height / max(window.height, 1))
    clipped = int((odds > CLIP).sum())
    odds = np.minimum(odds, CLIP)
    values = odds / max(float(odds.mean()), 1e-12)
    return Weights(values, effective_rows(values), clipped)


def matrix(frames: list[pl.DataFrame]) -> tuple[Floats, list[bool]]:
    """Tables of the same columns below each other as numbers, and which columns are codes of levels.

    Numbers stay as they are, levels become codes of the 30 most frequent ones, everything else is left out.
    """
    import polars as pl

    names = [name for name in frames[0].columns if all(name in frame.columns for frame in frames)]
    whole = pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")
    columns: list[Floats] = []
    categories: list[bool] = []
    for name in names:
        column = whole[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            columns.append(column.cast(pl.Float64).to_numpy())
            categories.append(False)
        elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
            texts = column.cast(pl.String)
            known = texts.drop_nulls().value_counts(sort=True)[name].head(_LEVELS).to_list()
            codes = {level: float(code) for code, level in enumerate(known)}
            columns.append(texts.replace_strict(codes, default=float(_LEVELS), return_dtype=pl.Float64).to_numpy())
            categories.append(True)
    if not columns:
        return np.zeros((whole.height, 1)), [False]
    return np.column_stack(columns), categories


def weighted(scores: Floats, truth: Floats, weights: Weights) -> Counted | str:
    """Labelled rows with their weights, counted in cells, to calibrate on; or why they can't be.

    Args:
        scores: Probabilities of class 1, shape (rows,).
        truth: 0 or 1.
        weights: Of the same rows.
    """
    if weights.effective < LEAST_ROWS:
        return f"{weights.effective:.0f} effective rows like those of the window, {LEAST_ROWS} are needed"
    cells = score_cells(scores)
    parts = [np.bincount(cells, weights=w, minlength=CELLS).astype(np.float64) for w in
             (weights.values * (1 - truth), weights.values * truth, weights.values * scores)]  # fmt: skip
    return Counted(*parts)
