"""Messages: both spellings, absent told from empty, numbers as clients write them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.mlflow.wire import (
    UNSET,
    Int64,
    KeyValue,
    MaybeBool,
    MaybeInt,
    MaybeText,
    Message,
    Number,
    Text,
    decode,
    decode_query,
    double,
    encode,
    float_of,
    one_of,
)


class Inner(Message):
    model_id: MaybeText = UNSET
    value: Number = 0.0


class Ask(Message):
    run_id: Text
    end_time: MaybeInt = UNSET
    all_of_it: MaybeBool = UNSET
    some_steps: list[Int64] = []
    inner_parts: list[Inner] = []
    tags: list[KeyValue] = []


def _snake(**fields: object) -> bytes:
    return json.dumps({"run_id": "r", **fields}).encode()


def test_absent_is_not_zero() -> None:
    assert decode(Ask, _snake()).end_time is UNSET
    assert decode(Ask, _snake(end_time=0)).end_time == 0
    assert decode(Ask, _snake(end_time=None)).end_time is UNSET


@pytest.mark.parametrize("value", [7, "7", 7.0])
def test_an_int64_may_come_as_a_text(value: object) -> None:
    assert decode(Ask, _snake(end_time=value)).end_time == 7


@pytest.mark.parametrize("value", [1.5, True, "x", 2**63, -(2**63) - 1, [], "1.5", ""])
def test_what_is_no_int64_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="end_time"):
        decode(Ask, _snake(end_time=value))


def test_both_spellings_of_one_field_are_refused_at_every_depth() -> None:
    with pytest.raises(Invalid, match="both 'end_time' and 'endTime'"):
        decode(Ask, _snake(end_time=1, endTime=1))
    with pytest.raises(Invalid, match="both 'model_id' and 'modelId'"):
        decode(Ask, _snake(inner_parts=[{"model_id": "a", "modelId": "a"}]))
    with pytest.raises(Invalid, match="both"):
        decode_query(Ask, [("run_id", "r"), ("runId", "r")])


def test_unknown_fields_are_ignored() -> None:
    assert decode(Ask, _snake(new_in_4=1, inner_parts=[{"x": 1}])) == Ask(run_id="r", inner_parts=[Inner()])


def test_a_missing_field_is_named_with_its_place() -> None:
    with pytest.raises(Invalid, match="Missing value for required parameter 'run_id'"):
        decode(Ask, b'{"run_id": ""}')
    with pytest.raises(Invalid, match=r"'inner_parts\[1\]\.value'"):
        decode(Ask, _snake(inner_parts=[{}, {"value": True}]))


@pytest.mark.parametrize("name", ["run_uuid", "runUuid"])
def test_the_old_name_of_a_run_is_understood(name: str) -> None:
    assert decode(Ask, json.dumps({name: "r"}).encode()).run_id == "r"
    assert decode_query(Ask, [(name, "r")]).run_id == "r"
    assert decode(Ask, json.dumps({name: "old", "run_id": "r"}).encode()).run_id == "r"


def test_a_repeated_parameter_is_a_list_and_words_are_bools() -> None:
    query = [("run_id", "r"), ("some_steps", "1"), ("some_steps", "-2"), ("allOfIt", "true"), ("end_time", "5")]
    assert decode_query(Ask, query) == Ask(run_id="r", some_steps=[1, -2], all_of_it=True, end_time=5)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b'{"run_id": NaN}', b'{"run_id": 5}']
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode(Ask, body)


def test_a_text_with_nul_is_refused_at_every_depth() -> None:
    for body in (b'{"run_id": "a\\u0000"}', _snake(tags=[{"key": "k", "value": "\x00"}])):
        with pytest.raises(Invalid, match="NUL"):
            decode(Ask, body)
    assert decode(Ask, _snake(tags=[{"key": "\\u0000", "value": "é"}])).tags[0].key == "\\u0000"


def test_empty_lists_and_unset_fields_are_left_out_of_answers() -> None:
    assert json.loads(encode(Ask(run_id="", end_time=0))) == {"run_id": "", "end_time": 0}
    assert encode(None) == b"{}"
    assert encode(KeyValue(key="k")) == b'{"key":"k","value":""}'


def test_an_enumeration_takes_words_and_numbers() -> None:
    words = {"ACTIVE_ONLY": "a", "DELETED_ONLY": "d"}
    assert [one_of(text, words, "view") for text in ("ACTIVE_ONLY", "2")] == ["a", "d"]
    for text in ("active", "0", "3", "", "²"):
        with pytest.raises(Invalid, match="view"):
            one_of(text, words, "view")


@given(st.floats())
def test_every_double_survives_the_wire(value: float) -> None:
    sent = json.loads(encode(Inner(value=double(value))))
    found = float_of(decode(Inner, json.dumps(sent).encode()).value, "value")
    assert found == value or (math.isnan(found) and math.isnan(value))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(["run_id", "runId", "run_uuid", "end_time", "endTime", "tags", "inner_parts", "innerParts"])


@given(st.dictionaries(_names | st.text(max_size=5), _json, max_size=6))
def test_any_object_is_a_message_or_refused_and_both_decoders_agree(plain: dict[str, object]) -> None:
    body = json.dumps(plain).encode()
    try:
        found = decode(Ask, body)
    except Invalid:
        with pytest.raises(Invalid):
            decode(Ask, body, {"unknown": "x"})  # fields in the address: never the fast decoder
        return
    assert decode(Ask, body, {"unknown": "x"}) == found


@given(st.text(min_size=1), st.none() | st.integers(-(2**63), 2**63 - 1), st.lists(st.text()))
def test_both_spellings_mean_the_same(run_id: str, end_time: int | None, keys: list[str]) -> None:
    tags = [{"key": key, "value": ""} for key in keys]
    snake = json.dumps({"run_id": run_id, "end_time": end_time, "tags": tags}).encode()
    camel = json.dumps({"runId": run_id, "endTime": end_time, "tags": tags}).encode()
    try:
        found: Ask | None = decode(Ask, snake)
    except Invalid:
        found = None
    try:
        assert decode(Ask, camel) == found
    except Invalid:
        assert found is None
