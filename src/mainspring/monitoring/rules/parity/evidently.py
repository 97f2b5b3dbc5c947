"""The drift scores of Evidently 0.7.23 at its defaults."""

from __future__ import annotations

import numpy as np
import polars as pl

from mainspring.monitoring.rules.parity import Scores, finite
from mainspring.monitoring.rules.parity.rows import Counts, jensen_shannon, level_counts, numbers, paired

SAYS = "Evidently 0.7.23: a p-value up to 1,000 reference rows, a distance above"
_SMALL = 1000
_FEW = 5
_WHOLE_LEVELS = 10
_LEAST_DEVIATION = 0.001


def scores(reference: pl.Series, current: pl.Series) -> Scores:
    """One measure, chosen by the rows of the reference and the number of distinct values.

    Up to 1,000 rows, the p-value of Kolmogorov and Smirnov for numbers, of chi-squared (the reference taken as exact)
    for levels, of a z-test for two of them; above, the Wasserstein distance over the standard deviation, which is at
    least 0.001, and the Jensen-Shannon distance in nats. Whole numbers of at most 10 values are levels.
    """
    if _is_number(current):
        return _of_numbers(reference, current)
    if current.dtype == pl.String and current.drop_nulls().n_unique() > current.drop_nulls().len() / 2:
        return {}  # text, for which it fits a classifier
    if current.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean) or current.dtype.is_integer():
        before, now = level_counts(reference), level_counts(current)
        if not before or not now:
            return {"none": (None,)}
        return _of_levels(*paired(before, now))
    return {}


def _is_number(current: pl.Series) -> bool:
    return current.dtype.is_float() or (current.dtype.is_integer() and current.drop_nulls().n_unique() > _WHOLE_LEVELS)


def _of_numbers(reference: pl.Series, current: pl.Series) -> Scores:
    before, now = numbers(reference), numbers(current)
    if not len(before) or not len(now):
        return {"none": (None,)}
    distinct = np.unique(np.concatenate([before, now]))
    if len(distinct) <= _FEW:
        return _of_levels(*(np.array([(side == level).sum() for level in distinct], float) for side in (before, now)))
    from scipy import stats

    if len(before) <= _SMALL:
        return {"K-S p_value": finite([stats.ks_2samp(before, now).pvalue])}
    scale = max(float(np.std(before)), _LEAST_DEVIATION)
    return {"Wasserstein distance (normed)": finite([stats.wasserstein_distance(before, now) / scale])}


def _of_levels(before: Counts, now: Counts) -> Scores:
    if before.sum() > _SMALL:
        return {"Jensen-Shannon distance": finite([jensen_shannon(before, now, np.e)])}
    if len(before) <= 2:
        return {"Z-test p_value": finite([_z_test(before, now)])}
    from scipy.special import gammaincc

    expected = before * (now.sum() / before.sum())
    with np.errstate(divide="ignore"):
        statistic = float((np.square(now - expected) / expected).sum())
    return {"chi-square p_value": finite([float(gammaincc((len(before) - 1) / 2, statistic / 2))])}


def _z_test(before: Counts, now: Counts) -> float:
    if len(before) == 1:
        return 1.0
    from scipy.special import ndtr

    n, m = before.sum(), now.sum()
    p, q = before[1] / n, now[1] / m
    pooled = (p * n + q * m) / (n + m)
    return float(2 * (1 - ndtr(abs(p - q) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))))
