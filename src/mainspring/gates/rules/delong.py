"""The area under the ROC curve of two models on the same rows, and how sure we are of their difference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.bootstrap import Grouping
from mainspring.gates.rules.finding import LEAST_PER_CLASS, NORMAL, Finding, tail

Floats = NDArray[np.float64]


def midranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing the mean of their ranks; shape as given.

    >>> midranks(np.array([10.0, 20.0, 20.0, 5.0])).tolist()
    [2.0, 3.5, 3.5, 1.0]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


@dataclass(frozen=True, slots=True)
class Placements:
    """The area under the curve and how each row contributes to it.

    Args:
        auc: Area under the ROC curve in [0, 1].
        influence: Shape (rows,): what each row adds to the error of the area; sums to 0 within each class.
        positives: Rows of class 1.
        negatives: Rows of class 0.
    """

    auc: float
    influence: Floats
    positives: int
    negatives: int


def placements(truth: Floats, score: Floats) -> Placements:
    """The AUC and its structural components in O(n log n).

    Args:
        truth: 0 or 1 per row, shape (rows,).
        score: Any number that grows with the belief in class 1, shape (rows,).
    Raises: Invalid: A class has too few rows for the normal approximation.
    Source: Sun & Xu (2014), "Fast implementation of DeLong's algorithm", equations 7 to 10.
    """
    positive = truth == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < LEAST_PER_CLASS:
        raise Invalid(
            f"roc_auc needs at least {LEAST_PER_CLASS} rows of each class, found {m} positive and {n} negative",
            hint="use a larger evaluation set",
        )
    ranks = midranks(score)
    v10 = (ranks[positive] - midranks(score[positive])) / n
    v01 = 1 - (ranks[~positive] - midranks(score[~positive])) / m
    auc = float(v10.mean())
    influence = np.empty(len(truth))
    influence[positive] = (v10 - auc) / np.sqrt(m * (m - 1))
    influence[~positive] = (v01 - auc) / np.sqrt(n * (n - 1))
    return Placements(auc, influence, m, n)


def variance(influence: Floats, grouping: Grouping | None = None) -> float:
    """Variance of the statistic whose rows contribute `influence`: DeLong's, or that of clusters and blocks of rows.

    Source: DeLong, DeLong & Clarke-Pearson (1988); for clusters Obuchowski (1997).
    """
    if grouping is None:
        return float(influence @ influence)
    units, draws = grouping.units(influence[:, None])
    return float(units.var(ddof=1) * draws)


def compare_auc(
    truth: Floats,
    candidate: Floats,
    champion: Floats,
    *,
    threshold: float,
    share: float = 1.0,
    alpha: float = 0.05,
    grouping: Grouping | None = None,
) -> Finding:
    """Tests whether the candidate's AUC minus `share` times the champion's lies above `threshold`.

    Args:
        truth: 0 or 1 per row, shape (rows,).
        candidate: Scores of the candidate, shape (rows,).
        champion: Scores of the champion on the same rows, shape (rows,).
        threshold: Minus the margin for non-inferiority, 0 for superiority.
        share: 1 for a plain difference; 0.98 for a margin of 2 % of the champion's AUC (then `threshold` is 0).
        alpha: One-sided level of the interval's ends.
        grouping: Rows that belong together; None when rows are independent.
    Raises: Invalid: Fewer than 10 rows of a class.

    >>> truth = np.tile([0.0, 1.0], 20)
    >>> round(compare_auc(truth, truth, truth, threshold=-0.1).value, 6)
    0.0
    """
    a, b = placements(truth, candidate), placements(truth, champion)
    value = a.auc - share * b.auc
    spread = variance(a.influence - share * b.influence, grouping) ** 0.5
    return _finding(
        value,
        spread,
        threshold=threshold,
        alpha=alpha,
        least=min(a.positives, a.negatives),
        n=len(truth),
        method="DeLong, paired",
    )


def auc_above(
    truth: Floats, score: Floats, *, floor: float, alpha: float = 0.05, grouping: Grouping | None = None
) -> Finding:
    """Tests whether the AUC of one model lies above `floor`. Arguments as in `compare_auc`.

    Near 1 the error of an area is skewed, so test and interval are those of its log odds.

    Source: Pepe (2003), "The statistical evaluation of medical tests", section 5.2.
    """
    a = placements(truth, score)
    spread = variance(a.influence, grouping) ** 0.5
    least = min(a.positives, a.negatives)
    found = _finding(a.auc, spread, threshold=floor, alpha=alpha, least=least, n=len(truth), method="DeLong")
    if spread <= 1e-12 or not (0 < a.auc < 1 and 0 < floor < 1):
        return found
    odds, width = _log_odds(a.auc), spread / (a.auc * (1 - a.auc))
    z, half = (odds - _log_odds(floor)) / width, NORMAL.inv_cdf(1 - alpha) * width
    low, high = (1 / (1 + math.exp(-end)) for end in (odds - half, odds + half))
    return replace(found, low=low, high=high, p_pass=tail(z), p_fail=tail(-z), method="DeLong, in log odds")


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _finding(value: float, se: float, *, threshold: float, alpha: float, least: int, n: int, method: str) -> Finding:
    """The normal test; without any spread, the chance of seeing none if exceptions were as frequent as the distance."""
    distance = value - threshold
    if se > 1e-12:
        z = NORMAL.inv_cdf(1 - alpha)
        return Finding(
            value=value,
            low=value - z * se,
            high=value + z * se,
            threshold=threshold,
            se=se,
            p_pass=tail(distance / se),
            p_fail=tail(-distance / se),
            n=n,
            method=method,
        )
    reach, rows = 1 - alpha ** (1 / least), _rows_without_spread(abs(distance), alpha)
    chance = (1 - min(abs(distance), 1.0)) ** least
    return Finding(
        value=value,
        low=value - reach,
        high=value + reach,
        threshold=threshold,
        n=n,
        method=method,
        p_pass=chance if distance > 0 else 1.0,
        p_fail=chance if distance < 0 else 1.0,
        enough=None if rows is None else math.ceil(n * rows / least),
        note="no spread was seen: the bound is that of a rate never observed",
    )


def _rows_without_spread(distance: float, alpha: float) -> int | None:
    """Rows of each class that, without one exception, show that exceptions are rarer than `distance`."""
    return math.ceil(math.log(alpha) / math.log(1 - distance)) if 0 < distance < 1 else None
