"""Whether a classifier can tell the two tables apart on rows it has not seen."""

from __future__ import annotations

import math

import numpy as np

from mainspring.monitoring.rules.multivariate.encoding import Floats
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, normal_tail

SAYS = "area under the ROC curve of telling the tables apart, on held-out rows; 0.5 is no difference"
_FOLDS = 3
_ROUNDS = 60
_QUIET = {"objective": "binary", "num_leaves": 15, "num_threads": 1, "deterministic": True, "verbose": -1}


def measure(reference: Floats, current: Floats, *, seed: int) -> Estimate:
    """Gradient boosting, each row scored by the model that was fitted without it.

    The interval treats the scores of a fold as given (DeLong). Folds are of the same size, and their areas are
    averaged, as scores of different models do not compare.

    Source: Lopez-Paz, Oquab (2017), Revisiting classifier two-sample tests; DeLong, DeLong, Clarke-Pearson (1988).
    """
    import lightgbm

    rng = np.random.default_rng(seed)
    features, labels = np.vstack([reference, current]), np.repeat([0, 1], [len(reference), len(current)])
    folds = np.concatenate([rng.permutation(np.arange(len(side)) % _FOLDS) for side in (reference, current)])
    weights = np.where(labels == 1, len(reference) / len(current), 1.0)
    areas = []
    for fold in range(_FOLDS):
        kept, held = folds != fold, folds == fold
        rows = lightgbm.Dataset(features[kept], labels[kept], weight=weights[kept], params=_QUIET)
        scores = lightgbm.train({**_QUIET, "seed": seed}, rows, _ROUNDS).predict(features[held], raw_score=True)
        scores = np.asarray(scores)
        areas.append(_area(scores[labels[held] == 0], scores[labels[held] == 1]))
    value = sum(area for area, _ in areas) / _FOLDS
    error = math.sqrt(sum(variance for _, variance in areas)) / _FOLDS
    at_null = math.sqrt((len(reference) + len(current) + _FOLDS) / (12 * len(reference) * len(current)))
    p = normal_tail((value - 0.5) / at_null) / 2 if value > 0.5 else 1.0
    return between(value, value - Z95 * max(error, at_null / 10), value + Z95 * max(error, at_null / 10), p, most=1.0)


def _area(negatives: Floats, positives: Floats) -> tuple[float, float]:
    """The area and its variance, ties half."""
    above = _placed(positives, negatives)
    below = 1 - _placed(negatives, positives)
    return float(above.mean()), float(above.var() / max(len(above) - 1, 1) + below.var() / max(len(below) - 1, 1))


def _placed(values: Floats, among: Floats) -> Floats:
    """The share of `among` that lies below each value, ties half."""
    ordered = np.sort(among)
    sides = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(sum(sides) / (2.0 * len(among)), np.float64)
