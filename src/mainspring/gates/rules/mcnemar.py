"""Two models, right or wrong on the same rows."""

from __future__ import annotations

import math

from mainspring.core.errors import Invalid
from mainspring.gates.rules.finding import NORMAL, Finding, tail


def mcnemar_exact(gained: int, lost: int) -> float:
    """One-sided p-value of "the candidate is right no more often than the champion".

    Args:
        gained: Rows only the candidate has right, >= 0.
        lost: Rows only the champion has right, >= 0.
    Source: McNemar (1947), with the exact binomial law of the discordant rows.

    >>> mcnemar_exact(5, 0)
    0.03125
    """
    from scipy.special import bdtrc

    return 1.0 if gained == 0 else float(bdtrc(gained - 1, gained + lost, 0.5))


def agresti_min(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Centre and standard error of the interval for the difference of two paired proportions.

    Args:
        gained: Rows only the candidate has right.
        lost: Rows only the champion has right.
        n: All rows, > 0.
    Source: Agresti & Min (2005), "Simple improved confidence intervals for comparing matched proportions": Wald after
        half a row in each cell.

    >>> [round(v, 5) for v in agresti_min(10, 4, 98)]
    [0.06, 0.03826]
    """
    b, c, rows = gained + 0.5, lost + 0.5, n + 2
    return (b - c) / rows, math.sqrt(b + c - (b - c) ** 2 / rows) / rows


def score_z(gained: int, lost: int, n: int, threshold: float) -> float:
    """Score statistic of "the difference equals `threshold`", positive when the difference is larger.

    Source: Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design", equation 10.

    >>> round(score_z(0, 0, 400, -0.005), 3)
    1.418
    """
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * threshold
    c = -lost * threshold * (1 - threshold)
    lost_rate = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    spread = n * (2 * lost_rate + threshold * (1 - threshold))
    above = gained - lost - n * threshold
    return above / math.sqrt(spread) if spread > 0 else 0.0


def compare_accuracy(gained: int, lost: int, n: int, *, threshold: float, alpha: float = 0.05) -> Finding:
    """Tests whether the accuracy of the candidate minus that of the champion lies above `threshold`.

    The p-value is the larger of the score test's (McNemar's exact one when the threshold is 0) and the interval's, so
    that a verdict never contradicts
    the interval shown next to it.

    Args:
        gained: Rows only the candidate has right.
        lost: Rows only the champion has right.
        n: All rows.
        threshold: Minus the margin for non-inferiority, 0 for superiority; in (-1, 1).
        alpha: One-sided level of the interval's ends.
    Raises: Invalid: The counts do not fit each other.
    """
    if min(gained, lost) < 0 or gained + lost > n or n < 1:
        raise Invalid(f"{gained} and {lost} discordant rows do not fit {n} rows")
    centre, se = agresti_min(gained, lost, n)
    half = NORMAL.inv_cdf(1 - alpha) * se
    wald = (centre - threshold) / se
    if threshold == 0:
        tests = mcnemar_exact(gained, lost), mcnemar_exact(lost, gained)
    else:
        score = score_z(gained, lost, n, threshold)
        tests = tail(score), tail(-score)
    return Finding(
        value=(gained - lost) / n,
        low=centre - half,
        high=centre + half,
        threshold=threshold,
        se=se,
        n=n,
        p_pass=max(tests[0], tail(wald)),
        p_fail=max(tests[1], tail(-wald)),
        method="McNemar, interval Agresti-Min",
        note=f"{gained} rows gained, {lost} lost",
    )
