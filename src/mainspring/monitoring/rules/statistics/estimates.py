"""What a method says: a number and what it is worth, or why there is none."""

from __future__ import annotations

import math

from mainspring.core.values import dataclass

Z95 = 1.959963984540054
_LEAST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a method found.

    Attributes:
        value: The measure on the rows that were seen, None when it is not estimable.
        low: Lower end of a 95 % interval of the measure on the populations the rows came from.
        high: Its upper end.
        p: How likely a value at least as far from 0 is when nothing changed; None when the method has no such null.
        reason: Why there is no value; "" when there is one.
        usual: What the value stays below in 95 % of cases when nothing changed, for methods whose null is drawn.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""
    usual: float | None = None

    @property
    def text(self) -> str:
        """The estimate in words.

        >>> Estimate(0.1, 0.05, 0.15, 0.001).text
        '0.1 (0.05 to 0.15), p = 0.001'
        """
        if self.value is None:
            return f"not estimable: {self.reason}"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.3g} to {self.high:.3g})"
        usual = "" if self.usual is None else f" (usually up to {self.usual:.3g})"
        chance = "" if self.p is None else ", p < 1e-12" if self.p < _LEAST_P else f", p = {self.p:.2g}"
        return f"{self.value:.3g}{interval}{usual}{chance}"


def not_estimable(reason: str) -> Estimate:
    """No number, and why."""
    return Estimate(None, reason=reason)


def between(
    value: float, low: float, high: float, p: float | None, *, least: float = 0.0, most: float = math.inf
) -> Estimate:
    """An estimate whose interval is kept inside what the measure can be, and holds the value itself.

    A divergence of two finite samples is too large on average; an interval with that bias taken off may lie below the
    value, which would puzzle a reader more than an interval that is a little wide.
    """
    low, high = (min(max(end, least), most) for end in (min(low, value), max(high, value)))
    return Estimate(value, low, high, None if p is None else min(1.0, max(0.0, p)))


def normal_tail(z: float) -> float:
    """The chance that a standard normal number is further from 0 than z.

    >>> round(normal_tail(1.959964), 4)
    0.05
    """
    return math.erfc(abs(z) / math.sqrt(2))


def chi_squared_tail(x: float, freedom: int) -> float:
    """The chance that a chi-squared number of `freedom` degrees is above x; 1 without freedom."""
    if freedom < 1:
        return 1.0
    from scipy.special import gammaincc

    return float(gammaincc(freedom / 2, x / 2))


def wilson(hits: float, rows: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    share, z2 = hits / rows, z * z
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = z / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference_of_shares(before: float, rows_before: int, now: float, rows_now: int) -> Estimate:
    """How much a share rose, with an interval that holds for small counts, and the test of no change.

    Args:
        before: Rows that have it in the reference.
        rows_before: Rows of the reference, at least 1.
        now: Rows that have it now.
        rows_now: Rows now, at least 1.
    Source: Newcombe (1998), Interval estimation for the difference between independent proportions, method 10; the
        p-value is that of the pooled z.

    >>> difference_of_shares(10, 100, 30, 100).text
    '0.2 (0.0906 to 0.304), p = 0.0004'
    """
    p, q = before / rows_before, now / rows_now
    (p_low, p_high), (q_low, q_high) = wilson(before, rows_before), wilson(now, rows_now)
    value = q - p
    low = value - math.hypot(q - q_low, p_high - p)
    high = value + math.hypot(q_high - q, p - p_low)
    pooled = (before + now) / (rows_before + rows_now)
    error = math.sqrt(pooled * (1 - pooled) * (1 / rows_before + 1 / rows_now))
    return between(value, low, high, normal_tail(value / error) if error else 1.0, least=-1.0, most=1.0)
