"""Messages of the protocol: protobuf written as JSON, in snake_case or camelCase, or as query parameters.

A message is a `Message` with the snake_case names. Absent fields are `UNSET`, which is not the same as "" or 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass
from mainspring.tracking.wire import number_or_word

T = TypeVar("T")
M = TypeVar("M", bound="Message")
Plain = dict[str, object]


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A request or an answer. Fields that are unset or empty lists are left out of answers.

    Requests may have fields that nobody knows. A kind that is large and comes often forbids them to its decoder: then
    no body has to be searched for camelCase names, and one that has such fields is read the slower way.
    """


Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
"""A text that must be given: the protocol does not tell an empty one from an absent one where one is required."""

Word = str | Int64
"""A word of an enumeration, or its number: `one_of` reads it."""

VIEWS = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all"}
"""What the protocol calls the views of what can be deleted, in the order of its numbers for them."""

Number = float | str
"""A double: `float_of` reads it, `double` writes it."""

MaybeText = str | UnsetType
MaybeInt = Int64 | UnsetType
MaybeBool = bool | UnsetType


class KeyValue(Message, omit_defaults=False, gc=False):
    """A tag or a param; an empty text is sent too."""

    key: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    camel: str
    inner: type[Message] | None
    repeated: bool


LATEST_MS = (2**63 - 1) // 1000
"""The last time that can be kept."""

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_encoder = msgspec.json.Encoder()


def decode(kind: type[M], body: bytes, given: Mapping[str, str] | None = None) -> M:
    """A request from its body; `given` are fields that the address holds.

    Raises:
        Invalid: The body is not such a message; says which field.
    """
    if not given and body:
        decoder, unusual = _fast(kind)
        if not any(name in body for name in unusual):
            try:
                found: M = decoder.decode(body)
                return found
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # null for absent, run_uuid for run_id, or malformed: told apart below
    plain = _object(body)
    return _convert(kind, plain | dict(given or {}))


def decode_query(kind: type[M], pairs: Iterable[tuple[str, str]], given: Mapping[str, str] | None = None) -> M:
    """A request from its query parameters; a repeated one is a list.

    Raises:
        Invalid: The parameters are not such a message; says which one.
    """
    repeated = {name for field in _fields(kind) if field.repeated for name in (field.name, field.camel)}
    plain: Plain = {}
    for name, value in pairs:
        if name in repeated:
            kept = plain.setdefault(name, [])
            assert isinstance(kept, list)
            kept.append(value)
        else:
            plain.setdefault(name, value)
    return _convert(kind, plain | dict(given or {}))


def encode(message: object) -> bytes:
    """The bytes of an answer; None is the empty message."""
    return b"{}" if message is None else _encoder.encode(message)


def double(value: float) -> Number:
    """A number as it is sent: those that JSON does not have are words.

    >>> double(0.5), double(float("-inf"))
    (0.5, '-Infinity')
    """
    return number_or_word(value)


def float_of(value: Number, where: str) -> float:
    """A number as it came.

    Raises:
        Invalid: It is a text that is not one of the three words.
    """
    if not isinstance(value, str):
        return value
    if value in _WORDS:
        return _WORDS[value]
    raise Invalid(f"Invalid value {value[:40]!r} for parameter '{where}' supplied: expected a number", where=where)


def one_of(word: Word, words: Mapping[str, T], where: str) -> T:
    """What a word of an enumeration stands for; numbers count from 1 as the protocol does.

    >>> one_of("DELETED_ONLY", {"ACTIVE_ONLY": 1, "DELETED_ONLY": 2}, "view_type")
    2
    """
    names, text = list(words), str(word)
    if text.isdecimal() and text.isascii() and 1 <= int(text[:9]) <= len(names):
        return words[names[int(text) - 1]]
    if text in words:
        return words[text]
    hint = did_you_mean(text, names) or f"use one of {', '.join(names)}"
    raise Invalid(f"Invalid value {text[:40]!r} for parameter '{where}' supplied", where=where, hint=hint)


def chosen(value: T | UnsetType, default: T) -> T:
    """A field, or `default` where it is absent."""
    return default if isinstance(value, UnsetType) else value


def micros(milliseconds: int, where: str) -> int:
    """A time as we keep it.

    Raises:
        Invalid: It is negative or too late to be a time.
    """
    if 0 <= milliseconds <= LATEST_MS:
        return milliseconds * 1000
    raise Invalid(f"Invalid value {milliseconds} for parameter '{where}' supplied: no time", where=where)


def texts(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Tags or params as a mapping; the last of a key wins."""
    return {pair.key: pair.value for pair in pairs}


def pairs_of(mapping: Mapping[str, str]) -> list[KeyValue]:
    """A mapping as tags or params."""
    return [KeyValue(key=key, value=value) for key, value in mapping.items()]


def _object(body: bytes) -> Plain:
    try:
        plain = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as reason:
        raise Invalid(f"Failed to convert the body from JSON: {reason}", where="body") from None
    if not isinstance(plain, dict):
        raise Invalid("the body is no JSON object", where="body", hint='send an object such as {"run_id": "..."}')
    return plain


def _convert(kind: type[M], plain: Plain) -> M:
    named = _named(kind, plain)
    try:
        return msgspec.convert(named, kind, strict=False)
    except msgspec.ValidationError as reason:
        raise _refusal(str(reason)) from None


def _named(kind: type[Message], plain: Plain) -> Plain:
    """The known fields under their snake_case names, without nulls."""
    named: Plain = {}
    for field in _fields(kind):
        value = plain.get(field.name)
        if field.camel != field.name and plain.get(field.camel) is not None:
            if value is not None:
                both = f"both '{field.name}' and '{field.camel}' are given"
                raise Invalid(f"Invalid request: {both}", where=field.name, hint="send one of them")
            value = plain[field.camel]
        if field.name == "run_id" and not field.repeated and value in (None, ""):
            value = plain.get("run_uuid") or plain.get("runUuid")
        if value is not None:
            named[field.name] = _inside(field, value)
    _refuse_nul(named)
    return named


def _inside(field: _Field, value: object) -> object:
    if field.inner is None:
        return value
    if isinstance(value, list):
        return [_named(field.inner, entry) if isinstance(entry, dict) else entry for entry in value]
    return _named(field.inner, value) if isinstance(value, dict) else value


def _refuse_nul(named: Plain) -> None:
    for name, value in named.items():
        entries = value if isinstance(value, list) else [value]
        if any(isinstance(entry, str) and "\x00" in entry for entry in entries):
            raise Invalid(f"Invalid value for parameter '{name}' supplied: it holds the character NUL", where=name)


def _refusal(reason: str) -> Invalid:
    """What is wrong with a field, in the words that clients know."""
    what, _, place = reason.partition(" - at `$")
    where = place.rstrip("`").lstrip(".")
    missing = re.match(r"Object missing required field `(\w+)`", what)
    if missing:
        where = f"{where}.{missing[1]}" if where else missing[1]
    if missing or "of length >= 1" in what:
        hint = "See the API docs for more information about request parameters."
        return Invalid(f"Missing value for required parameter '{where}'. {hint}", where=where)
    return Invalid(f"Invalid value for parameter '{where}' supplied: {what.replace('`', '')}", where=where)


@cache
def _fast(kind: type[M]) -> tuple[msgspec.json.Decoder[M], tuple[bytes, ...]]:
    """The decoder of a message, and what a body may hold that it does not understand."""
    unusual = ("\\u", *(f'"{name}"' for name in sorted(_overlooked(kind))))
    return msgspec.json.Decoder(kind, strict=False), tuple(name.encode() for name in unusual)


def _overlooked(kind: type[Message]) -> set[str]:
    """The camelCase names that the decoder of a message takes for fields that nobody knows."""
    strict = kind.__struct_config__.forbid_unknown_fields
    found = {field.camel for field in _fields(kind) if field.camel != field.name and not strict}
    return found.union(*(_overlooked(field.inner) for field in _fields(kind) if field.inner is not None))


@cache
def _fields(kind: type[Message]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_Field(name, _camel(name), *_shape(hints[name])) for name in kind.__struct_fields__)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _shape(hint: Any) -> tuple[type[Message] | None, bool]:
    """The message inside a field, and whether the field is a list."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _shape(get_args(hint)[0])
    if origin is list:
        return _shape(get_args(hint)[0])[0], True
    if origin is Union or type(hint).__name__ == "UnionType":
        found = [_shape(part) for part in get_args(hint)]
        inner = next((kind for kind, _ in found if kind is not None), None)
        return inner, any(repeated for _, repeated in found)
    return (hint, False) if isinstance(hint, type) and issubclass(hint, Message) else (None, False)


__all__ = [
    "LATEST_MS",
    "UNSET",
    "VIEWS",
    "Int64",
    "KeyValue",
    "MaybeBool",
    "MaybeInt",
    "MaybeText",
    "Message",
    "Number",
    "Text",
    "Word",
    "chosen",
    "decode",
    "decode_query",
    "double",
    "encode",
    "float_of",
    "micros",
    "one_of",
    "pairs_of",
    "texts",
]
