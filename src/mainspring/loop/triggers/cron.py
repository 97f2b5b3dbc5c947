"""Times of a clock on a wall: `cron` expressions in a time zone, through the days on which clocks are moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mainspring.core.clock import SECOND_US, moment
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WORDS: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Words in place of the five fields."""
FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
FARTHEST_DAYS = 366 * 8 + 2
"""29 February is at most eight years away: what is not due within them never is."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is due: minutes, hours, days and months, in a time zone.

    As in Vixie's cron, a day is due when either of the two fields of days names it, if both are restricted. An hour
    that the clock skips is due as long after the last one as it would have been; one that it shows twice is due once,
    or both times where every hour is due.
    """

    text: str
    zone: ZoneInfo
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    every_hour: bool

    @classmethod
    def of(cls, text: str, zone: str = "UTC", *, where: str = "cron") -> Cron:
        """Read an expression of five fields, or one of the words such as `@daily`.

        Raises:
            Invalid: It is none, is never due, or there is no such time zone.

        >>> Cron.of("30 4 * * mon-fri", "Europe/Berlin").hours
        (4,)
        """
        given = WORDS.get(text.strip().lower(), text).split()
        if text.strip().startswith("@") and len(given) == 1:
            hint = did_you_mean(text.strip().lower(), WORDS) or f"known are {', '.join(WORDS)}"
            raise Invalid(f"{text[:40]!r} is no schedule", where=where, hint=hint)
        if len(given) != len(FIELDS):
            what = f"{text[:60]!r} has {len(given)} fields, wanted are minute, hour, day, month and day of the week"
            raise Invalid(what, where=where, hint='write it like "30 4 * * mon-fri", which is 4:30 on workdays')
        found = [_field(part, *each, where=where) for part, each in zip(given, FIELDS, strict=True)]
        minutes, hours, days, months, weekdays = found
        cron = cls(
            text=text.strip(),
            zone=zone_of(zone, where=where),
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not given[2].startswith("*") and not given[4].startswith("*"),
            every_hour=len(hours) == 24,
        )
        if next(cron._days_from(date(2000, 1, 1)), None) is None:
            raise Invalid(f"{text[:60]!r} is never due", where=where, hint="no month it names has such a day")
        return cron

    def after(self, at: int) -> Iterator[int]:
        """Every due time later than `at`, in order, microseconds since 1970.

        >>> from itertools import islice
        >>> from mainspring.core.clock import iso, micros
        >>> [iso(due)[:16] for due in islice(Cron.of("0 9 * * 1").after(micros("2026-01-01")), 2)]
        ['2026-01-05T09:00', '2026-01-12T09:00']
        """
        start = moment(at).astimezone(self.zone).date() - timedelta(days=1)  # an hour that was skipped may end next day
        last = at
        for day in self._days_from(start):
            for due in self._times_of(day):
                if due > last:
                    yield due
                    last = due

    def next(self, at: int) -> int:
        """The first due time later than `at`."""
        return next(self.after(at))

    def _days_from(self, start: date) -> Iterator[date]:
        day, last_found = start, start
        while (day - last_found).days <= FARTHEST_DAYS and day < date.max - timedelta(days=2):
            if day.month in self.months and self._is_day(day):
                last_found = day
                yield day
            day += timedelta(days=1)

    def _is_day(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def _times_of(self, day: date) -> list[int]:
        folds = (0, 1) if self.every_hour else (0,)
        found = {
            _micros(datetime.combine(day, time(hour, minute, fold=fold), self.zone))
            for hour in self.hours
            for minute in self.minutes
            for fold in folds
        }
        return sorted(found)


def zone_of(name: str, *, where: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        Invalid: There is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from zoneinfo import available_timezones

        hint = did_you_mean(name, available_timezones()) or 'use a name such as "Europe/Berlin", or "UTC"'
        raise Invalid(f"no time zone is called {name[:60]!r}", where=where, hint=hint) from None


def _micros(at: datetime) -> int:
    return round((at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND_US


def _field(text: str, name: str, low: int, high: int, *, where: str) -> set[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdecimal() and 0 < int(step) <= high):
            raise Invalid(f"{part!r} is no step of {name}", where=where, hint=f"use */1 to */{high}")
        first, dash, last = ("*", "", "") if span == "*" else span.partition("-")
        if first == "*":
            begin, end = low, high
        else:
            begin = _number(first, name, low, high, where=where)
            end = _number(last, name, low, high, where=where) if dash else (high if slash else begin)
        if begin > end:
            raise Invalid(f"{part!r} runs backwards", where=where, hint=f"write the earlier {name} first")
        found |= set(range(begin, end + 1, int(step) if slash else 1))
    return found


def _number(text: str, name: str, low: int, high: int, *, where: str) -> int:
    names = {"month": MONTHS, "day of the week": DAYS}.get(name, ())
    if text in names:
        return names.index(text) + low
    if text.isascii() and text.isdecimal() and low <= int(text[:9]) <= high:
        return int(text)
    hint = f"use {low} to {high}" + (f", or {names[0]} to {names[-1]}" if names else "")
    raise Invalid(f"{text[:20]!r} is no {name}", where=where, hint=hint)
