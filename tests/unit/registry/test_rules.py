"""Signatures, what breaks callers, names, pickles."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.registry.model import DTYPES, Field, Signature
from mainspring.registry.rules import (
    breaking_changes,
    check_alias,
    holds,
    in_order,
    infer_inputs,
    is_pickle,
    label_dtype,
    outputs_of,
)

NAMES = st.text("abcdef", min_size=1, max_size=4)
FIELDS = st.lists(st.builds(Field, NAMES, st.sampled_from(DTYPES)), min_size=1, unique_by=lambda f: f.name).map(tuple)
SIGNATURES = st.builds(Signature, FIELDS, FIELDS)


def test_inputs_are_the_columns_of_the_frame_in_their_order() -> None:
    found = infer_inputs({"hour": "Int8", "carrier": "String"}, {"carrier": ["UA", "AA"]})
    assert found == (Field("hour", "int8"), Field("carrier", "string", ("UA", "AA")))


def test_a_time_is_no_input_and_the_error_says_what_to_do() -> None:
    with pytest.raises(Invalid, match=r"Datetime[\s\S]*where: column at[\s\S]*try: "):
        infer_inputs({"at": "Datetime"}, {})


def test_levels_of_a_column_that_is_not_there_are_refused_with_the_near_name() -> None:
    with pytest.raises(Invalid, match='did you mean "carrier"'):
        infer_inputs({"carrier": "String"}, {"carier": ["UA"]})


@given(SIGNATURES)
def test_a_signature_comes_back_from_its_plain_form(signature: Signature) -> None:
    assert Signature.of(signature.plain()) == signature


@given(SIGNATURES)
def test_no_signature_breaks_its_own_callers(signature: Signature) -> None:
    assert breaking_changes(signature, signature) == ()


@given(SIGNATURES, SIGNATURES, SIGNATURES)
def test_two_harmless_changes_are_harmless_together(first: Signature, second: Signature, third: Signature) -> None:
    if not breaking_changes(first, second) and not breaking_changes(second, third):
        assert not breaking_changes(first, third)


def test_a_new_input_a_narrower_type_and_a_lost_output_break_callers() -> None:
    old = Signature((Field("a", "float64"), Field("gone", "bool")), (Field("probability", "float64"),))
    new = Signature((Field("a", "int64"), Field("b", "string")), (Field("label", "int64"),))
    assert breaking_changes(old, new) == (
        "input 'b' is new",
        "input 'a' was float64 and is int64",
        "output 'probability' is gone",
    )


def test_a_wider_input_and_a_new_output_break_nobody() -> None:
    old = Signature((Field("a", "int16"),), (Field("probability", "float64"),))
    new = Signature((Field("a", "float64"),), (Field("probability", "float64"), Field("label", "int64")))
    assert breaking_changes(old, new) == ()


@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_holding_is_transitive(wide: str, middle: str, narrow: str) -> None:
    if holds(wide, middle) and holds(middle, narrow):
        assert holds(wide, narrow)


def test_inputs_take_the_order_of_training() -> None:
    signature = Signature((Field("a", "bool"), Field("b", "int8")))
    assert in_order(signature, ("b", "a")).names == ("b", "a")
    assert in_order(signature, ()) == signature


def test_other_columns_than_those_of_training_are_named() -> None:
    with pytest.raises(Invalid, match=r"missing \['c'\], unknown \['a'\]"):
        in_order(Signature((Field("a", "bool"), Field("b", "int8"))), ("b", "c"))


@pytest.mark.parametrize("name", ["latest", "Latest", "v12", "", "a b", "../x"])
def test_an_alias_is_not_a_reserved_word_and_no_path(name: str) -> None:
    with pytest.raises(Invalid):
        check_alias(name)


def test_ordinary_words_are_aliases() -> None:
    assert [check_alias(name) for name in ("champion", "challenger", "eu-west.1")]


@given(st.integers(min_value=2, max_value=5), st.text())
def test_every_binary_pickle_is_found_by_its_first_bytes(protocol: int, value: str) -> None:
    assert is_pickle("model.txt", pickle.dumps(value, protocol=protocol))


@pytest.mark.parametrize("name", ["m.pkl", "M.PICKLE", "m.joblib", "m.pkl.gz", "m.joblib.lz4", "m.pt"])
def test_pickles_are_found_by_name(name: str) -> None:
    assert is_pickle(name, b"")


@pytest.mark.parametrize(("name", "head"), [("model.txt", b"tree\nversion=v4"), ("model.skops", b"PK\x03\x04")])
def test_the_formats_we_keep_are_no_pickles(name: str, head: bytes) -> None:
    assert not is_pickle(name, head)


def test_the_outputs_follow_from_the_task() -> None:
    assert outputs_of("regression", ()) == (Field("prediction", "float64"),)
    assert outputs_of("binary", ("no", "yes")) == (Field("probability", "float64"), Field("label", "string"))


@pytest.mark.parametrize(
    ("classes", "dtype"), [((0, 1), "int64"), ((False, True), "bool"), ((0.5, 1), "float64"), (("a", "b"), "string")]
)
def test_labels_have_the_type_of_the_classes(classes: tuple[str | int | float | bool, ...], dtype: str) -> None:
    assert label_dtype(classes) == dtype


def test_a_field_says_which_type_was_meant() -> None:
    with pytest.raises(Invalid, match='did you mean "float64"'):
        Field("a", "flaot64")
