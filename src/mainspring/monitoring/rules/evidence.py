"""Evidence against "nothing changed", gathered over time: e-values and the level they must reach.

An e-value is at most 1 on average while nothing changed. The detectors below stay below their level for that many
windows on average then, whatever the data look like, so the level is a budget of false alarms and not a tuning
constant.

Source: Shin, Ramdas, Rinaldo (2023), E-detectors, theorem 2.4; Vovk, Wang (2021), E-values, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

WATCH_SHARE = 0.1
ODD_ROWS = 0.25
"""Now and then a window is odd and the next one is not (a storm, a strike): then up to so many of its rows are."""
FRACTIONS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Bets, as shares of the largest one that cannot lose everything."""


def alarm_level(monitors: int, windows_per_year: float, budget: float) -> float:
    """What the evidence of one monitor must reach.

    Args:
        monitors: How many share the budget, at least 1.
        windows_per_year: How many windows each looks at in a year.
        budget: False alarms allowed in a year, all monitors together, above 0.

    >>> alarm_level(50, 365, 1)
    18250.0
    """
    return max(monitors, 1) * windows_per_year / budget


def e_value(p: float) -> float:
    """The e-value of a p-value, 1 / (2 sqrt p).

    Source: Vovk, Wang (2021), E-values, section 2, calibrator with kappa = 1/2.

    >>> e_value(0.0001)
    50.0
    """
    return 0.5 / math.sqrt(max(p, 1e-300))


def gather(evidence: float, e: float) -> float:
    """Evidence after one more window: it multiplies, and starts afresh whenever it fell below 1.

    >>> gather(0.2, 3.0), gather(4.0, 3.0)
    (3.0, 12.0)
    """
    return min(e * max(evidence, 1.0), 1e300)


def of_one_window(e: float, excess: float, level: float) -> float:
    """The e-value of a window that may merely be odd: two that say the same reach the level, one alone does not.

    Args:
        e: The e-value.
        excess: What share of the rows is over what is accepted; of more than a quarter nobody asks for a second window.
        level: What evidence must reach, above 4.

    >>> of_one_window(1e9, 0.1, 10_000.0)
    200.0
    """
    return e if excess > ODD_ROWS else min(e, 2 * math.sqrt(level))


def bet(wealth: Sequence[float], loss: float, bar: float, cap: float = 1.0) -> list[float]:
    """One day of the detector of a mean loss above `bar`: for each bet, e * (wealth + 1).

    Args:
        wealth: What each bet has gathered, shape (bets,); empty before the first day.
        loss: Mean loss of the day, in [0, cap].
        bar: The loss that is still accepted, in (0, cap).
        cap: Largest possible loss.
    Returns:
        The wealth after the day, shape (bets,). Its mean is the evidence.
    Source: Shin, Ramdas, Rinaldo (2023), section 4 (Shiryaev-Roberts e-detector of a bounded mean), with a mixture over
        bets in the manner of Waudby-Smith, Ramdas (2024), Estimating means of bounded random variables by betting,
        section 4.
    """
    before = wealth or [0.0] * len(FRACTIONS)
    excess = (min(max(loss, 0.0), cap) - bar) / bar
    return [min((1 + share * excess) * (old + 1), 1e300) for share, old in zip(FRACTIONS, before, strict=True)]


def state_of(evidence: float, level: float) -> str:
    """How far evidence has come: "ok", "watch" from a tenth of the level, "alarm" from the level."""
    if evidence >= level:
        return "alarm"
    return "watch" if evidence >= WATCH_SHARE * level else "ok"
