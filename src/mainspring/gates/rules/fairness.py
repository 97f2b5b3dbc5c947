"""How far the rates of groups lie apart, and how sure we are of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

from mainspring.core.errors import Invalid
from mainspring.gates.rules.finding import NORMAL, Finding, tail


def rates_within(
    counts: Mapping[str, tuple[int, int]], *, limit: float, n: int, alpha: float = 0.05, least: int = 10
) -> Finding:
    """Tests whether no two groups differ in a rate by `limit` or more.

    Passing needs every pair to be shown near (their largest p-value); failing needs one pair to be shown apart (the
    smallest p-value times the number of pairs).

    Args:
        counts: Per group the rows that count and the rows that could, such as true positives and positives.
        limit: The largest difference, in (0, 1).
        n: Rows of the whole set.
        alpha: One-sided level of the interval's ends.
        least: A group with fewer rows that could count is left out.
    Returns: The widest pair, with its interval.
    Raises:
        Invalid: Fewer than two groups are large enough.
    Source: Agresti & Caffo (2000): Wald for two independent proportions after one row more of each kind in each group.

    >>> round(rates_within({"a": (80, 100), "b": (70, 100)}, limit=0.2, n=200).value, 6)
    0.1
    """
    large = {name: pair for name, pair in sorted(counts.items()) if pair[1] >= least}
    if len(large) < 2:
        raise Invalid(f"{len(large)} groups have {least} rows that count, 2 are needed", hint="use a larger set")
    pairs = [(*_apart(large[a], large[b]), a, b) for a, b in combinations(large, 2)]
    near = max(tail((limit - abs(gap)) / se) for gap, se, _, _ in pairs)
    apart = min(tail((abs(gap) - limit) / se) for gap, se, _, _ in pairs)
    gap, se, a, b = max(pairs, key=lambda pair: abs(pair[0]))
    shares = {name: hits / of for name, (hits, of) in large.items()}
    half = NORMAL.inv_cdf(1 - alpha) * se
    left_out = sorted(set(counts) - set(large))
    return Finding(
        value=abs(shares[a] - shares[b]),
        low=max(0.0, abs(gap) - half),
        high=abs(gap) + half,
        threshold=limit,
        better="lower",
        p_pass=near,
        p_fail=min(1.0, len(pairs) * apart),
        se=se,
        n=n,
        method="Agresti-Caffo, all pairs",
        note=f"{a} {shares[a]:.3f}, {b} {shares[b]:.3f}" + (f"; too small: {', '.join(left_out)}" if left_out else ""),
    )


def _apart(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    (hits_a, n_a), (hits_b, n_b) = one, other
    p, q = (hits_a + 1) / (n_a + 2), (hits_b + 1) / (n_b + 2)
    return p - q, math.sqrt(p * (1 - p) / (n_a + 2) + q * (1 - q) / (n_b + 2))
