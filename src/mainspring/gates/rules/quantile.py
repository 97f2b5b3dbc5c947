"""A quantile against a limit, whatever the law of the values."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.gates.rules.finding import Finding


def quantile_below(values: Sequence[float], share: float, *, limit: float, alpha: float = 0.05) -> Finding:
    """Tests whether the quantile lies below `limit`: whether enough values keep the limit.

    Args:
        values: Independent measurements, at least one.
        share: Which quantile, in (0, 1): 0.95 for the p95.
        limit: The limit, in the unit of the values.
        alpha: One-sided level of the interval's ends.
    Source: The sign test and the order-statistic interval of a quantile, Conover (1999), sections 3.2 and 3.4.

    >>> round(quantile_below([1.0] * 100, 0.95, limit=2.0).p_pass, 4)
    0.0059
    """
    from scipy.special import bdtr, bdtrc

    ordered, n = sorted(values), len(values)
    kept = sum(value <= limit for value in ordered)
    upper = next((k for k in range(n) if bdtr(k, n, share) >= 1 - alpha), n - 1)
    lower = max((k for k in range(n) if k == 0 or bdtr(k - 1, n, share) <= alpha), default=0)
    return Finding(
        value=ordered[min(n - 1, int(share * n))],
        low=ordered[max(0, lower - 1)],
        high=ordered[min(n - 1, upper)],
        threshold=limit,
        better="lower",
        p_pass=1.0 if kept == 0 else float(bdtrc(kept - 1, n, share)),
        p_fail=float(bdtr(kept, n, share)),
        n=n,
        method="order statistics",
        note=f"{kept} of {n} within the limit",
    )
