"""What may come next in a filter that is being written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.tracking.grammar import RUNS, fitting, names_of, place_in, read_filter, values_for

PLACES = [
    ("", "", "name"),
    ("sta", "sta", "name"),
    ("status", "status", "name"),
    ("seed = 1 AND params.", "params.", "name"),
    ("tags.`a b", "tags.`a b", "name"),
    ("status ", "", "operator"),
    ("status !", "!", "operator"),
    ("status=", "=", "operator"),
    ("status = ", "", "value"),
    ("status = 'fi", "'fi", "value"),
    ("status = 'finished'", "", "word"),
    ("status = 'finished' a", "a", "word"),
    ("status = 'finished' AND ", "", "name"),
    ("(status = 'failed' OR NOT tag", "tag", "name"),
    ("status IN (", "", "value"),
    ("status IN ('failed', ", "", "value"),
    ("status NOT ", "", "word"),
    ("status IS ", "", "word"),
    ("tags.`a b` LIKE ", "", "value"),
    ("nothing = ", "", "word"),
    ("status status ", "", "nothing"),
    ("started > 7", "7", "value"),
]


@pytest.mark.parametrize(("text", "word", "want"), PLACES)
def test_what_is_wanted_follows_from_what_is_written(text: str, word: str, want: str) -> None:
    place = place_in(text, RUNS)
    assert (place.head + place.word, place.word, place.want) == (text, word, want)


def test_words_are_those_that_may_stand_there() -> None:
    assert place_in("status IS ", RUNS).words == ("NULL", "NOT NULL")
    assert place_in("(seed = 1 ", RUNS).words == ("AND", "OR", ")")
    assert place_in("seed = 1 ", RUNS).words == ("AND", "OR")
    assert "LIKE" not in place_in("seed ", RUNS).words
    assert "RLIKE" in place_in("name ", RUNS).words
    assert place_in("status NOT ", RUNS).words == ("IN", "LIKE", "ILIKE", "RLIKE")
    assert place_in("nothing ", RUNS).words == ()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=3, max_size=30))
def test_whoever_takes_only_what_is_offered_writes_a_filter(choices: list[int]) -> None:
    names = names_of(RUNS, (("metrics", ("loss",)), ("tags", ("a b", "it's"))))
    text, whole = "", ""
    for choice in choices:
        place = place_in(text, RUNS)
        offers = list(place.words)
        if place.want == "name":
            offers = names
        elif place.want == "value" and place.attribute is not None:
            offers = ["1"] if place.attribute.type == "number" else values_for(place.attribute, ("it's",))
        found = fitting(place.word, offers, 100)
        assert found, text
        text = f"{place.head}{found[choice % len(found)]} "
        if "AND" in place_in(text, RUNS).words and "(" not in text:
            whole = text
    read_filter(whole, RUNS)
