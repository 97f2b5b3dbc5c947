"""How values go into columns and come out, as both databases keep them: what the types of `schema` do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mainspring.core.errors import Invalid

_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class NotStorable(Invalid):
    """A value that no database would keep."""


def micros(value: int | None) -> int | None:
    """The value itself.

    Raises:
        NotStorable: It does not fit into 64 bits.
    """
    if value is not None and not -(2**63) <= value < 2**63:
        raise NotStorable("a number is out of range", hint="use whole numbers below 2**63")
    return value


def named(value: str | None) -> str | None:
    """The value itself.

    Raises:
        NotStorable: It holds the character NUL, which Postgres does not keep.
    """
    if value is not None and "\x00" in value:
        raise NotStorable("a name can't hold the character NUL", hint="take the character out")
    return value


def flagged(value: bool | None) -> int | None:
    """To 0 or 1."""
    return None if value is None else int(value)


def flag_of(value: object) -> bool | None:
    """From 0 or 1."""
    return None if value is None else bool(value)


def json_or_null(value: object) -> str | None:
    """A value as JSON text; None is SQL NULL."""
    return None if value is None else json_text(value)


def json_of(value: object) -> object:
    """From JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def json_text(value: object) -> str:
    """A value as JSON text, as it is stored.

    Raises:
        NotStorable: The value is not plain JSON, or holds NUL.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError) as reason:
        hint = "use text, finite numbers, booleans, null, lists and objects"
        raise NotStorable(f"not plain JSON: {reason}", hint=hint) from None
    if "\\u0000" in text and "\\u0000" in text.replace("\\\\", ""):
        raise NotStorable("JSON with a NUL character cannot be stored", hint="take the character \\x00 out of the text")
    return text


SQLITE_IN: Mapping[str, Callable[[Any], Any]] = {"Micros": micros, "Id": named, "Flag": flagged, "Json": json_or_null}
"""By the name of a type of `schema`: what a value becomes on its way into SQLite."""
SQLITE_OUT: Mapping[str, Callable[[Any], Any]] = {"Flag": flag_of, "Json": json_of}
"""Likewise, on its way out."""
