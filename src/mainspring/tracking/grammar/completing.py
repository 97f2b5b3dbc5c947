"""What may come next in a filter that is being written: names, operators, values, AND and OR. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.grammar.checking import OPERATORS
from mainspring.tracking.grammar.kinds import NATIVE, Attribute, Kind
from mainspring.tracking.grammar.parsing import named
from mainspring.tracking.grammar.tokens import MAX_TEXT, Token, tokens
from mainspring.tracking.grammar.tree import Field, written_field, written_text

Want = Literal["name", "operator", "value", "word", "nothing"]
_PATTERNS = ("LIKE", "ILIKE", "RLIKE")
_EXAMPLES = {"time": ("1h", "1d", "7d", "30d"), "seconds": ("10s", "1m", "10m", "1h")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text ends.

    Args:
        head: What is written before the word that is being written.
        word: The beginning of that word, "" before one.
        want: What it may become.
        field: The field that is compared there, in the names inside; None before one.
        attribute: What that field is; None when there is no such.
        words: The words of the language that may stand there.
    """

    head: str
    word: str
    want: Want
    field: Field | None = None
    attribute: Attribute | None = None
    words: tuple[str, ...] = ()


def place_in(text: str, kind: Kind) -> Place:
    """Where a filter that is being written ends, and what may come there.

    >>> from mainspring.tracking.grammar.kinds import RUNS
    >>> place_in("status = 'fin", RUNS).word, place_in("status ", RUNS).words[:3]
    ("'fin", ('=', '!=', 'LIKE'))
    """
    before, word = _cut(text)
    state = _State(kind)
    for token in before:
        state.take(token)
    return Place(text[: len(text) - len(word)], word, state.want, state.field, state.attribute, state.words())


def names_of(kind: Kind, logged: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """All that can be compared, as it is written: attributes, then keys of each entity that were logged.

    Args:
        logged: Entities with the keys that there are.
    """
    fixed = [
        *(name for name in kind.attributes if name.islower() and " " not in name),
        *(f"{entity.name}.{key}" for entity in kind.entities[1:] for key in (entity.keys or {})),
    ]
    keys = [written_field(Field(entity, key)) for entity, found in logged for key in found]
    return [*fixed, *keys]


def values_for(attribute: Attribute, known: Iterable[str]) -> list[str]:
    """Values as they are written: the words of the attribute, examples of times, or texts that there are."""
    if attribute.type == "word":
        return [written_text(word) for word in attribute.words]
    if attribute.type in _EXAMPLES:
        return list(_EXAMPLES[attribute.type])
    return [written_text(value) for value in known]


def fitting(word: str, offers: Sequence[str], most: int, *, begins: bool = False) -> list[str]:
    """Those of the offers that a word may become, those that begin with it first.

    Args:
        begins: Only those.

    >>> fitting("los", ["tags.loss", "loss", "lr"], 5)
    ['loss', 'tags.loss']
    """
    typed = word.strip("'\"`").casefold()
    inside = [offer for offer in offers if typed in offer.casefold() and offer != word]
    first = [offer for offer in inside if offer.strip("'\"`").casefold().startswith(typed)]
    return [*first, *(() if begins else (offer for offer in inside if offer not in first))][:most]


def _cut(text: str) -> tuple[list[Token], str]:
    """The words before the one that is being written, and its beginning."""
    if len(text) > MAX_TEXT:
        return [], text
    found: list[Token] = []
    try:
        for token in tokens(text, "filter"):
            found.append(token)
    except Invalid:  # a quote is not closed, or a name, number or operator not complete
        end = found[-1].at + len(found[-1].text) if found else 0
        if text[end : end + 1] == "." and found and found[-1].kind == "name":
            return found[:-1], text[found[-1].at :]
        return found, text[end:].lstrip()
    found.pop()  # the end
    last = found[-1] if found else None
    touches = last is not None and last.at + len(last.text) == len(text)
    if last is not None and touches and (last.kind in ("name", "number", "span") or last.text in _UNFINISHED):
        return found[:-1], last.text
    return found, ""


_UNFINISHED = ("=", "!=", "<", "<=", ">", ">=")


class _State:
    """What is expected after the words that were taken."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._step = "name"
        self._open = 0
        self.field: Field | None = None
        self.attribute: Attribute | None = None

    @property
    def want(self) -> Want:
        if self._step in ("name", "operator", "nothing"):
            return self._step  # type: ignore[return-value]  # these three are wants too
        return "value" if self._step in ("value", "item") and self.attribute is not None else "word"

    def words(self) -> tuple[str, ...]:
        """The words of the language that may come."""
        if self._step == "operator":
            allowed = NATIVE[self.attribute.type] if self.attribute else frozenset[str]()
            return tuple(op for op in OPERATORS if op in allowed)
        close = (")",) if self._open else ()
        fixed = {
            "name": ("NOT",),
            "is": ("NULL", "NOT NULL"),
            "is not": ("NULL",),
            "not": ("IN", *_PATTERNS),
            "list": ("(",),
            "more": (",", ")"),
            "joiner": ("AND", "OR", *close),
        }
        return fixed.get(self._step, ())

    def take(self, token: Token) -> None:
        """Go on by one word; what can't stand here leads nowhere."""
        word = token.text.upper() if token.kind in ("name", "mark") else ""
        if self._step == "name" and (word in ("NOT", "(") or _is_name(token)):
            self._open += word == "("
            if word not in ("NOT", "("):
                self._compare(token)
        elif self._step == "joiner" and word == ")" and self._open:
            self._open -= 1
        elif self._step == "operator" and word in (*_UNFINISHED, *_PATTERNS):
            self._step = "value"
        elif self._step in ("value", "item") and token.kind in ("text", "number", "span"):
            self._step = "joiner" if self._step == "value" else "more"
        else:
            self._step = _NEXT.get((self._step, word), "nothing")

    def _compare(self, token: Token) -> None:
        """Know what is compared, as far as it is anything."""
        asked = named(token.text)
        entity = next((entity for entity in self._kind.entities if asked.entity in entity.spellings), None)
        self._step, self.field, self.attribute = "operator", None, None
        if entity is None:
            return
        keys = entity.keys
        self.attribute = entity.every if keys is None else keys.get(asked.key)
        if self.attribute is not None:
            self.field = Field(entity.name, asked.key if keys is None else self.attribute.name)


_NEXT = {
    ("joiner", "AND"): "name",
    ("joiner", "OR"): "name",
    ("operator", "IS"): "is",
    ("operator", "NOT"): "not",
    ("operator", "IN"): "list",
    ("not", "IN"): "list",
    **{("not", op): "value" for op in _PATTERNS},
    ("is", "NOT"): "is not",
    ("is", "NULL"): "joiner",
    ("is not", "NULL"): "joiner",
    ("list", "("): "item",
    ("more", ","): "item",
    ("more", ")"): "joiner",
}


def _is_name(token: Token) -> bool:
    return token.kind == "name" or (token.kind == "text" and token.text[0] == '"')
