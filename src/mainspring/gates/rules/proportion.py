"""One proportion against a floor, exactly."""

from __future__ import annotations

from mainspring.gates.rules.finding import Finding


def share_above(successes: int, n: int, *, floor: float, alpha: float = 0.05, rows: int | None = None) -> Finding:
    """Tests whether a proportion lies above `floor`.

    Args:
        successes: Rows that count, in [0, n].
        n: Rows that could count, > 0.
        floor: The least proportion, in [0, 1].
        alpha: One-sided level of the interval's ends.
        rows: Rows of the whole set, when `n` is a part of it (the positives, for recall).
    Source: Clopper & Pearson (1934).

    >>> share_above(10, 10, floor=0.5).p_pass
    0.0009765625
    """
    from scipy.special import bdtr, bdtrc, betaincinv

    value = successes / n
    return Finding(
        value=value,
        threshold=floor,
        n=rows or n,
        method="exact binomial, interval Clopper-Pearson",
        se=(value * (1 - value) / n) ** 0.5,
        low=0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha)),
        high=1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha)),
        p_pass=1.0 if successes == 0 else float(bdtrc(successes - 1, n, floor)),
        p_fail=float(bdtr(successes, n, floor)),
    )
