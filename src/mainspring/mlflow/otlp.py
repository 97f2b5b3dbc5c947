"""Spans as OpenTelemetry sends them, in protobuf or JSON, and what they say of the traces they belong to."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

from mainspring.core.errors import Invalid
from mainspring.mlflow.protobuf import Part, Plain, Shape, broken, read
from mainspring.tracking.model import Span, Trace

MAX_PREVIEW = 1000
"""How many characters of what went in and came out a trace shows."""
_ID = "mlflow.traceRequestId"
_KIND = "mlflow.spanType"
_KINDS = tuple(f"SPAN_KIND_{word}" for word in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
_CODES = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
_STATES = {"STATUS_CODE_ERROR": "error"}


def _messages(name: str, shape: str) -> Part:
    return Part(name, "message", shape=shape, many=True)


_ATTRIBUTES = _messages("attributes", "pair")
SHAPES: Mapping[str, Shape] = {
    "request": {1: _messages("resource_spans", "resource_spans")},
    "resource_spans": {2: _messages("scope_spans", "scope_spans")},
    "scope_spans": {2: _messages("spans", "span")},
    "span": {
        1: Part("trace_id", "bytes"),
        2: Part("span_id", "bytes"),
        3: Part("trace_state", "text"),
        4: Part("parent_span_id", "bytes"),
        5: Part("name", "text"),
        6: Part("kind", "word", _KINDS),
        7: Part("start_time_unix_nano", "fixed"),
        8: Part("end_time_unix_nano", "fixed"),
        9: _ATTRIBUTES,
        10: Part("dropped_attributes_count", "int"),
        11: _messages("events", "event"),
        12: Part("dropped_events_count", "int"),
        13: _messages("links", "link"),
        14: Part("dropped_links_count", "int"),
        15: Part("status", "message", shape="status"),
        16: Part("flags", "fixed"),
    },
    "event": {
        1: Part("time_unix_nano", "fixed"),
        2: Part("name", "text"),
        3: _ATTRIBUTES,
        4: Part("dropped_attributes_count", "int"),
    },
    "link": {
        1: Part("trace_id", "bytes"),
        2: Part("span_id", "bytes"),
        3: Part("trace_state", "text"),
        4: _ATTRIBUTES,
        5: Part("dropped_attributes_count", "int"),
        6: Part("flags", "fixed"),
    },
    "status": {2: Part("message", "text"), 3: Part("code", "word", _CODES)},
    "pair": {1: Part("key", "text"), 2: Part("value", "message", shape="value")},
    "value": {
        1: Part("string_value", "text"),
        2: Part("bool_value", "bool"),
        3: Part("int_value", "int"),
        4: Part("double_value", "double"),
        5: Part("array_value", "message", shape="array"),
        6: Part("kvlist_value", "message", shape="pairs"),
        7: Part("bytes_value", "bytes"),
    },
    "array": {1: _messages("values", "value")},
    "pairs": {1: _messages("values", "pair")},
}
"""The messages of OpenTelemetry, by the numbers of their fields."""
_BY_CAMEL = {
    shape: {re.sub(r"_(\w)", lambda found: found[1].upper(), part.name): part for part in parts.values()}
    for shape, parts in SHAPES.items()
}


def spans_of(body: bytes, kind: str) -> list[Plain]:
    """The spans of a request in protobuf's JSON form.

    Args:
        kind: The content type: application/x-protobuf or application/json.
    Raises:
        Invalid: The body is no such request, or has no spans.
    """
    request = read(body, "request", SHAPES) if kind == "application/x-protobuf" else _plain(_parsed(body), "request")
    found = [
        span
        for resource in _list(request, "resource_spans")
        for scope in _list(resource, "scope_spans")
        for span in _list(scope, "spans")
    ]
    if not found:
        raise broken("no spans found")
    for span in found:
        _check(span)
    return found


def traces_of(spans: Sequence[Plain], experiment_id: str) -> list[tuple[Trace, list[Span]]]:
    """The traces that spans belong to, as these say they are, each with its spans."""
    grouped: dict[str, list[Plain]] = {}
    for span in spans:
        grouped.setdefault(_trace_id(span), []).append(span)
    return [(_trace(name, parts, experiment_id), [_kept(part) for part in parts]) for name, parts in grouped.items()]


def _trace(trace_id: str, spans: Sequence[Plain], experiment_id: str) -> Trace:
    root = next((span for span in spans if not span.get("parent_span_id")), None)
    start = min(_time(span, "start_time_unix_nano") for span in spans) // 1000
    if root is None:
        return Trace(trace_id, experiment_id, "", "in_progress", start)
    code = cast(Plain, root.get("status", {})).get("code", "")
    said = {str(pair.get("key")): pair.get("value") for pair in _list(root, "attributes")}
    name, asked, answered = str(root.get("name", "")), *(_preview(said.get(key)) for key in _SHOWN)
    return Trace(
        trace_id,
        experiment_id,
        name,
        _STATES.get(str(code), "ok"),
        start,
        duration_us=max(0, _time(root, "end_time_unix_nano") // 1000 - start),
        asked=asked,
        answered=answered,
        tags={"mlflow.traceName": name} if name else {},
        metadata={"mlflow.trace_schema.version": "3"},
    )


_SHOWN = ("mlflow.spanInputs", "mlflow.spanOutputs")


def _preview(value: object) -> str:
    plain = _meant(value)
    text = plain if isinstance(plain, str) else "" if plain is None else json.dumps(plain, ensure_ascii=False)
    return text[:MAX_PREVIEW]


def _meant(value: object) -> object:
    """What a value of an attribute stands for."""
    if not isinstance(value, dict) or not value:
        return None
    ((name, inner),) = list(value.items())[:1]
    if name == "array_value":
        return [_meant(entry) for entry in _list(inner, "values")]
    if name == "kvlist_value":
        return {str(pair.get("key")): _meant(pair.get("value")) for pair in _list(inner, "values")}
    return cast(object, inner)


def _trace_id(span: Plain) -> str:
    for pair in _list(span, "attributes"):
        value = cast(Plain, pair.get("value") or {}).get("string_value")
        if pair.get("key") == _ID and isinstance(value, str) and value:
            return value.strip('"')  # some clients write attributes as JSON
    return f"tr-{_bytes(span, 'trace_id').hex()}"


def _kept(span: Plain) -> Span:
    said = {str(pair.get("key")): pair.get("value") for pair in _list(span, "attributes")}
    code = str(cast(Plain, span.get("status", {})).get("code", ""))
    return Span(
        _bytes(span, "span_id").hex(),
        _time(span, "start_time_unix_nano"),
        json.dumps(span, ensure_ascii=False, separators=(",", ":")),
        name=str(span.get("name", "")),
        kind=_preview(said.get(_KIND)).strip('"'),  # some clients write attributes as JSON
        status=code.removeprefix("STATUS_CODE_") or "UNSET",
    )


def _check(span: Plain) -> None:
    for name, size in (("trace_id", 16), ("span_id", 8)):
        if len(_bytes(span, name)) != size:
            raise broken(f"{name} has {len(_bytes(span, name))} bytes, not {size}")
    for name in ("start_time_unix_nano", "end_time_unix_nano"):
        if _time(span, name) >= 2**63:
            raise broken(f"{name} is no time")


def _time(span: Plain, name: str) -> int:
    return int(cast(int, span.get(name, 0)))


def _bytes(span: Plain, name: str) -> bytes:
    return base64.b64decode(str(span.get(name, "")))


def _list(plain: object, name: str) -> list[Plain]:
    return cast("list[Plain]", plain.get(name, [])) if isinstance(plain, dict) else []


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as reason:
        raise broken(f"the body is no JSON: {reason}") from None


def _plain(found: object, shape: str, depth: int = 0) -> Plain:
    """A message of OpenTelemetry's JSON, which differs from protobuf's: ids are hexadecimal, numbers may be texts."""
    if not isinstance(found, dict) or depth > 64:
        raise broken(f"a message ({shape}) is no object")
    made: Plain = {}
    for name, value in found.items():
        part = _BY_CAMEL[shape].get(name) or next((p for p in SHAPES[shape].values() if p.name == name), None)
        if part is None or value is None:
            continue
        if part.many and not isinstance(value, list):
            raise broken(f"{name} is no list")
        entries = value if part.many else [value]
        read_ones = [_one(part, entry, depth) for entry in entries]
        made[part.name] = read_ones if part.many else read_ones[0]
    return made


def _one(part: Part, value: object, depth: int) -> object:
    try:
        if part.kind == "message":
            return _plain(value, part.shape, depth + 1)
        if part.kind in ("int", "fixed"):
            return int(str(value))
        if part.kind == "word":
            return part.words[value] if isinstance(value, int) else str(value)
        if part.kind == "bytes" and part.name != "bytes_value":
            return base64.b64encode(bytes.fromhex(str(value))).decode()
        if part.kind == "bytes":
            base64.b64decode(str(value), validate=True)
    except (ValueError, IndexError, binascii.Error) as reason:
        raise broken(f"{part.name}: {reason}") from None
    return str(value).replace("\x00", "\ufffd") if part.kind == "text" else value


__all__ = ["MAX_PREVIEW", "SHAPES", "Invalid", "spans_of", "traces_of"]
