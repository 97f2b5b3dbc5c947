"""Which type a column of text gets: never one that loses a value."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.data.columns import guess_kind, parse, typed


def column(*values: str | None) -> pl.Series:
    return pl.Series("x", values, dtype=pl.String)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "+3"], "integer"),
        (["1", "2.5", "1e3", ".5"], "number"),
        (["99999999999999999999"], "number"),
        (["02139", "94110"], "text"),
        (["0", "10"], "integer"),
        (["true", "False"], "boolean"),
        (["0", "1"], "integer"),
        (["yes", "no"], "text"),
        (["2013-01-01", "2013-12-31"], "date"),
        (["2013-02-30"], "text"),
        (["2013-01-01", "2013-01-01 05:00"], "text"),
        (["2013-01-01T05:00:00Z", "2013-01-01 05:00:00+01:00"], "time"),
        (["2013-01-01 05:00", "2013-01-01T05:00:00.25"], "time"),
        (["2013-01-01T05:00:00Z", "2013-01-01T05:00:00"], "text"),
        (["01/02/2013"], "text"),
        ([None, None], "text"),
        (["1", "one"], "text"),
    ],
)
def test_the_narrowest_kind_that_reads_every_value(values: list[str | None], kind: str) -> None:
    assert guess_kind(column(*values)) == kind


def test_a_late_odd_value_decides_too() -> None:
    assert guess_kind(column(*["7"] * 20_000, "7a")) == "text"


def test_times_with_a_zone_become_utc_and_others_stay_as_they_are() -> None:
    zoned = parse(column("2013-01-01T05:00:00Z", "2013-01-01 05:00+0100", None), "time")
    assert zoned.to_list() == [datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2013, 1, 1, 4, tzinfo=UTC), None]
    naive = parse(column("2013-01-01 05:00", "2013-01-01T05:00:00.25"), "time")
    assert naive.to_list() == [datetime(2013, 1, 1, 5), datetime(2013, 1, 1, 5, 0, 0, 250_000)]


def test_na_is_a_missing_number_and_also_missing_text_where_the_table_uses_it_so() -> None:
    frame = typed(pl.DataFrame({"delay": ["4", "NA", ""], "tail": ["N10156", "NA", ""]}))
    assert frame.to_dict(as_series=False) == {"delay": [4, None, None], "tail": ["N10156", None, None]}


def test_na_is_a_word_in_a_table_that_does_not_use_it_for_missing_numbers() -> None:
    frame = typed(pl.DataFrame({"country": ["NA", "DE"], "people": ["3", "83"]}))
    assert frame["country"].to_list() == ["NA", "DE"]


def test_dates_are_parsed() -> None:
    assert typed(pl.DataFrame({"day": ["2013-01-01"]}))["day"].to_list() == [date(2013, 1, 1)]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1))
def test_whole_numbers_survive_the_way_through_text(values: list[int | None]) -> None:
    back = typed(pl.DataFrame({"x": [None if value is None else str(value) for value in values]}, {"x": pl.String}))[
        "x"
    ]
    expected = values if any(value is not None for value in values) else [None] * len(values)
    assert back.to_list() == expected


@given(st.lists(st.text(alphabet="0123456789.eE+-NA tru:T", max_size=6), min_size=1, max_size=6))
def test_no_value_is_lost_whatever_the_text(values: list[str]) -> None:
    frame = pl.DataFrame({"x": values})
    found = typed(frame)["x"]
    missing = {"", "NA", "-"}
    assert found.len() == len(values)
    assert all(value in missing for value, kept in zip(values, found.to_list(), strict=True) if kept is None)
