"""Spans of OpenTelemetry: what the generated classes write is read the same, and rubbish is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.mlflow.otlp import spans_of, traces_of

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

PROTOBUF, JSON = "application/x-protobuf", "application/json"
words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    words.map(lambda found: AnyValue(string_value=found)),
    st.booleans().map(lambda found: AnyValue(bool_value=found)),
    st.integers(-(2**63), 2**63 - 1).map(lambda found: AnyValue(int_value=found)),
    st.floats(allow_nan=False).map(lambda found: AnyValue(double_value=found)),
    st.binary(max_size=20).map(lambda found: AnyValue(bytes_value=found)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: AnyValue(array_value=ArrayValue(values=found))),
        st.lists(st.tuples(words, inner), max_size=3).map(
            lambda found: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in found]))
        ),
    ),
    max_leaves=6,
)


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(1, 3))):
        span = made.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id = draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=8, max_size=8))
        span.name, span.kind = draw(words), draw(st.integers(0, 5))
        span.start_time_unix_nano, span.end_time_unix_nano = draw(st.integers(0, 2**62)), draw(st.integers(0, 2**62))
        for key, value in draw(st.dictionaries(words, values, max_size=3)).items():
            span.attributes.add(key=key).value.CopyFrom(value)
        event = span.events.add(name=draw(words), time_unix_nano=draw(st.integers(0, 2**64 - 1)))
        event.attributes.add(key="why").value.string_value = draw(words)
        span.links.add(trace_id=span.trace_id, span_id=span.span_id, flags=draw(st.integers(0, 2**32 - 1)))
        span.status.code, span.status.message = draw(st.integers(0, 2)), draw(words)
    return made


def theirs(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    plain = MessageToDict(message, preserving_proto_field_name=True)
    return [s for r in plain["resource_spans"] for scope in r["scope_spans"] for s in scope["spans"]]


def numbers(plain: object) -> object:
    """What protobuf's JSON writes as texts, as numbers; fields that are left out there are left out."""
    if isinstance(plain, list):
        return [numbers(entry) for entry in plain]
    if not isinstance(plain, dict):
        return plain
    whole = ("start_time_unix_nano", "end_time_unix_nano", "time_unix_nano", "int_value")
    return {key: int(value) if key in whole else numbers(value) for key, value in plain.items()}


def without_defaults(plain: object, inside: str = "") -> object:
    if isinstance(plain, list):
        return [without_defaults(entry, inside) for entry in plain]
    if not isinstance(plain, dict):
        return plain
    kept = {key: without_defaults(value, key) for key, value in plain.items()}
    absent = ("", 0, "SPAN_KIND_UNSPECIFIED", "STATUS_CODE_UNSET")
    return {key: value for key, value in kept.items() if key.endswith("_value") or value not in absent}


@given(requests())
def test_what_the_generated_classes_write_is_read_as_they_read_it(made: ExportTraceServiceRequest) -> None:
    ours = spans_of(made.SerializeToString(), PROTOBUF)
    assert without_defaults(ours) == without_defaults(numbers(theirs(made)))


@given(requests())
def test_json_and_protobuf_say_the_same(made: ExportTraceServiceRequest) -> None:
    plain = MessageToDict(made)
    for resource in plain["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for one in (span, *span.get("links", [])):
                    for key in ("traceId", "spanId"):
                        one[key] = base64.b64decode(one[key]).hex()
    ours = spans_of(json.dumps(plain).encode(), JSON)
    assert without_defaults(ours) == without_defaults(spans_of(made.SerializeToString(), PROTOBUF))


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_read_but_never_fails(body: bytes) -> None:
    for kind in (PROTOBUF, JSON):
        try:
            found = spans_of(body, kind)
        except Invalid:
            continue
        assert traces_of(found, "1")


@given(requests(), st.integers(0, 400), st.integers(0, 255))
def test_a_broken_byte_is_refused_or_read_but_never_fails(made: ExportTraceServiceRequest, at: int, byte: int) -> None:
    body = bytearray(made.SerializeToString())
    body[at % len(body)] = byte
    try:
        traces_of(spans_of(bytes(body), PROTOBUF), "1")
    except Invalid as reason:
        assert reason.hint


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"resourceSpans": 7}',
        b'{"resourceSpans": [7]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00", "spanId": "00"}]}]}]}',
        b"[" * 100_000,
    ],
)
def test_json_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        spans_of(body, JSON)


def test_messages_that_lie_too_deep_are_refused() -> None:
    body = b""
    for _ in range(100):
        body = (
            bytes([0x2A]) + _varint(len(body) + 1 + len(_varint(len(body)))) + bytes([0x0A]) + _varint(len(body)) + body
        )
    attribute = bytes([0x12]) + _varint(len(body)) + body
    for number in (9, 2, 2, 1):
        attribute = bytes([number << 3 | 2]) + _varint(len(attribute)) + attribute
    with pytest.raises(Invalid, match="deep"):
        spans_of(attribute, PROTOBUF)


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def test_a_trace_is_what_its_root_says() -> None:
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    root = spans.add(trace_id=b"t" * 16, span_id=b"a" * 8, name="root")
    root.start_time_unix_nano, root.end_time_unix_nano = 5_000_000, 9_000_000
    root.status.code = 2
    inputs = root.attributes.add(key="mlflow.spanInputs").value.kvlist_value.values.add(key="q")
    inputs.value.int_value = 3
    spans.add(
        trace_id=b"t" * 16, span_id=b"b" * 8, parent_span_id=b"a" * 8, name="leaf", start_time_unix_nano=6_000_000
    )
    ((trace, parts),) = traces_of(spans_of(made.SerializeToString(), PROTOBUF), "7")
    assert (trace.id, trace.experiment_id, trace.name) == (f"tr-{(b't' * 16).hex()}", "7", "root")
    assert (trace.state, trace.started_at, trace.duration_us) == ("error", 5000, 4000)
    assert trace.asked == '{"q": 3}'
    assert [part.started_ns for part in parts] == [5_000_000, 6_000_000]


def test_spans_without_their_root_belong_to_a_trace_that_goes_on() -> None:
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=b"t" * 16, span_id=b"b" * 8, parent_span_id=b"a" * 8, start_time_unix_nano=6_000_000)
    ((trace, _),) = traces_of(spans_of(made.SerializeToString(), PROTOBUF), "7")
    assert (trace.state, trace.name, trace.duration_us) == ("in_progress", "", None)
