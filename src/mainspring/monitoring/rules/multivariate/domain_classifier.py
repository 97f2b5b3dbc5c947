"""Whether a classifier can tell the two tables apart on rows it has not seen."""

from __future__ import annotations

import math

import numpy as np

from mainspring.monitoring.rules.multivariate.encoding import Floats
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, normal_tail

SAYS = "area under the ROC curve of telling the tables apart, on held-out rows; 0.5 is no difference"
_ROUNDS = 60
_QUIET = {"objective": "binary", "num_leaves": 15, "num_threads": 1, "deterministic": True, "verbose": -1}


def measure(reference: Floats, current: Floats, *, seed: int) -> Estimate:
    """Gradient boosting learnt on one half of the rows of each table, and judged on the other half.

    No row is both learnt from and judged, so that the held-out scores are independent, and the interval (DeLong) and
    the p-value (Mann-Whitney) hold. Areas over several folds do not have that: each judges rows that the others learnt
    from, and their mean varies by a third more than rows alone explain.

    Source: Lopez-Paz, Oquab (2017), Revisiting classifier two-sample tests; DeLong, DeLong, Clarke-Pearson (1988).
    """
    import lightgbm

    rng = np.random.default_rng(seed)
    features, labels = np.vstack([reference, current]), np.repeat([0, 1], [len(reference), len(current)])
    held = np.concatenate([rng.permutation(np.arange(len(side)) % 2) for side in (reference, current)]) == 1
    weights = np.where(labels == 1, len(reference) / len(current), 1.0)
    rows = lightgbm.Dataset(features[~held], labels[~held], weight=weights[~held], params=_QUIET)
    scores = np.asarray(lightgbm.train({**_QUIET, "seed": seed}, rows, _ROUNDS).predict(features[held], raw_score=True))
    negatives, positives = scores[labels[held] == 0], scores[labels[held] == 1]
    value, variance = _area(negatives, positives)
    at_null = math.sqrt((len(negatives) + len(positives) + 1) / (12 * len(negatives) * len(positives)))
    error = max(math.sqrt(variance), at_null / 10)
    p = normal_tail((value - 0.5) / at_null) / 2 if value > 0.5 else 1.0
    return between(value, value - Z95 * error, value + Z95 * error, p, most=1.0)


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
