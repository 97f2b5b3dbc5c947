"""Errors as clients of MLflow know them: `error_code` and `message`, each code with its status."""

from __future__ import annotations

from mainspring.core.errors import Conflict, MainspringError

STATUS = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "FEATURE_DISABLED": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_CONFLICT": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL_ERROR": 500,
    "INVALID_STATE": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of every error code of the protocol that this server sends."""

CODES = {
    "invalid": "INVALID_PARAMETER_VALUE",
    "unauthenticated": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "not_found": "RESOURCE_DOES_NOT_EXIST",
    "method_not_allowed": "BAD_REQUEST",
    "conflict": "RESOURCE_ALREADY_EXISTS",
    "refused": "RESOURCE_CONFLICT",
    "fenced": "ABORTED",
    "too_large": "INVALID_PARAMETER_VALUE",
    "error": "INTERNAL_ERROR",
    "corrupt": "INTERNAL_ERROR",
    "failed": "INTERNAL_ERROR",
    "overloaded": "TEMPORARILY_UNAVAILABLE",
    "unavailable": "TEMPORARILY_UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}
"""What our error codes are called in the protocol, unless a call says otherwise."""


class Told(MainspringError):
    """An error under the one name that clients of the protocol depend on.

    Args:
        error_code: One of `STATUS`.
    """

    code = "invalid"

    def __init__(self, error_code: str, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.error_code = error_code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.error_code, self.what, self.where, self.hint))


def _rebuild(error_code: str, what: str, where: str, hint: str) -> Told:
    return Told(error_code, what, where=where, hint=hint)


def told(error: MainspringError, conflict: str) -> MainspringError:
    """The error as a call tells it: where `conflict` is given, something that exists or differs has that name."""
    if conflict and isinstance(error, Conflict):
        return Told(conflict, error.what, where=error.where, hint=error.hint)
    return error


def answer_of(error: MainspringError, status: int | None = None) -> tuple[dict[str, str], int]:
    """The body and the status of an error.

    Args:
        status: What the web framework has decided (404 for no such address, 405, 413); None: by the table.
    """
    name = error.error_code if isinstance(error, Told) else CODES.get(error.code, "INTERNAL_ERROR")
    if status == 404 and not isinstance(error, Told):
        name = "ENDPOINT_NOT_FOUND"
    message = f"{error.what} ({error.hint})" if error.hint else error.what
    return {"error_code": name, "message": message}, status or STATUS[name]
