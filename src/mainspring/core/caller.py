"""Who is asking, for which project, under which request: set once at a door, read wherever it is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The one on whose behalf something happens."""

    actor: str = "owner"
    project: str = "default"
    request_id: str = ""


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
_adopted = Caller()


def caller() -> Caller:
    """The caller of the code that is running; whom the process adopted when no door said otherwise."""
    return _caller.get() or _adopted


def adopt(who: Caller) -> None:
    """Make `who` the caller of everything in this process that no door speaks for: a script, a command, a child."""
    global _adopted
    _adopted = who


@contextmanager
def calling(who: Caller) -> Iterator[Caller]:
    """Run the block on behalf of `who`."""
    token = _caller.set(who)
    try:
        yield who
    finally:
        _caller.reset(token)
