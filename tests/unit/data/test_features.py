"""The point-in-time join against the definition, row by row."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.data import point_in_time_join

HOUR = 3_600
times = st.one_of(st.none(), st.integers(0, 12))
entities = st.one_of(st.none(), st.sampled_from(["EWR", "JFK"]))
START = datetime(2013, 1, 1)


def at(hours: int | None) -> datetime | None:
    return None if hours is None else START + timedelta(hours=hours)


Fact = tuple[str | None, int | None, int | None, int]


def by_definition(entity: str | None, when: int | None, facts: list[Fact], ttl: int | None) -> int | None:
    """Of the facts about the entity that were known, the newest; of equally new ones, the last created."""
    if entity is None or when is None:
        return None
    known = [
        (about, created, place, value)
        for place, (who, about, created, value) in enumerate(facts)
        if who == entity and about is not None and created is not None and max(about, created) <= when
    ]
    if not known:
        return None
    about, _, _, value = max(known)
    return None if ttl is not None and when - about >= ttl else value


@given(
    left=st.lists(st.tuples(entities, times), max_size=12),
    facts=st.lists(st.tuples(entities, times, times, st.integers(0, 99)), max_size=14),
    ttl=st.one_of(st.none(), st.integers(1, 6)),
)
def test_every_row_gets_the_newest_fact_that_was_known_and_no_row_is_lost_or_moved(
    left: list[tuple[str | None, int | None]], facts: list[Fact], ttl: int | None
) -> None:
    rows = pl.DataFrame(
        {"n": range(len(left)), "who": [who for who, _ in left], "t": [at(when) for _, when in left]},
        schema={"n": pl.Int64, "who": pl.String, "t": pl.Datetime("us")},
    )
    known = pl.DataFrame(
        [(who, at(about), at(created), value) for who, about, created, value in facts],
        schema={"who": pl.String, "t": pl.Datetime("ms"), "created": pl.Datetime("us"), "wind": pl.Int64},
        orient="row",
    )
    joined = point_in_time_join(
        rows, known, on="t", by=["who"], created="created", ttl_s=None if ttl is None else ttl * HOUR
    )
    assert joined.drop("wind").equals(rows)
    assert joined["wind"].to_list() == [by_definition(who, when, facts, ttl) for who, when in left]


def test_a_value_that_was_corrected_later_counts_from_the_correction_on() -> None:
    left = pl.DataFrame({"t": [START + timedelta(hours=h) for h in (2, 6, 1)]})
    right = pl.DataFrame(
        {"t": [START, START], "created": [START + timedelta(hours=1), START + timedelta(hours=5)], "wind": [10, 12]}
    )
    assert point_in_time_join(left, right, on="t", created="created")["wind"].to_list() == [10, 12, 10]


def test_news_about_an_earlier_time_does_not_replace_what_is_newer() -> None:
    right = pl.DataFrame(
        {
            "t": [START + timedelta(hours=3), START],
            "created": [START + timedelta(hours=3), START + timedelta(hours=4)],
            "wind": [30, 0],
        }
    )
    left = pl.DataFrame({"t": [START + timedelta(hours=5)]})
    assert point_in_time_join(left, right, on="t", created="created")["wind"].to_list() == [30]


def test_a_fact_ends_with_its_time_to_live_even_where_an_older_one_would_not_help() -> None:
    right = pl.DataFrame({"t": [START], "wind": [10]})
    left = pl.DataFrame({"t": [START + timedelta(minutes=m) for m in (0, 59, 60)]})
    assert point_in_time_join(left, right, on="t", ttl_s=HOUR)["wind"].to_list() == [10, 10, None]


def test_dates_times_and_microseconds_work() -> None:
    right = pl.DataFrame({"t": [date(2013, 1, 1)], "wind": [10]})
    assert point_in_time_join(pl.DataFrame({"t": [START]}), right, on="t")["wind"].to_list() == [10]
    whole = pl.DataFrame({"t": [5, 4]}), pl.DataFrame({"t": [5], "wind": [10]})
    assert point_in_time_join(*whole, on="t", ttl_s=1)["wind"].to_list() == [10, None]


def test_two_zones_are_compared_as_moments() -> None:
    east = timezone(timedelta(hours=-5))
    left = pl.DataFrame(
        {"t": [datetime(2013, 1, 1, 6, tzinfo=east)]}, schema={"t": pl.Datetime("us", "America/New_York")}
    )
    right = pl.DataFrame(
        {"t": [datetime(2013, 1, 1, 11), datetime(2013, 1, 1, 12)], "wind": [10, 20]},
        schema={"t": pl.Datetime("us"), "wind": pl.Int64},
    ).with_columns(pl.col("t").dt.replace_time_zone("UTC"))
    assert point_in_time_join(left, right, on="t")["wind"].to_list() == [10]


def test_mistakes_are_named() -> None:
    left, right = pl.DataFrame({"t": [START], "who": ["JFK"]}), pl.DataFrame({"t": [START], "wind": [1]})
    with pytest.raises(Invalid, match="no column 'who'") as caught:
        point_in_time_join(left, right, on="t", by=["who"])
    assert caught.value.where == "right table of the join"
    with pytest.raises(Invalid) as caught:
        point_in_time_join(left, right.rename({"t": "time"}), on="t")
    assert caught.value.hint == "it has time, wind"
    with pytest.raises(Invalid, match="'wind' is in both"):
        point_in_time_join(left.with_columns(wind=2), right, on="t")
    with pytest.raises(Invalid, match="left table's time is"):
        point_in_time_join(left, right.with_columns(pl.col("t").cast(pl.String)), on="t")
