"""When schedules are due, against a look at every single minute, and on the days on which clocks are moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.clock import iso, micros, moment
from mainspring.core.errors import Invalid
from mainspring.loop.triggers.cron import Cron

MINUTE = timedelta(minutes=1)


def due(text: str, zone: str, start: str, count: int) -> list[str]:
    return [iso(at)[:16] for at in islice(Cron.of(text, zone).after(micros(start)), count)]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    def part(low: int, high: int) -> str:
        kind = draw(st.sampled_from(["*", "step", "one", "span", "list"]))
        one, two = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
        step = draw(st.integers(1, max(1, high // 2)))
        return {"*": "*", "step": f"*/{step}", "one": f"{one}", "span": f"{one}-{two}", "list": f"{one},{two}"}[kind]

    return " ".join([part(0, 59), part(0, 23), part(1, 28), "*", part(0, 7)])


@settings(max_examples=40)
@given(expressions(), st.integers(0, 40_000_000), st.randoms(use_true_random=False))
def test_a_due_time_is_the_first_minute_that_all_fields_name(text: str, minute: int, random: Random) -> None:
    start = datetime(1990, 1, 1, tzinfo=UTC) + minute * MINUTE
    cron = Cron.of(text)
    found = moment(next(cron.after(micros(start))))
    assert _matches(cron, found)
    between = (found - start) // MINUTE
    looked = {*range(1, min(between, 40)), *(random.randrange(1, between) for _ in range(60) if between > 1)}
    assert [number for number in looked if _matches(cron, start + number * MINUTE)] == []


def _matches(cron: Cron, at: datetime) -> bool:
    by_month, by_week = at.day in cron.days, at.isoweekday() % 7 in cron.weekdays
    day = by_month or by_week if cron.either_day else by_month and by_week
    return day and at.month in cron.months and at.hour in cron.hours and at.minute in cron.minutes


@given(st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 0 29 2 *"]), st.integers(0, 2**51))
@settings(max_examples=15)
def test_due_times_only_grow(text: str, start: int) -> None:
    found = list(islice(Cron.of(text, "Europe/Berlin").after(start), 5))
    assert [start, *found] == sorted({start, *found})


def test_an_hour_that_the_clock_skips_is_due_after_the_gap() -> None:
    # on 29 March 2026 clocks in Berlin go from 2:00 to 3:00, which is 1:00 UTC
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["2026-03-29T01:30", "2026-03-30T00:30"]
    quarters = due("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:40", 4)
    assert quarters == ["2026-03-29T00:45", "2026-03-29T01:00", "2026-03-29T01:15", "2026-03-29T01:30"]


def test_an_hour_that_comes_twice_is_due_once_unless_every_hour_is() -> None:
    # on 25 October 2026 clocks in Berlin show 2:00 to 3:00 twice, from 0:00 UTC on
    assert due("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == ["2026-10-25T00:30", "2026-10-26T01:30"]
    assert due("30 * * * *", "Europe/Berlin", "2026-10-25T00:00", 3) == [
        "2026-10-25T00:30",
        "2026-10-25T01:30",
        "2026-10-25T02:30",
    ]


def test_zones_with_half_hours_and_words_are_known() -> None:
    assert due("@daily", "Asia/Kolkata", "2026-01-01", 1) == ["2026-01-01T18:30"]
    assert due("0 12 29 feb *", "UTC", "2096-03-01", 1) == ["2104-02-29T12:00"]
    assert due("0 0 1 * mon", "UTC", "2026-06-01", 2) == ["2026-06-08T00:00", "2026-06-15T00:00"]
    assert Cron.of("0 0 * * 7").weekdays == frozenset({0})
    assert Cron.of("5/20 * * * *").minutes == (5, 25, 45)
    assert Cron.of("@hourly", "Europe/Berlin").zone == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "what"),
    [
        ("* * * *", "UTC", "has 4 fields"),
        ("61 * * * *", "UTC", "'61' is no minute"),
        ("* * * * funday", "UTC", "'funday' is no day of the week"),
        ("*/0 * * * *", "UTC", "is no step"),
        ("30-10 * * * *", "UTC", "runs backwards"),
        ("0 0 31 2 *", "UTC", "never due"),
        ("@dayly", "UTC", "is no schedule"),
        ("@daily", "Europe/Berlim", "no time zone"),
        ("@daily", "../etc/passwd", "no time zone"),
        ("¹ * * * *", "UTC", "is no minute"),
    ],
)
def test_a_schedule_that_means_nothing_is_refused(text: str, zone: str, what: str) -> None:
    with pytest.raises(Invalid, match=what) as told:
        Cron.of(text, zone, where="trigger.nightly.cron")
    assert told.value.where == "trigger.nightly.cron"
    assert told.value.hint
