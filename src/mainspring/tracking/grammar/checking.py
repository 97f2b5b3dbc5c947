"""Whether a filter or an order makes sense for a kind of thing, and what it comes to in the names and units inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from mainspring.core.clock import micros
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.tracking.grammar.kinds import LISTED, NATIVE, ORDERED, PRESENT, Attribute, Entity, Kind
from mainspring.tracking.grammar.parsing import MAX_COMPARISONS, MAX_ORDERS, parse, parse_fields, parse_order
from mainspring.tracking.grammar.patterns import refusal
from mainspring.tracking.grammar.tokens import wrong
from mainspring.tracking.grammar.tree import (
    NOTHING,
    And,
    Compare,
    Field,
    Node,
    Not,
    Order,
    Span,
    Value,
    all_of,
    any_of,
)

MAX_PATTERN = 5000
"""How many characters LIKE takes; SQLite takes no more than 50000 bytes."""
_WORDS = {
    "number": "a number",
    "mixed": "a number",
    "time": "a date in quotes or a length of time such as 7d",
    "seconds": "a length of time",
}


def read_filter(text: str, kind: Kind, *, strict: bool = False, now: int = 0) -> Node:
    """The filter that a text says, in the names inside; times and lengths of time are microseconds.

    Lists of numbers become alternatives, MLflow's milliseconds ranges of microseconds.

    Args:
        strict: Only what MLflow takes, in its meaning.
        now: The time that `7d` counts back from, in microseconds.
    Raises:
        Invalid: The text is no filter, or asks what can't be asked of this kind; says where.
    """
    check = _Checker(text, kind, strict=strict, now=now)
    return _mapped(parse(text, strict=strict), check.comparison)


def read_order(items: Sequence[str], kind: Kind, *, strict: bool = False) -> tuple[Order, ...]:
    """What to sort by, in the names inside.

    Raises:
        Invalid: An item is no order, names what can't be sorted by, or a field that came before; or they are too many.
    """
    found: list[Order] = []
    for text in items:
        for item in parse_order(text, strict=strict):
            if len(found) == MAX_ORDERS:
                raise wrong(text, 0, "order_by", f"more than {MAX_ORDERS} fields to sort by", "leave some out")
            check = _Checker(text, kind, strict=strict, now=0, what="order_by")
            order = check.order(item)
            if any(order.field == known.field for known in found):
                raise wrong(text, 0, "order_by", "the same field is sorted by twice", "leave one of them out")
            found.append(order)
    return tuple(found)


def read_fields(text: str, kind: Kind, more: Iterable[str] = ()) -> tuple[Field, ...]:
    """The fields that an answer should have, in the names inside; () for an empty text, which means all.

    Args:
        more: What else the kind can give: "inputs", "code".
    Raises:
        Invalid: There is no such field.
    """
    if not text.strip():
        return ()
    check = _Checker(text, kind, strict=False, now=0, what="fields")
    return tuple(check.shown(field, tuple(more)) for field in parse_fields(text))


def _mapped(node: Node, change: Callable[[Compare], Node]) -> Node:
    if isinstance(node, Compare):
        return change(node)
    if isinstance(node, Not):
        return Not(_mapped(node.part, change))
    parts = [_mapped(part, change) for part in node.parts]
    return all_of(parts) if isinstance(node, And) else any_of(parts)


class _Checker:
    def __init__(self, text: str, kind: Kind, *, strict: bool, now: int, what: str = "filter") -> None:
        self._text, self._kind, self._strict, self._now, self._what = text, kind, strict, now, what
        self._listed = 0

    def comparison(self, asked: Compare) -> Node:
        field, attribute = self._known(asked.field, asked.at)
        allowed = attribute.strict if self._strict else NATIVE[attribute.type]
        if asked.op not in allowed:
            shown = " ".join(op for op in OPERATORS if op in allowed)
            raise self._wrong(asked, f"{asked.op} can't be used on {_name(asked.field)}", f"use one of {shown}")
        if asked.op in PRESENT:
            return Compare(field, asked.op, None, asked.at)
        if attribute.type in ("text", "word") or self._is_text(asked, attribute):
            return Compare(field, asked.op, self._texts(asked, attribute), asked.at)
        if asked.op in LISTED:
            assert isinstance(asked.value, tuple)
            self._listed += len(asked.value)
            if self._listed > MAX_COMPARISONS:
                raise self._wrong(asked, f"more than {MAX_COMPARISONS} numbers in lists", "ask in parts")
            parts = [self._numeric(asked, field, attribute, "=" if asked.op == "IN" else "!=", v) for v in asked.value]
            return any_of(parts) if asked.op == "IN" else all_of(parts)
        return self._numeric(asked, field, attribute, asked.op, asked.value)

    def order(self, item: Order) -> Order:
        field, attribute = self._known(item.field, 0, ordered=True)
        if self._strict and not attribute.strict_order:
            raise wrong(self._text, 0, self._what, f"{_name(item.field)} can't be sorted by")
        return Order(field, item.descending)

    def shown(self, field: Field, more: tuple[str, ...]) -> Field:
        if not field.key:
            known = (*(entity.name for entity in self._kind.entities[1:] if entity.ordered), *more)
            if field.entity not in known:
                hint = did_you_mean(field.entity, known) or f"known are {', '.join(known)}"
                raise wrong(self._text, 0, self._what, f"a {self._kind.what} has no {field.entity}", hint)
            return field
        return self._known(field, 0, ordered=True)[0]

    def _known(self, field: Field, at: int, *, ordered: bool = False) -> tuple[Field, Attribute]:
        """The field by the names inside, and what it is."""
        entity = self._entity(field, at, ordered=ordered)
        if entity.keys is None:
            return Field(entity.name, field.key), entity.every
        if entity.prefix and field.key.startswith(entity.prefix) and field.key != entity.prefix:
            return Field(entity.name, field.key), entity.every
        usable = [name for name, entry in entity.keys.items() if not self._strict or entry.strict or entry.strict_order]
        if field.key not in usable:
            first = entity is self._kind.entities[0]
            what = f"a {self._kind.what}" if first else f"a {entity.name.removesuffix('s')}"
            known = [*usable, f"{entity.prefix}NAME"] if entity.prefix else usable
            hint = did_you_mean(field.key, usable) or self._elsewhere(field, first) or f"known are {', '.join(known)}"
            raise wrong(self._text, at, self._what, f"{what} has no attribute {field.key[:60]!r}", hint)
        attribute = entity.keys[field.key]
        return Field(attribute.entity or entity.name, attribute.name), attribute

    def _entity(self, field: Field, at: int, *, ordered: bool) -> Entity:
        known = [entity for entity in self._kind.entities if entity.ordered or not ordered]
        for entity in known:
            if field.entity in entity.spellings:
                return entity
        names = [spelling for entity in known for spelling in entity.spellings]
        hint = did_you_mean(field.entity, names) or f"known are {', '.join(entity.name for entity in known)}"
        found = f"{field.entity[:60]!r} is nothing that a {self._kind.what} can be {_asked(self._what)} by"
        raise wrong(self._text, at, self._what, found, hint)

    def _elsewhere(self, field: Field, first: bool) -> str:
        others = [entity.name for entity in self._kind.entities[1:] if entity.keys is None]
        if not first or not others:
            return ""
        return "for one that was logged write " + " or ".join(f"{name}.{field.key[:60]}" for name in others)

    def _is_text(self, asked: Compare, attribute: Attribute) -> bool:
        """Whether what is text or a number is asked for as text."""
        if attribute.type != "mixed" or asked.op in ORDERED:
            return False
        return self._strict or not isinstance(asked.value, (int, float)) or "LIKE" in asked.op

    def _texts(self, asked: Compare, attribute: Attribute) -> Value:
        values = asked.value if isinstance(asked.value, tuple) else (asked.value,)
        for value in values:
            if not isinstance(value, str):
                raise self._wrong(asked, f"{_name(asked.field)} is text", "put the value into quotes")
        texts = [str(value) for value in values]
        if "LIKE" in asked.op and len(texts[0]) > MAX_PATTERN:
            raise self._wrong(asked, f"a pattern of {len(texts[0])} characters", f"use at most {MAX_PATTERN}")
        if "RLIKE" in asked.op and (reason := refusal(texts[0])):
            raise self._wrong(asked, f"{texts[0][:60]!r} is no pattern here: {reason}", _PATTERN)
        if attribute.type == "word":
            texts = self._words(asked, attribute, texts)
        return tuple(texts) if isinstance(asked.value, tuple) else texts[0]

    def _words(self, asked: Compare, attribute: Attribute, texts: Sequence[str]) -> list[str]:
        """Words are kept in small letters; MLflow writes them in capitals and means only these."""
        if asked.op == "RLIKE":
            return list(texts)
        exact = asked.op not in ("LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE")
        if self._strict and "LIKE" in attribute.strict:
            loose = asked.op == "ILIKE"
            return [text.lower() if loose or text == text.upper() else _NO_WORD for text in texts]
        if exact and (unknown := [text for text in texts if text.lower() not in attribute.words]):
            hint = did_you_mean(unknown[0].lower(), attribute.words) or f"use one of {', '.join(attribute.words)}"
            raise self._wrong(asked, f"{unknown[0][:60]!r} is no {attribute.name} of a {self._kind.what}", hint)
        return [text.lower() for text in texts]

    def _numeric(self, asked: Compare, field: Field, attribute: Attribute, op: str, value: object) -> Node:
        if attribute.type == "time":
            return self._time(asked, field, attribute, op, value)
        if attribute.type == "seconds" and isinstance(value, Span):
            return Compare(field, op, float(value.micros), asked.at)
        if not isinstance(value, (int, float)):
            raise self._wrong(asked, f"{_name(asked.field)} needs {_WORDS[attribute.type]}", "write it without quotes")
        if attribute.type == "seconds":
            value = _float(value) * 1e6
        return Compare(field, op, value if abs(value) < _LARGEST else _float(value), asked.at)

    def _time(self, asked: Compare, field: Field, attribute: Attribute, op: str, value: object) -> Node:
        if isinstance(value, Span):
            return Compare(field, op, _within(self._now - value.micros), asked.at)
        if isinstance(value, str) and not self._strict:
            return Compare(field, op, _within(self._moment(asked, value)), asked.at)
        if not isinstance(value, (int, float)) or not attribute.unit_us:
            hint = 'write it like "2026-03-01" or 7d' if not self._strict else "write milliseconds since 1970"
            raise self._wrong(
                asked, f"{_name(asked.field)} needs {_WORDS['time'] if not self._strict else 'a number'}", hint
            )
        return _in_units(field, op, value, attribute.unit_us, asked.at)

    def _moment(self, asked: Compare, text: str) -> int:
        try:
            return micros(text)
        except (Invalid, OverflowError):
            raise self._wrong(asked, f"{text[:60]!r} is no time", "write it like 2026-03-01T08:00") from None

    def _wrong(self, asked: Compare, reason: str, hint: str = "") -> Invalid:
        return wrong(self._text, asked.at, self._what, reason, hint)


_PATTERN = "write it with letters, . * + ? {2,5} | ( ) [a-z] ^ $ and \\d \\w \\s; a backslash makes a mark a letter"
OPERATORS = (
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "LIKE",
    "ILIKE",
    "RLIKE",
    "NOT LIKE",
    "NOT ILIKE",
    "NOT RLIKE",
    "IN",
    "NOT IN",
    "IS NULL",
    "IS NOT NULL",
)
"""All operators, in the order in which they are shown."""
_NO_WORD = "-"
"""Equal to no word of any attribute."""
_LARGEST = 2**63 - 1


def _within(at: int) -> int:
    return max(-_LARGEST, min(_LARGEST, at))


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _in_units(field: Field, op: str, value: int | float, unit: int, at: int) -> Node:
    """A comparison of whole units, cut off below, as one of microseconds: `= 5` ms is from 5000 to 5999 us."""
    if isinstance(value, float) and not value.is_integer():
        return _between_units(field, op, value, unit, at)
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else (_LARGEST if value > 0 else -_LARGEST)
    if unit == 1:
        return Compare(field, op, _within(value), at)
    first, following = _within(value * unit), _within((value + 1) * unit)
    low, high = Compare(field, ">=", first, at), Compare(field, "<", following, at)
    simple = {
        ">": Compare(field, ">=", following, at),
        ">=": low,
        "<": Compare(field, "<", first, at),
        "<=": high,
        "=": all_of([low, high]),
        "!=": any_of([Compare(field, "<", first, at), Compare(field, ">=", following, at)]),
    }
    return simple[op]


def _between_units(field: Field, op: str, value: float, unit: int, at: int) -> Node:
    if not math.isfinite(value):
        return _in_units(field, op, _LARGEST if value > 0 else -_LARGEST, 1, at)
    if op == "=":
        return NOTHING
    if op == "!=":
        return Compare(field, "IS NOT NULL", None, at)
    return _in_units(field, ">" if op in (">", ">=") else "<=", math.floor(value), unit, at)


def _name(field: Field) -> str:
    return field.key[:60] if field.entity == "attributes" else f"{field.entity}.{field.key[:60]}"


def _asked(what: str) -> str:
    return "sorted" if what == "order_by" else "searched"
