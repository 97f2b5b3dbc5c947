"""The words of a filter: identifiers, texts, numbers, lengths of time, operators. And how its errors are told."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mainspring.core.clock import SPAN
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

MAX_TEXT = 100_000
"""How many characters a filter may have."""
_QUOTED = r"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\""
_KEY = rf"{_QUOTED}|[\w\-/:]+\.{_QUOTED}|[\w.\-/:]+"
_PARTS = {
    "name": rf"(?:[^\W\d][\w\-/:]*|{_QUOTED})\.(?:{_KEY})|[^\W\d][\w\-/:]*|`(?:[^`]|``)*`",
    "text": r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"",
    "span": rf"{SPAN}(?![\w.])",
    "number": r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])",
    "mark": r"<=|>=|!=|<>|==|=|<|>|\(|\)|,|;",
    "space": r"\s+",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PARTS.items()))


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text; `kind` is name, text, span, number, mark or end."""

    kind: str
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of the words (in capitals) or marks, in any case."""
        return self.kind in ("name", "mark") and self.text.upper() in words


def tokens(text: str, what: str) -> Iterator[Token]:
    """The words of a text, then one of kind `end`.

    Args:
        what: What the text is, for errors: "filter".
    Raises:
        Invalid: A character begins no word, a quote is not closed, or the text is too long.
    """
    if len(text) > MAX_TEXT:
        raise Invalid(f"{len(text)} characters", where=what, hint=f"use at most {MAX_TEXT}")
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise wrong(text, at, what, _reason(text, at))
        if found.lastgroup != "space":
            yield Token(str(found.lastgroup), found.group(), at)
        at = found.end()
    yield Token("end", "", len(text))


def wrong(text: str, at: int, what: str, reason: str, hint: str = "") -> Invalid:
    """The error that says where in a text something is wrong.

    >>> print(wrong("loss >> 5", 6, "filter", "'>' is no value"))
    '>' is no value
    where: filter, character 7: "> 5"
    """
    rest = text[at : at + 30] + ("..." if len(text) > at + 30 else "")
    place = f'{what}, character {at + 1}: "{rest}"' if rest else f"{what}, at its end"
    return Invalid(reason, where=place, hint=hint)


def unquoted(text: str) -> str:
    """What stands between quotes or backticks, where a doubled one stands for itself; other text as it is.

    >>> unquoted("'it''s'"), unquoted("plain")
    ("it's", 'plain')
    """
    quote = text[:1]
    return text[1:-1].replace(quote * 2, quote) if quote in ("'", '"', "`") else text


def _reason(text: str, at: int) -> str:
    letter = text[at]
    if letter in "'\"`":
        return f"the quote {letter} is not closed"
    if letter.isdigit() or letter in "+-.":
        return "this is no number"
    return f"{letter!r} begins no name, value or operator"
