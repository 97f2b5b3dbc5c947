"""What one check found: an estimate with its interval, and the two p-values a verdict is made of."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

from mainspring.core.values import dataclass

NORMAL = NormalDist()
LEAST_ROWS = 30
LEAST_PER_CLASS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the things a finding is made of: a group, a behaviour test, one seed.

    Args:
        name: Such as "sex=f: tpr".
        value: The estimate.
        low: Lower end of its interval; NaN without one.
        high: Upper end.
        threshold: The line it is held against; NaN when it has none of its own.
        n: Rows it rests on.
        state: "ok", "bad" (shown to be) or "small" (not tested).
        note: What to look at, for the reader.
    """

    name: str
    value: float
    n: int
    low: float = math.nan
    high: float = math.nan
    threshold: float = math.nan
    state: Literal["ok", "bad", "small"] = "ok"
    note: str = ""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """A check that has nothing to measure here, and why: "no champion to compare with"."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check measured, before the verdict.

    Args:
        value: The estimate, in units of the metric; for a comparison candidate minus champion, positive when the
            candidate is better.
        low: Lower end of the interval with coverage `1 - 2 alpha` (its end is the one-sided `1 - alpha` bound).
        high: Upper end of the same interval.
        threshold: The line the estimate is held against: minus the margin, the floor or the limit.
        better: Which side of the threshold is good.
        p_pass: P-value of "the truth is on the bad side of the threshold"; small means passed.
        p_fail: P-value of "the truth is on the good side"; small means failed.
        se: Standard error of the estimate; 0 when it has none.
        enough: Rows that would decide an estimate without a standard error, when that is known.
        n: Rows the estimate rests on.
        settled: True or False for a plain fact that needs no test (a file size); None for an estimate.
        method: The name of the method, for the page.
        presumed: Whether it passes unless shown to be bad; else it has to be shown to be good.
        parts: What it is made of, to be shown below it.
        note: One sentence for the reader.
    """

    value: float
    threshold: float
    n: int
    method: str
    low: float = math.nan
    high: float = math.nan
    better: Literal["higher", "lower"] = "higher"
    p_pass: float = 1.0
    p_fail: float = 1.0
    se: float = 0.0
    enough: int | None = None
    settled: bool | None = None
    presumed: bool = False
    parts: tuple[Part, ...] = ()
    note: str = ""


NO_CHAMPION = NotApplicable("no champion to compare with")


def fact(
    passed: bool, *, method: str, value: float = 0.0, threshold: float = 0.0, n: int = 0, note: str = ""
) -> Finding:
    """A finding that is simply so: a limit kept or broken, lower being better."""
    return Finding(value=value, threshold=threshold, n=n, method=method, settled=passed, better="lower", note=note)


def tail(z: float) -> float:
    """The probability that a standard normal exceeds `z`.

    >>> round(tail(1.6448536), 4)
    0.05
    """
    return 0.5 * math.erfc(z / math.sqrt(2))


def rows_needed(finding: Finding, *, alpha: float, power: float = 0.8) -> int | None:
    """How many rows would decide, if the truth is what was estimated.

    Args:
        finding: An estimate with its standard error on `finding.n` rows.
        alpha: One-sided level at which the check has to be decided, in (0, 0.5).
        power: Chance of a decision at that number of rows.
    Returns: Rows in total (not in addition), or None when no number can be given: the estimate sits on the threshold,
        or has no spread.
    Source: The usual sample size of a one-sided z test; Chow, Shao & Wang (2008), section 3.1.
    """
    if finding.settled is None and finding.enough is not None:
        return max(finding.n + 1, finding.enough)
    distance = abs(finding.value - finding.threshold)
    if finding.settled is not None or finding.se <= 0 or not math.isfinite(finding.se) or distance < 0.01 * finding.se:
        return None
    z = NORMAL.inv_cdf(1 - alpha) + NORMAL.inv_cdf(power)
    return max(finding.n + 1, math.ceil(finding.n * (z * finding.se / distance) ** 2))
