"""What clients ask for that is not there: each answer says so, where a bare 404 would leave one guessing."""

from __future__ import annotations

from mainspring.mlflow.calls import Call, call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.wire import Message

_METHODS = (("GET", "runs:read"), ("POST PUT PATCH DELETE", "runs:write"))
_HINT = "docs/mlflow.md lists what is answered"


class Anything(Message):
    """A question about what is not there."""


def _absent(what: str, *paths: str) -> list[Call]:
    def refuse(ask: Anything) -> None:
        raise Told("ENDPOINT_NOT_FOUND", f"Mainspring has no {what}", where="path", hint=_HINT)

    refuse.__doc__ = f"Refused, as this is not there: {what}."
    return [call(methods, path, permission)(refuse) for path in paths for methods, permission in _METHODS]


calls = [
    *_absent("AI gateway: endpoints, routes, budgets and keys of models elsewhere", "gateway/{rest:path}"),
    *_absent("label schemas", "label-schemas", "label-schemas/{rest:path}"),
    *_absent("review queues", "review-queues", "review-queues/{rest:path}"),
    *_absent("issues", "issues", "issues/{rest:path}"),
]
