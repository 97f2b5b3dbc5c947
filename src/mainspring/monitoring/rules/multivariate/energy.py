"""The energy distance: rows of different tables against rows of the same."""

from __future__ import annotations

import numpy as np

from mainspring.monitoring.rules.multivariate.encoding import Floats
from mainspring.monitoring.rules.statistics.estimates import Estimate

SAYS = "energy distance between rows"
_MOST = 500
_PERMUTATIONS = 400


def measure(reference: Floats, current: Floats, *, seed: int) -> Estimate:
    """Mean distance across less half the mean distance within each; 500 rows of each are drawn.

    Source: Szekely, Rizzo (2013), Energy statistics; the null is that of permuted rows.
    """
    rng = np.random.default_rng(seed)
    drawn = [side[rng.permutation(len(side))[:_MOST]] for side in (reference, current)]
    return permuted(-distances(np.vstack(drawn)), len(drawn[0]), rng)


def distances(rows: Floats) -> Floats:
    """Euclidean distances between all rows, shape (rows, rows)."""
    squares = np.square(rows).sum(axis=1)
    found: Floats = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0.0))
    np.fill_diagonal(found, 0.0)
    return found


def permuted(kernel: Floats, first: int, rng: np.random.Generator) -> Estimate:
    """The statistic w' K w, w being 1/n on the first rows and -1/m on the others, beside that of permuted rows.

    Returns:
        The value, the 95 % quantile under permutation, and the share of permutations that reach the value.
    """
    rows = len(kernel)
    weights = np.where(np.arange(rows) < first, 1 / first, -1 / (rows - first))
    every = np.stack([weights, *(rng.permutation(weights) for _ in range(_PERMUTATIONS))], axis=1)
    found = np.maximum((every * (kernel @ every)).sum(axis=0), 0.0)
    value, null = float(found[0]), found[1:]
    p = float((1 + (null >= value).sum()) / (1 + len(null)))
    return Estimate(value, p=p, usual=float(np.quantile(null, 0.95)))
