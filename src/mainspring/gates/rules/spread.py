"""A standard deviation of few values against a limit."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.core.errors import Invalid
from mainspring.gates.rules.finding import Finding


def spread_below(values: Sequence[float], *, limit: float, n: int, alpha: float = 0.05) -> Finding:
    """Tests whether the standard deviation of normal values lies below `limit`.

    Args:
        values: At least two, such as one metric of several trainings.
        limit: The largest standard deviation, above 0.
        n: Rows each value rests on.
        alpha: One-sided level of the interval's ends.
    Raises: Invalid: There are fewer than two values.
    Source: The chi-squared law of the sample variance; Snedecor & Cochran (1989), section 5.11.

    >>> found = spread_below([0.70, 0.71, 0.72], limit=0.1, n=100)
    >>> round(found.value, 6), round(found.p_pass, 4)
    (0.01, 0.01)
    """
    from scipy.special import chdtr, chdtrc, chdtri

    k = len(values)
    if k < 2:
        raise Invalid(f"{k} values have no spread", hint="train at least twice")
    mean = sum(values) / k
    sd = (sum((value - mean) ** 2 for value in values) / (k - 1)) ** 0.5
    ratio = (k - 1) * (sd / limit) ** 2
    return Finding(
        value=sd,
        low=sd * ((k - 1) / float(chdtri(k - 1, alpha))) ** 0.5,
        high=sd * ((k - 1) / float(chdtri(k - 1, 1 - alpha))) ** 0.5,
        threshold=limit,
        better="lower",
        p_pass=float(chdtr(k - 1, ratio)),
        p_fail=float(chdtrc(k - 1, ratio)),
        n=n,
        method=f"standard deviation of {k} trainings, chi-squared",
        note=f"mean {mean:.4g}, from {min(values):.4g} to {max(values):.4g}",
    )
