"""Whether a probability means what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mainspring.gates.rules.bootstrap import Floats, Grouping, bootstrap
from mainspring.gates.rules.finding import Finding


def bins_of(probability: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each row when the rows are cut into `bins` bins of equal size; equal probabilities share a bin."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    found: NDArray[np.int64] = np.searchsorted(edges, probability, side="right").astype(np.int64)
    return found


def ece(truth: Floats, probability: Floats, *, bins: int = 15) -> float:
    """Expected calibration error: the mean distance between what is said and what happens, over bins of equal size.

    Args:
        truth: 0 or 1 per row, shape (rows,).
        probability: Probability of class 1 in [0, 1], shape (rows,).
        bins: Number of bins, >= 1.
    Returns: A number in [0, 1]; zero when each bin happens as often as it says. Biased upwards on few rows.
    Source: Naeini, Cooper & Hauskrecht (2015), with the equal-mass bins of Nixon et al. (2019).

    >>> round(ece(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.9, 0.9]), bins=2), 6)
    0.05
    """
    return float(_gap(_parts(truth, probability, bins).sum(axis=0)))


def calibrated_below(
    truth: Floats,
    probability: Floats,
    *,
    limit: float,
    seed: int,
    bins: int = 15,
    alpha: float = 0.05,
    grouping: Grouping | None = None,
) -> Finding:
    """Tests whether the expected calibration error lies below `limit`.

    The error is biased upwards, and the bootstrap takes that bias for about twice what it is. So the claim that it is
    above the limit has the bias taken off, and the claim that it is below leaves it in: each errs to the safe side.

    Args: As `ece`; `limit` in (0, 1), `seed` of the resampling, `alpha` the one-sided level, `grouping` the rows that
        belong together.
    """
    parts = _parts(truth, probability, bins)
    draws = bootstrap(parts, _gap, seed=seed, repeats=1000, alpha=alpha, grouping=grouping)
    low, _ = draws.interval(alpha, reverse=True)
    centred = replace(draws, values=draws.values + (draws.value - float(draws.values.mean())))
    high = max(low, centred.interval(alpha)[1])
    return Finding(
        value=draws.value,
        low=max(0.0, low),
        high=max(0.0, high),
        threshold=limit,
        better="lower",
        se=draws.se,
        n=len(truth),
        p_pass=centred.p_below(limit),
        p_fail=draws.p_above(limit, reverse=True),
        method=f"bootstrap, {bins} equal bins",
        note=f"without its upward bias the error is about {max(0.0, 2 * draws.value - float(draws.values.mean())):.4f}",
    )


def _parts(truth: Floats, probability: Floats, bins: int) -> Floats:
    """Per row and bin the probability minus the outcome, and a last column of ones: shape (rows, bins + 1)."""
    parts = np.zeros((len(truth), bins + 1))
    parts[np.arange(len(truth)), bins_of(probability, bins)] = probability - truth
    parts[:, -1] = 1
    return parts


def _gap(totals: Floats) -> Floats:
    gap: Floats = np.abs(totals[..., :-1]).sum(axis=-1) / totals[..., -1]
    return gap
