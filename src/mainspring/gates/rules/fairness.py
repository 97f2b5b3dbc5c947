"""How far the rates of groups lie apart, and how sure we are of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.finding import NORMAL, Finding, Part, tail

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean over the rows of a group that could count.

    Args:
        value: The mean as it is.
        centre: The mean the test works with.
        variance: Variance of `centre`.
        n: Rows that could count.
    """

    value: float
    centre: float
    variance: float
    n: int


def rate_of_counts(hits: int, of: int) -> Rate:
    """The rate of `hits` among `of` rows, after one row more of each kind.

    Source: Agresti & Caffo (2000): Wald for two independent proportions after one row more of each kind in each group.
    """
    p = (hits + 1) / (of + 2)
    return Rate(hits / of if of else 0.0, p, p * (1 - p) / (of + 2), of)


def rate_of_rows(values: Floats, clusters: NDArray[np.int64] | None = None) -> Rate:
    """The mean of a group's rows, with the variance of rows or of clusters of them.

    Args:
        values: One number per row that could count, shape (rows,).
        clusters: The cluster of each row; None when rows are independent.
    Raises: Invalid: Rows of fewer than 10 clusters.
    Source: The sample variance; for clusters that of a ratio estimator, Cochran (1977), section 6.3.
    """
    n, mean = len(values), float(values.mean()) if len(values) else 0.0
    if clusters is None:
        return Rate(mean, mean, float(values.var(ddof=1)) / n if n > 1 else 0.0, n)
    _, place = np.unique(clusters, return_inverse=True)
    totals = np.bincount(place, weights=values - mean)
    if len(totals) < 10:
        raise Invalid(f"a group has {len(totals)} clusters, 10 are needed", hint="use more clusters")
    return Rate(mean, mean, float(len(totals) / (len(totals) - 1) * (totals @ totals)) / n**2, n)


def rates_within(
    counts: Mapping[str, tuple[int, int]], *, limit: float, n: int, alpha: float = 0.05, least: int = 10
) -> Finding:
    """Tests whether no two groups differ in a rate by `limit` or more.

    Args:
        counts: Per group the rows that count and the rows that could, such as true positives and positives.
        limit: The largest difference, in (0, 1).
        n: Rows of the whole set.
        alpha: One-sided level of the interval's ends.
        least: A group with fewer rows that could count is left out.
    Returns: The widest pair, with its interval.
    Raises:
        Invalid: Fewer than two groups are large enough.

    >>> round(rates_within({"a": (80, 100), "b": (70, 100)}, limit=0.2, n=200).value, 6)
    0.1
    """
    rates = {name: rate_of_counts(*pair) for name, pair in counts.items()}
    return gaps_within([("", rates)], limit=limit, n=n, alpha=alpha, least=least, method="Agresti-Caffo, all pairs")


def gaps_within(
    families: Sequence[tuple[str, Mapping[str, Rate]]],
    *,
    limit: float,
    n: int,
    alpha: float = 0.05,
    least: int = 10,
    method: str,
) -> Finding:
    """Tests whether in no family of groups two groups differ by `limit` or more.

    Passing needs every pair to be shown near (their largest p-value); failing needs one pair to be shown apart (the
    smallest p-value times the number of pairs).

    Args:
        families: What is compared within: a name such as "tpr over sex", and the rates of its groups.
        limit, n, alpha, least: As for `rates_within`.
        method: Name of the method.
    Returns: The widest pair, with its interval and every group as a part.
    Raises:
        Invalid: A family has fewer than two groups that are large enough.
    """
    pairs, parts, left_out = [], [], []
    for title, rates in families:
        large = {name: rate for name, rate in sorted(rates.items()) if rate.n >= least}
        if len(large) < 2:
            of = f" of {title}" if title else ""
            raise Invalid(
                f"{len(large)} groups{of} have {least} rows that count, 2 are needed", hint="use a larger set"
            )
        left_out += [name for name in sorted(rates) if name not in large]
        parts += [_part(title, name, rate, least, alpha) for name, rate in sorted(rates.items())]
        pairs += [(*_apart(large[a], large[b]), a, b, title, large) for a, b in combinations(large, 2)]
    near = max(_chance(limit - abs(gap), se) for gap, se, *_ in pairs)
    apart = min(_chance(abs(gap) - limit, se) for gap, se, *_ in pairs)
    gap, se, a, b, title, large = max(pairs, key=lambda pair: abs(pair[0]))
    half = NORMAL.inv_cdf(1 - alpha) * se
    said = f"{title}: " if title else ""
    return Finding(
        value=abs(large[a].value - large[b].value),
        low=max(0.0, abs(gap) - half),
        high=abs(gap) + half,
        threshold=limit,
        better="lower",
        p_pass=near,
        p_fail=min(1.0, len(pairs) * apart),
        se=se,
        n=n,
        method=method,
        parts=tuple(parts),
        note=f"{said}{a} {large[a].value:.3f}, {b} {large[b].value:.3f}"
        + (f"; too small: {', '.join(left_out)}" if left_out else ""),
    )


def _apart(one: Rate, other: Rate) -> tuple[float, float]:
    return one.centre - other.centre, math.sqrt(one.variance + other.variance)


def _chance(distance: float, se: float) -> float:
    """The tail beyond a distance; groups without any spread are as far apart as they look."""
    return tail(distance / se) if se > 0 else float(distance <= 0)


def _part(title: str, name: str, rate: Rate, least: int, alpha: float) -> Part:
    half = NORMAL.inv_cdf(1 - alpha) * math.sqrt(rate.variance)
    return Part(
        name=f"{title}: {name}" if title else name,
        value=rate.value,
        low=rate.centre - half,
        high=rate.centre + half,
        n=rate.n,
        state="ok" if rate.n >= least else "small",
    )
