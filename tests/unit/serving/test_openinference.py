from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.asking import Context
from mainspring.serving.modelserver.columns import Column as Checked
from mainspring.serving.modelserver.columns import Features, kind_of
from mainspring.serving.modelserver.protocols.openinference import decode
from mainspring.serving.modelserver.protocols.tensors import Inference, InferRequest, tensors


@dataclass(frozen=True)
class Column:
    name: str
    dtype: str
    size: int = 1


FEATURES = Features([Column("x", "float64"), Column("n", "int32"), Column("ok", "bool"), Column("c", "string")])
NUMBERS = Features([Column("a", "float64"), Column("b", "float32")])


def body(*inputs: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def column(name: str, data: list[object], datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, object]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def full(**changes: list[object]) -> bytes:
    plain: dict[str, list[object]] = {"x": [1.5, None], "n": [1, 2], "ok": [True, False], "c": ["a", None]}
    return body(*(column(name, data) for name, data in {**plain, **changes}.items()))


def columns(raw: bytes, features: Features = FEATURES) -> list[Checked]:
    return Inference(decode(raw), lambda: "id").columns(features)


def context(request: InferRequest, fresh: str = "f") -> Context:
    return Inference(request, lambda: fresh).about


def test_columns_come_in_the_order_of_the_signature() -> None:
    assert columns(full()) == [[1.5, None], [1, 2], [True, False], ["a", None]]


def test_nested_and_flat_matrices_are_the_same() -> None:
    nested = body({"name": "m", "shape": [2, 2], "datatype": "FP64", "data": [[1, 2.5], [3, 4]]})
    flat = body({"name": "m", "shape": [2, 2], "datatype": "FP64", "data": [1, 2.5, 3, 4]})
    assert columns(nested, NUMBERS) == columns(flat, NUMBERS) == [[1.0, 3.0], [2.5, 4.0]]


def test_a_column_may_have_shape_n_or_n_by_one() -> None:
    raw = body(column("a", [1, 2], shape=[2, 1]), column("b", [[3], [4]], shape=[2, 1]))
    assert columns(raw, NUMBERS) == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("token", ["NaN", "null"])
def test_nan_and_null_are_both_a_missing_number(token: str) -> None:
    raw = full().replace(b"null", token.encode(), 1)
    assert columns(raw)[0] == [1.5, None]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not an inference request"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": ' + b"[" * 100_000, "not JSON"),
        (b"NaN" + b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not an inference request"),
        (b'{"inputs": 5}', "not an inference request"),
        (b'{"inputs": [], "a": NaN}', "at least one input"),
        (body(), "at least one input"),
        (full(x=[1.0]), "2 values, those before it have 1"),
        (full(x=["a", 1.0]), "takes a number"),
        (full(x=[True, 1.0]), "takes a number"),
        (full(x=[10**400, 1.0]), "not finite"),
        (full(x=[math.inf, 1.0]), "not finite"),
        (full(n=[1.5, 2]), "whole number"),
        (full(n=[2**31, 2]), "out of range"),
        (full(ok=[2, True]), "true or false"),
        (full(c=[1, "a"]), "takes a text .string."),
        (body(column("x", [1.0])), "'n' is missing"),
        (body(column("x", [1.0], shape=[2])), "its shape"),
        (body(column("x", [])), "1 to 10000 rows"),
        (body(column("x", [1.0]), column("x", [1.0])), "same name"),
        (body(column("x", [1.0], "FP16")), "binary only"),
        (body({"name": "m", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}), r"takes \[n, 4\]"),
        (body({"name": "m", "shape": [2, 4], "datatype": "FP64", "data": [[1, 2, 3], [1]]}), "nested unlike"),
        (body({"name": "m", "shape": [-1, 4], "datatype": "FP64", "data": []}), "shape|rows"),
    ],
)
def test_what_does_not_fit_is_refused_and_said(raw: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        columns(raw)


def test_fields_it_does_not_know_are_left_alone() -> None:
    raw = body(column("a", [1]) | {"extra": 1}, column("b", [2]), column("z", ["?"]), unknown={"deep": [1]})
    assert columns(raw, NUMBERS) == [[1.0], [2.0]]


def test_whole_numbers_may_be_sent_as_floats_and_text_as_base64() -> None:
    raw = decode(full(n=[1.0, 2.0], c=["aGk=", "aGk="]))
    raw.inputs[3].datatype, raw.inputs[3].parameters = "BYTES", {"content_type": "base64"}
    assert Inference(raw, lambda: "id").columns(FEATURES)[1:] == [[1, 2], [True, False], ["hi", "hi"]]


def test_the_context_has_defaults_and_limits() -> None:
    about = context(decode(full()), "fresh")
    assert (about.request_id, about.key, about.event_at, about.timeout_ms) == ("fresh", "fresh", None, None)
    given = {"routing_key": 7, "event_time": "2013-04-01T00:00:00Z", "timeout_ms": 50}
    about = context(decode(body(column("x", [1]), id="i", parameters=given)))
    assert (about.request_id, about.key, about.event_at, about.timeout_ms) == ("i", "7", 1_364_774_400_000_000, 50)
    wrong = [
        {"event_time": "soon"},
        {"event_time": 2**70},
        {"timeout_ms": 0},
        {"routing_key": "x" * 201},
        {"event_time": []},
    ]
    for parameters in wrong:
        with pytest.raises(Invalid):
            context(decode(body(column("x", [1]), parameters=parameters)))


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_a_request_or_refused(raw: bytes) -> None:
    try:
        request = decode(raw)
        context(request)
        Inference(request, lambda: "id").columns(FEATURES)
    except Invalid:
        pass


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)), min_size=1))
def test_what_is_sent_as_a_matrix_or_as_columns_arrives_the_same(rows: list[tuple[float, int]]) -> None:
    features = Features([Column("a", "float64"), Column("b", "int64")])
    matrix = body({"name": "m", "shape": [len(rows), 2], "datatype": "FP64", "data": [list(row) for row in rows]})
    split = body(column("b", [b for _, b in rows], "INT64"), column("a", [a for a, _ in rows]))
    assert columns(matrix, features) == columns(split, features) == [[a for a, _ in rows], [b for _, b in rows]]


def test_outputs_keep_their_shape_and_nan_leaves_as_null() -> None:
    found = tensors({"p": [[0.1, 0.9], [math.nan, 1.0]], "label": ["a", "b"], "n": [1, 2]})
    assert [(t["datatype"], t["shape"]) for t in found] == [("FP64", [2, 2]), ("BYTES", [2]), ("INT64", [2])]


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", "float"), ("uint8", "int"), ("bool", "bool"), ("string", "text")]
)
def test_every_type_of_the_registry_has_a_kind(dtype: str, kind: str) -> None:
    assert kind_of(dtype) == kind
