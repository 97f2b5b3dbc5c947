"""Feedback in files, CSV or JSON lines: a bad line is put aside with its reason, and the others are stored."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from mainspring.core.clock import micros
from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.ids import check_name
from mainspring.core.values import dataclass
from mainspring.serving.model import Feedback

_LATEST = 1 << 61


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line of a file that was not stored: its number, counted from 1, whose prediction it names, and why not."""

    line: int
    prediction_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """What became of a file: lines with something in them, how many were new, and those that were put aside.

    Of `rejected` there are at most as many as were asked for; `refused` counts all.
    """

    received: int
    new: int
    refused: int
    rejected: tuple[Rejected, ...]


Line = tuple[int, Feedback | Rejected]


def read_feedback(data: bytes) -> Iterator[Line]:
    """The feedback in a file, line by line.

    Args:
        data: CSV whose first line names the columns prediction_id and value (and kind, at), or JSON objects with those
            names, one on each line.
    Raises: Invalid: Not UTF-8, or CSV without those columns.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise Invalid(f"not UTF-8: {reason}", where="file", hint="save it as UTF-8") from None
    return _json_lines(text) if text.lstrip()[:1] == "{" else _csv_lines(text)


def _json_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, _item(msgspec.json.decode(line, type=dict[str, object]))
        except (msgspec.MsgspecError, MainspringError) as reason:
            yield number, Rejected(number, "", _why(reason))


def _csv_lines(text: str) -> Iterator[Line]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        names = rows.fieldnames or ()
    except csv.Error as reason:
        raise Invalid(f"not CSV: {reason}", where="file", hint=_HINT) from None
    if not {"prediction_id", "value"} <= set(names):
        raise Invalid(f"the first line names {', '.join(names)[:200] or 'nothing'}", where="file", hint=_HINT)
    while True:
        row: Mapping[str, object] = {}
        try:
            row = cast("dict[str, object]", next(rows))
            yield rows.line_num, _item(row)
        except StopIteration:
            return
        except (csv.Error, MainspringError) as reason:
            yield rows.line_num, Rejected(rows.line_num, str(row.get("prediction_id") or "")[:200], _why(reason))


_HINT = "begin with the line prediction_id,value"


def _why(reason: Exception) -> str:
    return reason.what if isinstance(reason, MainspringError) else str(reason)


def _item(row: Mapping[str, object]) -> Feedback:
    name, value, kind, at = (row.get(key) for key in ("prediction_id", "value", "kind", "at"))
    if not isinstance(name, str) or not name or value in (None, ""):
        raise Invalid("a line needs prediction_id and value")
    if not isinstance(value, str | int | float):
        raise Invalid(f"the value is a {type(value).__name__}, neither a number nor a text")
    kind = check_name(str(kind or "label"), "kind of feedback")
    return Feedback(name, _value(value), kind, _at(at or 0))


def _value(value: str | float) -> str | float:
    try:
        return float(value)
    except ValueError:
        return str(value)
    except OverflowError:
        raise Invalid("the value of a feedback is not finite") from None


def _at(at: object) -> int:
    """Microseconds since 1970, from them or from ISO 8601 text."""
    if isinstance(at, bool) or not isinstance(at, int | str):
        raise Invalid(f"at is a {type(at).__name__}, neither ISO 8601 text nor microseconds")
    when = int(at) if isinstance(at, int) or (at.isascii() and at.isdigit() and len(at) < 20) else micros(at)
    if not 0 <= when < _LATEST:
        raise Invalid("at is out of range")
    return when
