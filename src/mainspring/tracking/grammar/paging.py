"""Page tokens: where a page ended, opaque to the client. They are no secret, so each is checked as any input is."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

T = TypeVar("T")
Key: TypeAlias = "int | float | str"
_MAX = 60_000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of what was found; `next_token` asks for what follows and is "" when nothing does."""

    items: tuple[T, ...]
    next_token: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: the time the search was first asked at, and the sort keys of the last thing on the page."""

    now: int
    keys: tuple[Key, ...]


def fingerprint(*question: object) -> str:
    """A short name of a question (plain JSON values), so that a token is not used for another one."""
    return digest(canonical_json(list(question)))[:16]


def token_of(question: str, mark: Mark) -> str:
    """The token for a question's fingerprint and a mark."""
    plain = json.dumps([question, mark.now, *mark.keys], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(plain.encode()).decode()


def mark_of(token: str, question: str, types: Sequence[type]) -> Mark:
    """The mark that a token holds.

    Args:
        types: What each sort key is: int, float or str.
    Raises:
        Invalid: It is no token, or one of another question.
    """
    hint = "send the token of the page before with the same filter and order, or none for the first page"
    try:
        if len(token) > _MAX:
            raise ValueError("too long")
        found = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise Invalid("this is no page token", where="page_token", hint=hint) from None
    if not isinstance(found, list) or len(found) != len(types) + 2 or not isinstance(found[0], str):
        raise Invalid("this is no page token of this search", where="page_token", hint=hint)
    if found[0] != question or not _fits(found[1:], (int, *types)):
        raise Invalid("this page token is of another search", where="page_token", hint=hint)
    return Mark(found[1], tuple(found[2:]))


def _fits(values: Sequence[object], types: Sequence[type]) -> bool:
    return all(_fits_one(value, kind) for value, kind in zip(values, types, strict=True))


def _fits_one(value: object, kind: type) -> bool:
    if type(value) is not kind:
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    return "\x00" not in str(value) and not any("\ud800" <= letter <= "\udfff" for letter in str(value))
