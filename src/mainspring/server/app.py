"""The app: the handlers of all rooms behind one door, one guard and one error table."""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Self

from litestar import Litestar, Router, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import HttpMethod
from litestar.exceptions import LitestarDeprecationWarning
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.routes import HTTPRoute
from litestar.template import TemplateConfig
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition, RouteHandlerMapItem
from litestar.utils.helpers import unwrap_partial

from mainspring.access import Access, Identity
from mainspring.access.model import PUBLIC, check_permission
from mainspring.access.rules import own_hosts
from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.wiring import Wiring
from mainspring.mlflow import logging
from mainspring.mlflow.identity import PUBLIC_PATHS
from mainspring.server.door import Door
from mainspring.server.errors import answered, exception_handlers
from mainspring.server.rooms import ROOMS, SERVICES, collect_handlers, service_type
from mainspring.server.shortcut import Shortcut
from mainspring.server.stream import Pulse, run_stream, stream
from mainspring.storage.ports import Journal
from mainspring.ui.pages import page_environment

BODY_LIMIT = 64 * 1024 * 1024
"""Most bytes of a request's body, unless a route says otherwise."""

OPEN = ("/health", *PUBLIC_PATHS)
"""What anybody may ask: whether the server answers, and which protocol it speaks."""

Connection = ASGIConnection[BaseRouteHandler, object, object, State]


@get("/health", opt={"permission": PUBLIC}, sync_to_thread=False, tags=["server"], media_type="text/plain")
def health() -> str:
    """Say that the server answers: `OK`."""
    return "OK"


def create_app(
    wiring: Wiring,
    *,
    port: int = 7600,
    project: str = "default",
    access: Access | None = None,
    rooms: Sequence[str] = ROOMS,
) -> Litestar:
    """Build the app over the services of `wiring`.

    Args:
        wiring: Builds each service when a handler first asks for it.
        port: Where browsers see the server, for the check of `Host` and `Origin`.
        project: The project of a request that names none.
        access: Who may do what; by default the embedded mode, where whoever asks from this machine is the owner.
        rooms: Whose routes and pages are served.
    Raises:
        MainspringError: A route does not declare its permission.
    """
    access = access or Access()
    handlers = collect_handlers(rooms)
    pages = page_environment(_paths(handlers.pages))
    pulse = _Once(lambda: Pulse(wiring.get(Journal)))  # type: ignore[type-abstract]  # the wiring knows ports by name
    own = [copy(health), copy(stream), copy(run_stream)]
    provided = {
        **{name: _provide(wiring, name) for name in SERVICES},
        "wiring": _Service(lambda: wiring, sync_to_thread=False),
        "pulse": _Service(pulse, sync_to_thread=False),
    }
    for handler in (*own, *handlers.api, *handlers.pages):
        handler.dependencies = {name: provided[name] for name in _parameters(handler) if name in provided}
    with warnings.catch_warnings():
        # Litestar 3 will want every parameter marked with where it comes from; before it, names are enough.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        app = _App(
            [_Router([*own, *handlers.api]), _Router(handlers.pages, include_in_schema=False)],
            guards=[_guard(access)],
            exception_handlers=exception_handlers(pages),
            request_max_body_size=BODY_LIMIT,
            template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(pages)),
            openapi_config=OpenAPIConfig(
                title="Mainspring",
                version="1",
                use_handler_docstrings=True,
                operation_id_creator=_operation_id,
                render_plugins=[
                    JsonRenderPlugin(path=["/", "/openapi.json"])
                ],  # JSON only: the usual pages load from a CDN
                openapi_router=Router(
                    "/schema", route_handlers=[], opt={"permission": "schema:read"}, include_in_schema=False
                ),
            ),
            logging_config=None,
            on_shutdown=[pulse.end],
        )
    app.state.end_streams = pulse.close
    check_routes(app)
    _describe(app)
    quick = logging.calls if "mlflow" in rooms else []
    inside = Shortcut(app.asgi_handler, quick, access=access, wiring=wiring, longest=BODY_LIMIT, answered=answered)
    app.asgi_handler = Door(inside, access=access, hosts=own_hosts(port), project=project)
    return app


class _App(Litestar):
    """Litestar without its plugins for libraries that no handler uses: only finding them would import them."""

    _mapped: tuple[int, dict[str, RouteHandlerMapItem]] | None = None

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]

    @property
    def route_handler_method_map(self) -> dict[str, RouteHandlerMapItem]:
        """The handlers of each path; the framework asks at every path it adds, so what is known is kept."""
        seen, known = self._mapped or (0, {})
        for route in self.routes[seen:]:
            if isinstance(route, HTTPRoute):
                known[route.path] = {method: one for one in route.route_handlers for method in one.http_methods}
        self._mapped = (len(self.routes), known)
        return known


class _Router(Router):
    """One route for each path, made at once.

    Registered one by one, the third handler of a path would break the first (Litestar 2.25), and each would be compared
    with all before it. One handler of OPTIONS is for all paths: the framework would make one for each.
    """

    def __init__(self, handlers: Sequence[BaseRouteHandler], *, include_in_schema: bool = True) -> None:
        super().__init__("/", route_handlers=[], include_in_schema=include_in_schema)
        paths: dict[str, list[HTTPRouteHandler]] = defaultdict(list)
        for handler in handlers:
            assert isinstance(handler, HTTPRouteHandler), handler  # nothing here speaks another protocol
            for path in handler.paths:
                paths[path].append(handler)
        options = HTTPRouteHandler(sorted(paths), http_method=HttpMethod.OPTIONS, include_in_schema=False)(_options)
        for handler in (*handlers, options):
            handler.owner = self
        for path, found in paths.items():
            _check_apart(path, found)
        self.routes = [HTTPRoute(path=path, route_handlers=[*found, options]) for path, found in paths.items()]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # registered once, with handlers that are copies already: copying it costs a tenth of a start


def _check_apart(path: str, handlers: Sequence[HTTPRouteHandler]) -> None:
    """The framework would leave out one of two without a word."""
    asked: dict[str, HTTPRouteHandler] = {}
    for handler in handlers:
        for method in handler.http_methods:
            if other := asked.get(method):
                raise MainspringError(f"{method} {path} has two handlers", where=f"{other} and {handler}")
            asked[method] = handler


async def _options() -> None:
    """Never asked: the door lets no such request in."""


class _Service(Provide):
    """Told from others by identity: the framework compares every two of them for every handler."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class _Once:
    """The pulse of the app, made when the first page listens."""

    def __init__(self, make: Callable[[], Pulse]) -> None:
        self._make = make
        self._pulse: Pulse | None = None

    def __call__(self) -> Pulse:
        self._pulse = self._pulse or self._make()
        return self._pulse

    def close(self) -> None:
        if self._pulse is not None:
            self._pulse.close()

    def end(self) -> None:
        if self._pulse is not None:
            self._pulse.close()
            self._pulse.join()


def _describe(app: Litestar) -> None:
    """Take summary and description of every operation from its docstring; the framework may see a wrapper."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            text = inspect.getdoc(getattr(handler.fn, "func", handler.fn)) or ""
            first, _, rest = text.partition("\n")
            handler.summary, handler.description = first.rstrip("."), rest.strip() or text


def _operation_id(handler: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]) -> str:
    """Method and path, which no two operations share: `get_models_name_versions`."""
    names = [part if isinstance(part, str) else part.name for part in path]
    return "_".join([method.lower(), *(name.replace("-", "_") for name in names if name not in ("api", "v1"))])


def _parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """What the function of a handler asks for by name.

    Each handler is told only of the services it asks for: the framework looks at all it is told of, for every handler.
    """
    code = unwrap_partial(handler.fn).__code__
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _paths(handlers: Sequence[BaseRouteHandler]) -> set[str]:
    return {path for handler in handlers for path in handler.paths}


def _provide(wiring: Wiring, name: str) -> Provide:
    return _Service(lambda: wiring.get(service_type(name)), sync_to_thread=False)


def _guard(access: Access) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        # async: the framework would give a plain function a thread, which costs more than the rest of a request
        identity: Identity = connection.scope["state"]["identity"]
        access.check(identity, handler.opt["permission"])
        for name, value in connection.path_params.items():
            if isinstance(value, int):
                _check_range(name, value)
        for name, text in connection.query_params.items():
            if isinstance(text, str) and text.lstrip("-").isdecimal() and _is_number(handler, name):
                _check_range(name, int(text[:30]))

    return guard


def _is_number(handler: BaseRouteHandler, name: str) -> bool:
    field = handler.parsed_fn_signature.parameters.get(name)
    return field is not None and field.is_subclass_of(int)


def _check_range(name: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise Invalid(f"{name} is out of range", where=name, hint="use a smaller number")


def check_routes(app: Litestar) -> None:
    """Refuse to start when a route does not say what it takes to call it."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.http_methods == {"OPTIONS"}:
                continue  # the framework adds these; the door lets no such request in
            permission = handler.opt.get("permission")
            if permission is None:
                raise MainspringError(
                    f"the route {route.path} declares no permission",
                    where=str(handler),
                    hint='write opt={"permission": "noun:read"}',
                )
            check_permission(permission)
            if permission == PUBLIC and route.path not in OPEN:
                raise MainspringError(f"the route {route.path} is public", hint=f"only {', '.join(OPEN)} may be")
