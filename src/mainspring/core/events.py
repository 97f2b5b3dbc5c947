"""Facts and events: a fact is what a room says happened; an event is the fact with its place in the log."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from mainspring.core.values import dataclass

_kinds: dict[str, type[Fact]] = {}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that happened, in the past tense. A room's events.py has one subclass for each.

    `subject` is the reference of the thing it happened to, such as `models/flights/3`. Payloads hold pseudonyms, never
    personal data.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class LampLit(Fact):
    ...     kind: ClassVar[str] = "example.lamp_lit"
    ...     watts: int
    >>> LampLit(subject="lamps/1", watts=5).payload()
    {'watts': 5}
    """

    kind: ClassVar[str] = ""
    subject: str

    def __init_subclass__(cls) -> None:
        known = _kinds.setdefault(cls.kind, cls)
        if not cls.kind or (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.__qualname__} needs an event kind of its own, found {cls.kind!r}")
        _kinds[cls.kind] = cls

    def payload(self) -> dict[str, object]:
        """What the event says beyond its subject: plain JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "subject"}


@dataclass(frozen=True, slots=True)
class Event:
    """A fact in the log: number, time (microseconds UTC), who, project, kind, subject, payload and request."""

    seq: int
    at: int
    actor: str
    project: str
    kind: str
    subject: str
    payload: dict[str, object]
    request_id: str = ""


def fact_kinds() -> dict[str, type[Fact]]:
    """Every kind of event that is known, by its name."""
    return dict(sorted(_kinds.items()))
