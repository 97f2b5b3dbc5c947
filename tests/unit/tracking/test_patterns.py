"""Regular expressions of filters: what is taken, and why the rest is not."""

from __future__ import annotations

import time

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.storage.regular import found
from mainspring.tracking.grammar import TRACES, read_filter
from mainspring.tracking.grammar.patterns import refusal

REFUSED = {
    "(a": "not closed",
    "a)": "not open",
    "*a": "repeats nothing",
    "a**": "repeats nothing",
    "^*": "repeats nothing",
    "(?=a)": "can't be used",
    "(?P<n>a)": "can't be used",
    r"(a)\1": "can't be used",
    r"\b": "can't be used",
    r"\p{L}": "can't be used",
    "a{": "can't be used",
    "a{,3}": "can't be used",
    "a{3,2}": "ends before",
    "a{101}": "count",
    "(a{50}){50}": "count",
    "a{60}b{60}": "count",
    "[z-a]": "no range",
    "[a-b-c]": "no range",
    r"[\d-z]": "no range",
    "[]": "can't be used",
    "[^]": "can't be used",
    "[[:alpha:]]": "can't be used",
    "[a&&b]": "brackets",
    "(" * 21 + ")" * 21: "in one another",
    "a" * 501: "501 characters",
    "\\": "can't be used",
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_not_every_database_takes_is_refused_with_the_reason(pattern: str) -> None:
    assert REFUSED[pattern] in refusal(pattern)


@given(
    st.lists(
        st.sampled_from(["a", "b", ".", "*", "+", "?", "(", ")", "|", "[a-c]", "^", "$", r"\d", "{2}", "-"]),
        max_size=12,
    )
)
def test_what_is_taken_compiles(parts: list[str]) -> None:
    pattern = "".join(parts)
    if not refusal(pattern):
        polars.Series(["abc"]).str.contains(f"(?s:{pattern})")


def test_a_pattern_that_would_take_years_to_try_is_over_at_once() -> None:
    began = time.process_time()
    assert not found("(a*)*(a*)*(a|aa)+$", "a" * 5_000 + "b")
    assert time.process_time() - began < 5  # tried one after another it is 2 ** 5000


def test_a_refused_pattern_says_where_and_what_may_be_written() -> None:
    with pytest.raises(Invalid) as told:
        read_filter("tags.a = 'x' AND name RLIKE '(a'", TRACES)
    assert "is no pattern here: a group is not closed" in told.value.what
    assert told.value.where.startswith("filter, character 18")
    assert "write it with" in told.value.hint
