"""What two versions said to the same inputs: the mean of their differences, with bounds that hold at every look."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

from mainspring.core.values import dataclass

ALPHA = 0.05
"""Chance that the bounds ever miss the truth."""
LEAST_PAIRS = 50
"""Below that the bounds, which rest on a limit theorem, say nothing."""
_TIGHTEST_AT = 1_000  # pairs


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference and its bounds; there are none where there are too few pairs.

    Attributes:
        mean: Of the later version minus the earlier one; 0 without a pair.
        low: From here
        high: to here, for all numbers of pairs at once, but with probability 5 %.
        pairs: Routing keys it is the mean over: those of one key count together.
    """

    mean: float = 0.0
    low: float | None = None
    high: float | None = None
    pairs: int = 0


def difference(pairs: int, mean: float, deviation: float, *, alpha: float = ALPHA) -> Difference:
    """The mean of paired differences with bounds that hold at every number of pairs at once.

    Args:
        pairs: How many.
        mean: Of the differences.
        deviation: Their standard deviation.
        alpha: Chance that the bounds ever miss the true mean, in (0, 1).
    Returns: The asymptotic confidence sequence, which is tightest at 1,000 pairs.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Time-uniform central limit theory and asymptotic
        confidence sequences, theorem 2.2 and appendix B.2 for rho.

    >>> found = difference(1000, 0.0, 1.0)
    >>> (round(found.low or 0.0, 3), round(found.high or 0.0, 3))
    (-0.096, 0.096)
    """
    if pairs < LEAST_PAIRS:
        return Difference(mean, pairs=pairs)
    two = -2.0 * log(alpha)
    rho2 = (two + log(two + 1.0)) / _TIGHTEST_AT
    grown = pairs * rho2 + 1.0
    half = deviation * sqrt(2.0 * grown / (pairs * pairs * rho2) * log(sqrt(grown) / alpha))
    return Difference(mean, mean - half, mean + half, pairs)


def verdict(loss: Difference) -> str:
    """Whether a version's loss is proved to be another: "better", "worse", "undecided" or "no labels"."""
    if not loss.pairs:
        return "no labels"
    if loss.low is None or loss.high is None or loss.low <= 0 <= loss.high:
        return "undecided"
    return "better" if loss.high < 0 else "worse"


def is_no_worse(loss: Difference, margin: float) -> bool:
    """Whether a loss that is higher by `margin` or more is ruled out."""
    return loss.high is not None and loss.high < margin


def most_frequent(counts: Sequence[tuple[str, int]], most: int) -> tuple[tuple[str, int], ...]:
    """The largest counts, the largest first and equal ones by name."""
    return tuple(sorted(counts, key=lambda entry: (-entry[1], entry[0]))[:most])
