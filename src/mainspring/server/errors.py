"""Every error as an answer: code to status in one table, as JSON for programs and as a page for people."""

from __future__ import annotations

import logging
from http import HTTPStatus

from jinja2 import Environment
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from mainspring.core.caller import caller
from mainspring.core.errors import Invalid, MainspringError, NotFound, TooLarge
from mainspring.core.values import dataclass
from mainspring.mlflow.errors import answer_of
from mainspring.mlflow.spelling import is_own

log = logging.getLogger(__name__)

STATUS = {
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "refused": 409,
    "fenced": 409,
    "too_large": 413,
    "error": 500,
    "corrupt": 500,
    "failed": 502,
    "overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
    "no_room": 507,
}
"""The HTTP status of every error code."""

RETRY_AFTER_S = 1
"""What a client is told to wait when there is no room for more work."""


class Unexpected(MainspringError):
    """A defect of the server: nobody knew that this could happen."""


class MethodNotAllowed(Invalid):
    """The address exists, the method does not."""

    code = "method_not_allowed"


@dataclass(frozen=True, slots=True)
class Answered:
    """What an error is answered with."""

    status: int
    body: dict[str, str]
    headers: dict[str, str]


def answered(reason: Exception) -> Answered:
    """What an error of a call of MLflow's protocol is answered with."""
    error, status = _understood(reason)
    told, status = answer_of(error, status if isinstance(reason, HTTPException) or status == 507 else None)
    return Answered(status, told, _headers(error))


def exception_handlers(pages: Environment) -> ExceptionHandlersMap:
    """The handlers of the app, which render pages for people with `pages`."""

    def answer(request: Request[object, object, State], reason: Exception) -> Response[object]:
        if is_own(request.scope["path"]):
            said = answered(reason)
            return Response(said.body, status_code=said.status, media_type="application/json", headers=said.headers)
        error, status = _understood(reason)
        body, headers = error_body(error), _headers(error)
        if _wants_page(request):
            title = HTTPStatus(status).phrase.lower()
            html = pages.get_template("error.html").render(error=body, status=status, title=title)
            return Response(html, status_code=status, media_type="text/html", headers=headers)
        return Response(body, status_code=status, media_type="application/json", headers=headers)

    return {HTTPException: answer, MainspringError: answer, Exception: answer}


def error_body(error: MainspringError) -> dict[str, str]:
    """An error as every client sees it."""
    return {
        "code": error.code,
        "what": error.what,
        "where": error.where,
        "hint": error.hint,
        "request_id": caller().request_id,
    }


def _headers(error: MainspringError) -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_S)} if error.code == "overloaded" else {}


def _understood(reason: Exception) -> tuple[MainspringError, int]:
    if isinstance(reason, MainspringError):
        status = STATUS.get(reason.code, 500)
        if status == 500:
            log.error("request.failed", exc_info=reason, extra={"request_id": caller().request_id})
        if status == 507:
            log.error("disk.full where=%s", reason.where, extra={"request_id": caller().request_id})
        return reason, status
    if isinstance(reason, RecursionError):
        return Invalid("the request is nested too deeply", hint="GET /schema describes every request"), 400
    if isinstance(reason, HTTPException) and reason.status_code < 500:
        return _from_framework(reason), reason.status_code
    log.error("request.crashed", exc_info=reason, extra={"request_id": caller().request_id})
    hint = f"look for request {caller().request_id} in the log of the server"
    return Unexpected("something happened that nobody expected", hint=hint), 500


def _from_framework(reason: HTTPException) -> MainspringError:
    if reason.status_code == 404:
        return NotFound(reason.detail if reason.detail != "Not Found" else "there is nothing at this address")
    if reason.status_code == 405:
        return MethodNotAllowed("this address does not know the method", hint="GET /schema lists what there is")
    if reason.status_code == 413:
        return TooLarge("the body is larger than this server takes")
    return Invalid(_details(reason) or reason.detail, hint="GET /schema describes every request")


def _details(reason: HTTPException) -> str:
    extra = reason.extra if isinstance(reason.extra, list) else []
    parts = [f"{entry.get('key', 'body')}: {entry.get('message', '')}" for entry in extra if isinstance(entry, dict)]
    return "; ".join(parts)


def _wants_page(request: Request[object, object, State]) -> bool:
    path = request.scope["path"]
    return "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/schema"))
