"""The one budget of false alarms of a model, and how its detectors share it."""

from __future__ import annotations

from mainspring.core.clock import DAY_US, SECOND_US
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.rules.evidence import alarm_level

SHARES = {"performance": 0.5, "drift": 0.25, "missing": 0.1, "service": 0.1, "gap": 0.05}
"""What each kind of signal may use of the budget. They add up to one: `budget` is the alarms of all together."""
SERVICE_US = 300 * SECOND_US
"""Service is judged every five minutes of the clock on the wall, everything else by days of event time."""
DAYS_PER_YEAR = 365.0
_WINDOWS = {"service": DAYS_PER_YEAR * DAY_US / SERVICE_US}


def level_of(signal: str, monitors: int, spec: MonitorSpec) -> float:
    """What the evidence of one monitor of a kind of signal must reach.

    Args:
        signal: One of `SHARES`.
        monitors: How many share what that kind has: the columns of a model, the measures of its service.
        spec: Says the budget.

    >>> level_of("performance", 1, MonitorSpec())
    730.0
    """
    return alarm_level(monitors, _WINDOWS.get(signal, DAYS_PER_YEAR), spec.budget * SHARES[signal])
