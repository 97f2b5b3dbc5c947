"""What a filter says, as values: comparisons joined by `And`, `Or` and `Not`, and how to write it down again."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import TypeAlias

from mainspring.core.values import dataclass

ATTRIBUTES = "attributes"
"""The entity of names without one: what every thing of a kind has."""
_BARE = re.compile(r"[^\W\d][\w.\-/:]*")
_WORDS = frozenset({"and", "or", "not", "in", "is", "like", "ilike", "rlike", "null", "asc", "desc"})
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Field:
    """What is compared or sorted by: `metrics.loss` is the key `loss` of the entity `metrics`."""

    entity: str
    key: str


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time such as `7d`. As the value of a time it means that long ago."""

    micros: int


Value: TypeAlias = "str | int | float | Span | tuple[str | int | float | Span, ...] | None"


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; `value` is None for IS NULL and IS NOT NULL, `at` is where it begins in the text."""

    field: Field
    op: str
    value: Value = None
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts; without any it is always true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the parts; without any it is never true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not the part. A comparison of what is missing is false, so its opposite is true."""

    part: Node


Node: TypeAlias = "Compare | And | Or | Not"
EVERYTHING = And(())
NOTHING = Or(())


@dataclass(frozen=True, slots=True)
class Order:
    """One item to sort by."""

    field: Field
    descending: bool = False


def all_of(parts: Iterable[Node]) -> Node:
    """The parts joined by AND, without an `And` inside an `And`."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,)))
    return flat[0] if len(flat) == 1 else And(flat)


def any_of(parts: Iterable[Node]) -> Node:
    """The parts joined by OR, without an `Or` inside an `Or`."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def written(node: Node) -> str:
    """The text of a filter; parsing it gives the same filter.

    >>> written(Compare(Field("params", "my key"), "=", "it's"))
    "params.`my key` = 'it''s'"
    """
    if isinstance(node, Compare):
        value = "" if node.value is None else f" {_value(node.value)}"
        return f"{written_field(node.field)} {node.op}{value}"
    if isinstance(node, Not):
        return f"NOT {_inner(node.part)}" if isinstance(node.part, (Compare, Not)) else f"NOT ({written(node.part)})"
    return f" {'AND' if isinstance(node, And) else 'OR'} ".join(_inner(part) for part in node.parts)


def written_field(named: Field) -> str:
    """The text of a field, in backticks where its key needs them.

    >>> written_field(Field("attributes", "status")), written_field(Field("tags", "a b"))
    ('status', 'tags.`a b`')
    """
    if named.entity == ATTRIBUTES and _BARE.fullmatch(named.key) and "." not in named.key and not _is_word(named.key):
        return named.key
    plain = re.fullmatch(r"[\w.\-/:]+", named.key)
    key = named.key if plain else "`" + named.key.replace("`", "``") + "`"
    return f"{named.entity}.{key}"


def written_order(order: Order) -> str:
    """The text of an item to sort by.

    >>> written_order(Order(Field("metrics", "loss"), descending=True))
    'metrics.loss DESC'
    """
    return f"{written_field(order.field)} {'DESC' if order.descending else 'ASC'}"


def _is_word(text: str) -> bool:
    return text.lower() in _WORDS


def _inner(part: Node) -> str:
    return f"({written(part)})" if isinstance(part, (And, Or)) else written(part)


def written_text(text: str) -> str:
    """A text as a value.

    >>> written_text("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_value(entry) for entry in value)})"
    if isinstance(value, str):
        return written_text(value)
    if isinstance(value, Span):
        return _span(value.micros)
    if isinstance(value, float) and not math.isfinite(value):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)


def _span(micros: int) -> str:
    """In the greatest unit that leaves no rest, which may be microseconds."""
    for unit, seconds in _UNITS:
        if micros % (seconds * 1_000_000) == 0 and micros:
            return f"{micros // (seconds * 1_000_000)}{unit}"
    return f"{micros}us"
