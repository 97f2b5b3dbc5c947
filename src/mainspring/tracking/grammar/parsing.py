"""From texts to trees: filters, orders and lists of fields."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.core.clock import span_us
from mainspring.core.errors import Invalid
from mainspring.tracking.grammar.tokens import Token, tokens, unquoted, wrong
from mainspring.tracking.grammar.tree import (
    ATTRIBUTES,
    EVERYTHING,
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

MAX_COMPARISONS = 200
MAX_DEPTH = 50
MAX_LIST = 10_000
MAX_ORDERS = 20
_MARKS = ("=", "!=", "<", "<=", ">", ">=")
_PATTERNS = ("LIKE", "ILIKE", "RLIKE")
_SIMPLE = "comparisons are joined by AND here, without OR, NOT and parentheses"
_EXAMPLE = "write it like metrics.loss < 0.5 AND params.model = 'tree'"


def parse(text: str, *, strict: bool = False) -> Node:
    """The tree of a filter; an empty text lets everything through.

    Args:
        strict: Only what MLflow takes: AND between comparisons, no OR, NOT, parentheses and lengths of time.
    Raises:
        Invalid: The text is no filter; says where.

    >>> parse("metrics.loss < 0.5")
    Compare(field=Field(entity='metrics', key='loss'), op='<', value=0.5, at=0)
    """
    return _Parser(text, "filter", strict=strict).whole()


def parse_order(text: str, *, strict: bool = False) -> tuple[Order, ...]:
    """Items to sort by: `metrics.loss DESC, start_time`. Strict is one item.

    Raises:
        Invalid: The text is no order; says where.

    >>> parse_order("metrics.loss DESC")
    (Order(field=Field(entity='metrics', key='loss'), descending=True),)
    """
    return _Parser(text, "order_by", strict=strict).orders()


def parse_fields(text: str) -> tuple[Field, ...]:
    """Fields divided by commas; one of key "" is a whole entity: `metrics, params.lr, name`.

    Raises:
        Invalid: The text is no list of fields; says where.

    >>> parse_fields("params.lr, name")
    (Field(entity='params', key='lr'), Field(entity='attributes', key='name'))
    """
    return _Parser(text, "fields", strict=False).fields()


class _Parser:
    def __init__(self, text: str, what: str, *, strict: bool) -> None:
        self._text, self._what, self._strict = text, what, strict
        self._words: Sequence[Token] = list(tokens(text, what))
        self._next = 0
        self._comparisons = 0
        self._listed = 0

    def whole(self) -> Node:
        if self._peek.kind == "end":
            return EVERYTHING
        node = self._either(0)
        if self._peek.kind != "end":
            raise self._unexpected("AND" if self._strict else "AND or OR")
        return node

    def orders(self) -> tuple[Order, ...]:
        found = [self._order()]
        while not self._strict and self._take(","):
            found.append(self._order())
        self._end("ASC or DESC")
        return tuple(found)

    def fields(self) -> tuple[Field, ...]:
        found = [self._field()]
        while self._take(","):
            found.append(self._field())
        self._end("a comma")
        return tuple(found)

    def _either(self, depth: int) -> Node:
        parts = [self._every(depth)]
        while self._peek.is_word("OR"):
            self._only_native()
            self._next += 1
            parts.append(self._every(depth))
        return any_of(parts)

    def _every(self, depth: int) -> Node:
        parts = [self._part(depth)]
        while self._take("AND"):
            parts.append(self._part(depth))
        return all_of(parts)

    def _part(self, depth: int) -> Node:
        if depth >= MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} parts inside each other", "ask for less at once")
        if self._peek.is_word("NOT"):
            self._only_native()
            self._next += 1
            return Not(self._part(depth + 1))
        if self._peek.is_word("("):
            self._only_native()
            self._next += 1
            inner = self._either(depth + 1)
            self._expect(")")
            return inner
        return self._compare()

    def _compare(self) -> Node:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self._wrong(f"more than {MAX_COMPARISONS} comparisons", "ask for less at once")
        at = self._peek.at
        named = self._field()
        op = self._operator()
        if op in ("IS NULL", "IS NOT NULL"):
            return Compare(named, op, None, at)
        return Compare(named, op, self._list() if op in ("IN", "NOT IN") else self._value(), at)

    def _operator(self) -> str:
        if self._take("IS"):
            negated = self._take("NOT")
            self._expect("NULL")
            return "IS NOT NULL" if negated else "IS NULL"
        word = self._peek
        if self._take("NOT"):
            for op in ("IN", *_PATTERNS):
                if self._take(op):
                    return f"NOT {op}"
            raise self._unexpected("IN, LIKE, ILIKE or RLIKE")
        if word.is_word("IN", *_PATTERNS, *_MARKS):
            self._next += 1
            return word.text.upper()
        hint = {"==": "write =", "<>": "write !="}.get(word.text, "use = != < <= > >= LIKE ILIKE RLIKE IN or IS NULL")
        raise self._wrong(f"an operator was expected, found {self._shown(word)}", hint)

    def _field(self) -> Field:
        word = self._peek
        if word.kind != "name" and not (word.kind == "text" and word.text[0] == '"'):
            raise self._unexpected("a name such as metrics.loss", _EXAMPLE)
        self._next += 1
        if self._what == "fields" and "." not in word.text and word.text.lower() in _WHOLE:
            return Field(word.text.lower(), "")
        return named(word.text)

    def _list(self) -> Value:
        self._expect("(")
        found = [self._value()]
        while self._take(","):
            if self._peek.is_word(")"):
                break  # ('a',) is how Python writes a tuple of one
            found.append(self._value())
        self._expect(")")
        self._listed += len(found)
        if self._listed > MAX_LIST:
            raise self._wrong(f"more than {MAX_LIST} values in lists", "ask in parts")
        return tuple(found)  # type: ignore[arg-type]  # `_value` makes no tuples

    def _value(self) -> Value:
        word = self._peek
        self._next += 1
        if word.kind == "text":
            return self._storable(unquoted(word.text), word)
        if word.kind == "number":
            return self._number(word.text)
        if word.kind == "span" and not self._strict:
            return Span(self._span(word))
        self._next -= 1
        hint = "put text into quotes" if word.kind in ("name", "span") else _EXAMPLE
        raise self._wrong(f"a value was expected, found {self._shown(word)}", hint)

    def _span(self, word: Token) -> int:
        try:
            return span_us(word.text)
        except Invalid as reason:
            self._next -= 1
            raise self._wrong(reason.what, reason.hint) from None

    def _storable(self, text: str, word: Token) -> str:
        """Text that both databases can hold; nothing else can be equal to what they hold."""
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            self._next -= 1
            raise self._wrong("a text with a character that can't be stored")
        return text

    def _number(self, text: str) -> int | float:
        digits = text.lstrip("+-")
        return int(text) if digits.isdecimal() and len(digits) <= 300 else float(text)

    def _order(self) -> Order:
        name = self._field()
        if self._take("DESC"):
            return Order(name, descending=True)
        if not self._take("ASC") and self._peek.kind == "name":
            raise self._unexpected("ASC or DESC")
        return Order(name)

    @property
    def _peek(self) -> Token:
        return self._words[self._next]

    def _take(self, word: str) -> bool:
        found = self._peek.is_word(word)
        self._next += found
        return found

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected(word)

    def _end(self, expected: str) -> None:
        if self._peek.kind != "end":
            raise self._unexpected(f"{expected} or the end")

    def _only_native(self) -> None:
        if self._strict:
            raise self._wrong(f"{self._peek.text!r} can't be used here", _SIMPLE)

    def _unexpected(self, expected: str, hint: str = "") -> Invalid:
        if self._strict and self._peek.is_word("OR", "(", ")", ";"):
            return self._wrong(f"{self._peek.text!r} can't be used here", _SIMPLE)
        return self._wrong(f"{expected} was expected, found {self._shown(self._peek)}", hint)

    def _wrong(self, reason: str, hint: str = "") -> Invalid:
        return wrong(self._text, self._peek.at, self._what, reason, hint)

    def _shown(self, word: Token) -> str:
        return "the end" if word.kind == "end" else repr(word.text[:40])


_WHOLE = frozenset({"metrics", "params", "tags", "inputs", "code", "environment"})


def named(text: str) -> Field:
    """The field that an identifier names: what follows the first dot outside quotes is the key.

    >>> named("tags.`a b`"), named("status"), named("spans.attributes.`a b`").key
    (Field(entity='tags', key='a b'), Field(entity='attributes', key='status'), 'attributes.a b')
    """
    if text[:1] in '`"':
        close = _closing(text)
        head, rest = unquoted(text[:close]), text[close:]
    else:
        head, dot, rest = text.partition(".")
        rest = dot + rest
    if not rest:
        return Field(ATTRIBUTES, head)
    key, dot, last = rest[1:].partition(".")
    if dot and key[:1] not in '`"' and last[:1] in '`"':
        return Field(head, f"{key}.{unquoted(last)}")
    return Field(head, unquoted(rest[1:]))


def _closing(text: str) -> int:
    """Where the quotes end that a text begins with."""
    quote, at = text[0], 1
    while text[at] != quote or text[at + 1 : at + 2] == quote:
        at += 2 if text[at] == quote else 1
    return at + 1
