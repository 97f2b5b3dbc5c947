"""What every protocol makes of a request, and what it gets back: the seam between bytes and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mainspring.core.clock import micros
from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.columns import Column, Features

Outputs = dict[str, list[object]]
"""One answer for each row, by the output's name."""
_MAX_ID = 200
_MAX_MARKS = 100


KEEP = "keep"
"""The value of the parameter `explain` by which reason codes go into the log, too."""


class Context(NamedTuple):
    """What a request says beside its rows: its id, its routing key, its event time, its deadline, and whether it asks
    for reason codes, and for keeping them.
    """

    request_id: str
    key: str
    event_at: int | None
    timeout_ms: int | None
    explain: bool = False
    keep: bool = False


class Question(Protocol):
    """A request as its protocol read it."""

    @property
    def about(self) -> Context:
        """Its id, routing key, event time and deadline."""
        ...

    @property
    def wanted(self) -> Sequence[str] | None:
        """Names of the outputs it asks for; None asks for all."""
        ...

    def columns(self, features: Features) -> list[Column]:
        """Its rows as the columns of the model that was chosen for it.

        Raises: Invalid: They do not fit.
        """
        ...


class Answered(NamedTuple):
    """An answer: who gave it, the outputs by name, one entry a row, and the rules that held for each row.

    With reason codes, also what their numbers are, and the inputs they are of.
    """

    model: str
    version: str
    arm: str
    request_id: str
    outputs: Outputs
    marks: Sequence[Sequence[str]] = ()
    scale: str = ""
    columns: Sequence[str] = ()

    @property
    def rules(self) -> str:
        """The rules that held, as "ROW NAME:ACTION" and joined by commas; of many the first hundred."""
        if not any(self.marks):
            return ""
        held = [f"{row} {mark}" for row, marks in enumerate(self.marks) for mark in marks]
        return ", ".join(held[:_MAX_MARKS])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Who answered, and the key for late labels, for protocols whose bodies have no place for them."""
        said = [(b"x-request-id", self.request_id), (b"x-model-version", self.version), (b"x-model-arm", self.arm)]
        said += [(b"x-rules", self.rules)] if self.marks else []
        return [(name, value.encode("ascii", "replace")) for name, value in said if value]


def context(request_id: str, given: Mapping[str, object] | None, fresh_id: Callable[[], str]) -> Context:
    """The id (a fresh one when absent), routing key (default: the id), event time and deadline of a request.

    Raises: Invalid: One of them is not what it should be.
    """
    request_id = request_id or fresh_id()
    if not given:
        _check_text("id", request_id)
        return Context(request_id, request_id, None, None)
    key = given.get("routing_key", request_id)
    event, timeout, explain = given.get("event_time"), given.get("timeout_ms"), given.get("explain", False)
    _check_text("id", request_id)
    _check_text("routing_key", str(key))
    if timeout is not None and not (type(timeout) is int and 0 < timeout <= 3_600_000):
        raise Invalid("timeout_ms is not a whole number from 1 to 3600000")
    if explain not in (True, False, KEEP):
        raise Invalid(f"the parameter explain is neither true, false nor {KEEP!r}")
    return Context(request_id, str(key), _event_at(event), timeout, bool(explain), explain == KEEP)


def _check_text(what: str, text: str) -> None:
    if len(text) > _MAX_ID or not text.isprintable():
        raise Invalid(f"{what} is longer than {_MAX_ID} characters or not printable")


def _event_at(event: object) -> int | None:
    if event is None:
        return None
    if isinstance(event, bool) or not isinstance(event, int | str):
        raise Invalid("event_time is neither ISO 8601 text nor microseconds")
    try:
        at = micros(event)
    except (OverflowError, ValueError):
        at = -(1 << 62)
    if not -(1 << 61) < at < (1 << 61):
        raise Invalid("event_time is out of range")
    return at
