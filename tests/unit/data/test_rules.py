"""Which rows fail which check, and what a table seems to be for."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.errors import Invalid, MainspringError
from mainspring.data import Check, describe_frame, guess_task
from mainspring.data.model import parse_checks
from mainspring.data.rules import REASON, split_rows

AGES = pl.DataFrame({"id": [1, 2, 2, 3], "age": [30.0, None, 200.0, -1.0], "town": ["EWR", "JFK", "jfk", None]})


def test_each_row_is_kept_or_left_out_with_every_reason() -> None:
    checks = [Check("id", "unique"), Check("age", "not_null"), Check("age", "in_range", low=0, high=120)]
    good, bad = split_rows(AGES, checks)
    assert good.rows() == [(1, 30.0, "EWR")]
    assert bad[REASON].to_list() == [
        "id unique; age not_null",
        "id unique; age in_range 0 to 120",
        "age in_range 0 to 120",
    ]


@pytest.mark.parametrize(
    ("check", "left_out"),
    [
        (Check("town", "in_set", values=("EWR", "JFK")), [2]),
        (Check("town", "matches", pattern="[A-Z]{3}"), [2]),
        (Check("town", "matches", pattern="J|E"), [0, 1, 2]),
        (Check("age", "in_range", low=0), [3]),
        (Check("age", "in_range", high=100), [2]),
        (Check("id", "in_set", values=(1, 3)), [1, 2]),
        (Check("town", "not_null"), [3]),
    ],
)
def test_one_check_leaves_out_exactly_its_rows(check: Check, left_out: list[int]) -> None:
    _, bad = split_rows(AGES.with_row_index("row"), [check])
    assert bad["row"].to_list() == left_out


def test_a_type_check_quarantines_what_is_none_and_gives_the_others_the_type() -> None:
    frame = pl.DataFrame({"age": ["41", "forty", None, "7"]})
    good, bad = split_rows(frame, [Check("age", "type", column_kind="integer"), Check("age", "in_range", low=10)])
    assert good["age"].to_list() == [41, None]
    assert good.schema["age"] == pl.Int64
    assert bad.rows() == [("forty", "age type integer"), ("7", "age in_range 10 to ")]


def test_a_type_check_on_numbers_never_changes_a_value() -> None:
    good, bad = split_rows(pl.DataFrame({"n": [1.0, 2.5, None]}), [Check("n", "type", column_kind="integer")])
    assert good["n"].to_list() == [1, None]
    assert bad["n"].to_list() == [2.5]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.sampled_from(["a", "b", None])), max_size=15),
    low=st.integers(-3, 3),
)
def test_good_and_bad_are_all_rows_each_once_in_their_order(
    rows: list[tuple[int | None, str | None]], low: int
) -> None:
    frame = pl.DataFrame(rows, schema={"n": pl.Int64, "t": pl.String}, orient="row").with_row_index("row")
    checks = [Check("n", "in_range", low=low), Check("t", "not_null"), Check("n", "unique")]
    good, bad = split_rows(frame, checks)
    assert sorted([*good["row"], *bad["row"]]) == list(range(len(rows)))
    assert good["row"].is_sorted()
    assert bad["row"].is_sorted()
    assert split_rows(good, checks)[1].height == 0


@pytest.mark.parametrize(
    ("check", "what", "hint"),
    [
        (Check("aeg", "not_null"), "no column 'aeg'", 'did you mean "age"?'),
        (Check("town", "in_range", low=0), "a range needs numbers", "column_kind=number"),
        (Check("age", "matches", pattern="x"), "a pattern needs text", "column_kind=text"),
        (Check("town", "matches", pattern="("), "no regular expression", "brackets"),
        (Check("age", "in_set", values=("a",)), "the values do not fit age", "Float64"),
    ],
)
def test_a_check_that_does_not_fit_is_named_with_a_way_out(check: Check, what: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        split_rows(AGES, [check])
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{}",
        "[1]",
        '[{"column": "a"}]',
        '[{"column": "a", "kind": "not_nul"}]',
        '[{"column": "a", "kind": "in_range"}]',
        '[{"column": "a", "kind": "in_range", "low": "x"}]',
        '[{"column": "a", "kind": "in_range", "lo": 1}]',
        '[{"column": "a", "kind": "in_set"}]',
        '[{"column": "a", "kind": "in_set", "values": "abc"}]',
        '[{"column": "a", "kind": "matches"}]',
        '[{"column": "a", "kind": "type", "column_kind": "int"}]',
    ],
)
def test_checks_that_are_none_are_refused_in_three_lines(text: str) -> None:
    with pytest.raises(MainspringError) as caught:
        parse_checks(text)
    assert len(str(caught.value).splitlines()) == 3


def test_checks_are_read_from_json() -> None:
    text = (
        '[{"column": "a", "kind": "in_range", "low": 0, "high": 9}, {"column": "b", "kind": "in_set", "values": ["x"]}]'
    )
    assert parse_checks(text) == [Check("a", "in_range", low=0, high=9), Check("b", "in_set", values=("x",))]
    assert parse_checks("") == []


def table(rows: int = 60) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer": [f"c-{n}" for n in range(rows)],
            "row": range(1000, 1000 + rows),
            "day": [date(2013, 1, 1) + timedelta(days=n) for n in range(rows)],
            "plan": ["basic", "gold", "silver"] * (rows // 3),
            "spend": [n * 1.5 for n in range(rows)],
            "note": [f"called {n // 2} times" for n in range(rows)],
            "country": ["US"] * rows,
            "churned": [n % 2 for n in range(rows)],
        }
    )


def test_ids_constants_times_and_free_text_are_no_features() -> None:
    guess = describe_frame(table(), "churned")
    assert (guess.task, guess.features, guess.text, guess.time_column) == (
        "binary",
        ("plan", "spend"),
        ("plan",),
        "day",
    )
    assert guess.left_out == {
        "customer": "looks like an id",
        "row": "looks like an id",
        "day": "tells the time",
        "note": "free text",
        "country": "constant",
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([*map(str, range(99)), "oops"], "numbers, but 'oops' in row 100"),
        ([*map(str, range(98)), "n.a.", "?!"], "numbers, but 'n.a.' in row 99 and 1 more"),
        ([f"{n},5" for n in range(100)], "numbers with a comma for the point"),
        ([f"{n:05}" for n in range(100)], "looks like an id"),
    ],
)
def test_what_spoils_a_column_of_numbers_is_said(values: list[str], reason: str) -> None:
    frame = pl.DataFrame({"spoiled": values, "x": [n % 7 for n in range(100)], "y": [n % 2 for n in range(100)]})
    assert describe_frame(frame, "y").left_out == {"spoiled": reason}


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, None], "binary"),
        ([True, False], "binary"),
        (["no", "yes"], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([1, 2, 3, 4], "multiclass"),
        (list(range(50)), "regression"),
        ([0.5, 1.5, 2.5], "regression"),
    ],
)
def test_the_task_follows_from_the_target(values: list[object], task: str) -> None:
    assert guess_task(pl.DataFrame({"y": values}), "y") == task


@pytest.mark.parametrize(
    ("values", "what"), [([1, 1], "1 value:"), ([None], "0 values"), ([f"t{n}" for n in range(50)], "50")]
)
def test_a_target_that_teaches_nothing_is_refused(values: list[object], what: str) -> None:
    with pytest.raises(Invalid, match=what):
        guess_task(pl.DataFrame({"y": values}), "y")


def test_an_unknown_target_gets_the_near_name() -> None:
    with pytest.raises(Invalid) as caught:
        guess_task(table(), "chruned")
    assert caught.value.hint == 'did you mean "churned"?'
