"""What a call of the protocol is: where it is served, what it takes to call it, and the function that answers it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal, cast, get_type_hints

from mainspring.core.values import dataclass
from mainspring.mlflow.spelling import BASE
from mainspring.mlflow.wire import Message

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Nothing(Message):
    """A request without fields."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the protocol.

    Args:
        methods: The HTTP methods it answers to.
        path: The whole address, with `{name:str}` for fields that it holds.
        permission: What it takes to call it.
        conflict: The error code for something that exists already or differs; "": RESOURCE_ALREADY_EXISTS.
        function: Takes the request, then services by their types. An `async` one runs on the loop and must not block.
    """

    methods: tuple[Method, ...]
    path: str
    permission: str
    conflict: str
    function: Callable[..., object]

    @property
    def waits(self) -> bool:
        """Whether the function runs on the loop."""
        return inspect.iscoroutinefunction(self.function)

    def parameters(self) -> tuple[type[Message], tuple[type, ...]]:
        """The kind of the request, and the services the function takes after it."""
        hints = get_type_hints(self.function)
        hints.pop("return", None)
        ask, *services = hints.values()
        return ask, tuple(services)


def call(methods: str, path: str, permission: str, *, conflict: str = "") -> Callable[[Callable[..., object]], Call]:
    """Make a call of a function.

    Args:
        methods: Such as "POST" or "GET POST".
        path: Below `/api/2.0/mlflow/`, or whole when it starts with a slash.
        permission: Such as "runs:write".
        conflict: See `Call`.
    """
    place = path if path.startswith("/") else f"{BASE}/{path}".rstrip("/")

    def decorate(function: Callable[..., object]) -> Call:
        return Call(cast("tuple[Method, ...]", tuple(methods.split())), place, permission, conflict, function)

    return decorate
