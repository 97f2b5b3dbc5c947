"""Time: one clock, UTC, whole microseconds since 1970."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from mainspring.core.errors import Invalid

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
SPAN = r"(?:\d+(?:\.\d+)?(?:us|ms|[smhdw]))+"
"""What a length of time is written like: `7d`, `1h30m`."""
_SPAN_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|[smhdw])")
_UNITS = {"us": 1, "ms": 1000, "s": SECOND_US, "m": 60 * SECOND_US, "h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time. Rules never ask a clock: the time comes to them as an argument."""

    def now(self) -> int:
        """Microseconds since 1970 in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> int:
        """Microseconds since 1970 in UTC."""
        return time.time_ns() // 1000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now: int = 0) -> None:
        self._now = now

    def now(self) -> int:
        """The time it was last set to."""
        return self._now

    def advance(self, micros: int) -> None:
        """Move forward by `micros` microseconds."""
        self._now += micros


def day_of(at: int) -> int:
    """The beginning of the day (UTC) of a moment, in microseconds since 1970.

    >>> day_of(DAY_US + 5) == DAY_US
    True
    """
    return at - at % DAY_US


def micros(moment: datetime | str | int) -> int:
    """Microseconds since 1970 of a datetime, an ISO 8601 text or a count of microseconds; without a zone it is UTC.

    Raises:
        Invalid: The text is not ISO 8601.

    >>> micros("2013-04-01")
    1364774400000000
    """
    if isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise Invalid(f"{moment!r} is not a time", hint="write it like 2013-04-01T08:00:00+00:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def span_us(text: str, where: str = "") -> int:
    """Microseconds of a length of time: numbers with `us`, `ms`, `s`, `m`, `h`, `d` or `w` behind each.

    Raises:
        Invalid: It is no such length, or one that no clock could count.

    >>> span_us("7d") == 7 * DAY_US, span_us("1h30m") == span_us("1.5h") == 90 * 60 * SECOND_US
    (True, True)
    """
    parts = _SPAN_PART.findall(text) if re.fullmatch(SPAN, text.strip()) else []
    found = sum(float(count) * _UNITS[unit] for count, unit in parts)
    if not parts or found >= 2**62:
        raise Invalid(f"{text[:40]!r} is not a span of time", where=where, hint="write it like 7d, 12h or 1h30m")
    return round(found)


def moment(at: int) -> datetime:
    """The datetime of `at` microseconds, in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def iso(at: int) -> str:
    """ISO 8601 text of `at` microseconds, in UTC.

    >>> iso(1364774400000000)
    '2013-04-01T00:00:00+00:00'
    """
    return moment(at).isoformat()
