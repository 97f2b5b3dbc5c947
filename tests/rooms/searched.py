"""What a search must find, worked out over plain values: the reference that the databases are held against."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

from mainspring.tracking.grammar.tree import And, Compare, Node, Not, Order

Plain = str | int | float | None


@dataclass
class Thing:
    """Something to find: attributes, and what it logged."""

    attributes: dict[str, Plain]
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def value(self, entity: str, key: str) -> Plain:
        found = getattr(self, entity).get(key)
        assert found is None or isinstance(found, (str, int, float))
        return found


def is_found(node: Node, thing: Thing) -> bool:
    if isinstance(node, Compare):
        return _compares(node, thing.value(node.field.entity, node.field.key))
    if isinstance(node, Not):
        return not is_found(node.part, thing)
    return (all if isinstance(node, And) else any)(is_found(part, thing) for part in node.parts)


def _compares(asked: Compare, value: Plain) -> bool:
    if asked.op in ("IS NULL", "IS NOT NULL"):
        missing = value is None or (asked.field.entity == "attributes" and value == "")
        return missing == (asked.op == "IS NULL")
    if value is None:
        return False
    return _OPS[asked.op](value, asked.value)


def _like(pattern: object, *, exact: bool) -> Callable[[object], bool]:
    parts = {"%": ".*", "_": "."}
    text = "".join(parts.get(letter) or re.escape(letter) for letter in str(pattern))
    if not exact:
        text = re.sub("[A-Za-z]", lambda found: f"[{found[0].lower()}{found[0].upper()}]", _unescaped(str(pattern)))
    return lambda value: re.fullmatch(text, str(value), re.DOTALL) is not None


def _unescaped(pattern: str) -> str:
    """The expression of a pattern whose letters A to Z are still to be made to match both cases."""
    parts = {"%": ".*", "_": "."}
    return "".join(parts.get(c) or (c if c.isascii() and c.isalpha() else re.escape(c)) for c in pattern)


_OPS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
    "IN": lambda a, b: a in b,  # type: ignore[operator]
    "NOT IN": lambda a, b: a not in b,  # type: ignore[operator]
    "LIKE": lambda a, b: _like(b, exact=True)(a),
    "ILIKE": lambda a, b: _like(b, exact=False)(a),
    "NOT LIKE": lambda a, b: not _like(b, exact=True)(a),
    "NOT ILIKE": lambda a, b: not _like(b, exact=False)(a),
}


def in_order(things: Sequence[Thing], order: Sequence[Order]) -> list[Thing]:
    """Sorted: what is missing last, NaN before it; ties by the newest, then by id."""

    def compared(one: Thing, other: Thing) -> int:
        for item in order:
            mine, theirs = (_rank(thing.value(item.field.entity, item.field.key)) for thing in (one, other))
            if mine[0] != theirs[0]:
                return mine[0] - theirs[0]
            if mine[1] != theirs[1]:
                return 1 if (mine[1] > theirs[1]) != item.descending else -1  # type: ignore[operator]
        return 0

    return sorted(things, key=cmp_to_key(compared))


def _rank(value: Plain) -> tuple[int, str | int | float]:
    if value is None:
        return 2, 0
    if isinstance(value, float) and math.isnan(value):
        return 1, 0
    return 0, value
