"""The one error family: every error says what was found, where, and what to try. Errors know nothing of HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class MainspringError(Exception):
    """Something Mainspring refuses or cannot do, in three lines.

    Args:
        what: What was found and what was expected, one sentence.
        where: The file, column, route or object it is about.
        hint: The next step, best as a command to run.

    >>> print(Invalid("port 99999 is out of range", where="server.port", hint="use 1 to 65535"))
    port 99999 is out of range
    where: server.port
    try: use 1 to 65535
    """

    code: ClassVar[str] = "error"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"where: {self.where}")
        if self.hint:
            lines.append(f"try: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def _rebuild(kind: type[MainspringError], what: str, where: str, hint: str) -> MainspringError:
    return kind(what, where=where, hint=hint)


class Invalid(MainspringError):
    """The input is not what was asked for."""

    code = "invalid"


class NotFound(MainspringError):
    """Nothing is there under that name."""

    code = "not_found"


class Conflict(MainspringError):
    """It exists already, or somebody else changed it first."""

    code = "conflict"


class Refused(MainspringError):
    """A gate, check or policy says no."""

    code = "refused"


class Forbidden(MainspringError):
    """The caller may not do this."""

    code = "forbidden"


class Unauthenticated(MainspringError):
    """It is not known who is asking."""

    code = "unauthenticated"


class TooLarge(MainspringError):
    """The input is over its limit."""

    code = "too_large"


class Overloaded(MainspringError):
    """No room for more work right now; the same request may be sent again later."""

    code = "overloaded"


class NoRoom(MainspringError):
    """The disk is full, or a quota is used up; nothing was stored."""

    code = "no_room"


class Unavailable(MainspringError):
    """A part that is needed does not answer."""

    code = "unavailable"


class Corrupt(MainspringError):
    """Bytes do not match their digest or signature."""

    code = "corrupt"


class Fenced(MainspringError):
    """The lease was lost, so a late write is refused."""

    code = "fenced"


class Failed(MainspringError):
    """A step, a child process or something outside failed."""

    code = "failed"


class Timeout(MainspringError):
    """It did not happen in the time that was given."""

    code = "timeout"


def error_codes() -> dict[str, type[MainspringError]]:
    """Every error code with its class, for the docs and the status table."""
    return {kind.code: kind for kind in MainspringError.__subclasses__() if kind.__module__ == __name__}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest known name, or say nothing.

    >>> did_you_mean("chrun", ["churn", "fraud"])
    'did you mean "churn"?'
    """
    import difflib  # 2 ms, and only errors need it

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""
