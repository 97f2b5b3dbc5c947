"""`@step` and `@pipeline`: plain typed functions that can also be drawn as a graph.

Called anywhere, a step or a pipeline is the function it was made from. While a pipeline is drawn, the steps called in
it are noted instead of run, and their results are handles that can only be passed on.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid, MainspringError, did_you_mean
from mainspring.core.ids import check_name
from mainspring.pipelines import hints
from mainspring.pipelines.model import Argument, Dataset, Graph, Items, Json, Literal, Node, Result, StepOptions
from mainspring.pipelines.rules import order

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Step(Generic[P, R_co]):
    """A function that can be a step of a pipeline. Made by `@step`."""

    def __init__(self, function: Callable[P, R_co], options: StepOptions) -> None:
        _check_plain(function, "step")
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self.name = check_name(function.__name__, "step")
        self.made_at = time.time()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function; while a pipeline is drawn, note the step and return a handle of its result."""
        drawing = _drawing.get()
        if drawing is None:
            return self.function(*args, **kwargs)
        return cast(R_co, drawing.add(self, self.bind(*args, **kwargs)))

    @functools.cached_property
    def hints(self) -> dict[str, hints.Hint]:
        """The type hints of parameters and result."""
        return hints.hints_of(self.function)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, object]:
        """Arguments by parameter name, defaults filled in.

        Raises:
            Invalid: They do not match the function's parameters.
        """
        return _bind(self.function, self.name, args, kwargs)

    @property
    def reference(self) -> str:
        """Module and name, such as "flights:train"."""
        return f"{self.function.__module__}:{self.function.__qualname__}"


class Pipeline(Generic[P, R_co]):
    """A function that calls steps and passes their results on. Made by `@pipeline`."""

    def __init__(self, function: Callable[P, R_co], name: str) -> None:
        _check_plain(function, "pipeline")
        functools.update_wrapper(self, function)
        self.function = function
        self.name = check_name(name or function.__name__, "pipeline")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function, or in the drawing of another pipeline make its steps part of that one."""
        drawing = _drawing.get()
        if drawing is None:
            return self.function(*args, **kwargs)
        with drawing.inside(self):
            return self.function(*args, **kwargs)

    def draw(self, params: Mapping[str, Json]) -> tuple[Graph, dict[str, Step[..., object]]]:
        """The graph of the pipeline with these parameters, and its steps by id. No step runs.

        Texts are read as their parameter's type, so `{"trees": "200"}` is 200 for an `int`.

        Raises:
            Invalid: A parameter is unknown, missing or of the wrong type, or the function does more with the result of
                a step than to pass it on.
        """
        values = self._values(params)
        drawing = Drawing()
        token = _drawing.set(drawing)
        try:
            with drawing.inside(self):
                returned = self.function(**values)  # type: ignore[call-arg, arg-type]
        finally:
            _drawing.reset(token)
        datasets = [v for v in values.values() if isinstance(v, Dataset)] + drawing.datasets
        graph = Graph(
            self.name,
            {name: hints.as_json(value) for name, value in values.items()},
            tuple(drawing.nodes.values()),
            argument(returned, f"the result of pipeline {self.name}"),
            tuple(dict.fromkeys(map(str, datasets))),
        )
        order({node.id: node.needs for node in graph.nodes})
        return graph, drawing.steps

    def _values(self, params: Mapping[str, Json]) -> dict[str, object]:
        known = inspect.signature(self.function).parameters
        for name in params:
            if name not in known:
                hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'no parameters'}"
                raise Invalid(
                    f"pipeline {self.name} has no parameter {name!r}", where=f"pipeline {self.name}", hint=hint
                )
        wanted = hints.hints_of(self.function)
        given = {name: hints.from_text(value, wanted.get(name)) for name, value in params.items()}
        bound = _bind(self.function, self.name, (), given)
        return {name: _typed(value, wanted.get(name), f"{self.name}({name})") for name, value in bound.items()}


class Drawing:
    """A pipeline being drawn: the steps called so far."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.steps: dict[str, Step[..., object]] = {}
        self.datasets: list[str] = []
        self._open: list[str] = []

    def add(self, step: Step[P, R], values: Mapping[str, object]) -> Handle:
        """Note a call of `step` and return the handle of its result."""
        number = sum(other.name == step.name for other in self.steps.values()) + 1
        made = step.name if number == 1 else f"{step.name}-{number}"
        arguments: dict[str, Argument] = {}
        for name, value in values.items():
            where = f"step {made}, parameter {name}"
            arguments[name] = self._argument(value, step.hints.get(name), where)
        self.nodes[made] = Node(made, step.reference, step.options, arguments)
        self.steps[made] = cast(Step[..., object], step)
        return Handle(made, (), step.hints.get("return"))

    def _argument(self, value: object, wanted: hints.Hint, where: str) -> Argument:
        if isinstance(value, Handle):
            if wanted is not None and value.ms_hint is not None and not hints.may_flow(value.ms_hint, wanted):
                what = f"{value.ms_step} gives {hints.name_of(value.ms_hint)}, wanted is {hints.name_of(wanted)}"
                raise Invalid(what, where=where, hint="pass another result, or mend the hint that is wrong")
        elif wanted is not None and not _holds_handle(value):
            value = _typed(value, wanted, where)
            self.datasets += [value] if isinstance(value, Dataset) else []
        return argument(value, where)

    def inside(self, pipeline: Pipeline[P, R]) -> _Inside:
        """Note that the function of `pipeline` runs.

        Raises:
            Invalid: It runs already: the pipeline calls itself.
        """
        return _Inside(self._open, pipeline.name)


class _Inside:
    def __init__(self, names: list[str], name: str) -> None:
        if name in names:
            way = " -> ".join((*names[names.index(name) :], name))
            raise Invalid(
                f"the pipelines need each other: {way}", where=f"pipeline {name}", hint="cut one of these arrows"
            )
        self._names, self._name = names, name

    def __enter__(self) -> None:
        self._names.append(self._name)

    def __exit__(self, *_reason: object) -> None:
        self._names.pop()


class Handle:
    """Stands for the result of a step while a pipeline is drawn: pass it to a step, or take a part with `[...]`."""

    __slots__ = ("ms_hint", "ms_path", "ms_step")
    __hash__ = object.__hash__

    def __init__(self, step: str, path: tuple[str | int, ...], hint: hints.Hint) -> None:
        self.ms_step = step
        self.ms_path = path
        self.ms_hint = hint

    def __getitem__(self, part: str | int) -> Handle:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            self._refuse(f"[{part!r}]")
        inner = hints.item_hints(self.ms_hint)
        known = isinstance(part, int) and inner is not None and 0 <= part < len(inner)
        return Handle(self.ms_step, (*self.ms_path, part), inner[int(part)] if known and inner else None)

    def __iter__(self) -> Iterator[Handle]:
        inner = hints.item_hints(self.ms_hint)
        if inner is None:
            self._refuse("iteration")
        return iter([self[number] for number in range(len(inner))])

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse(f".{name}")

    def __repr__(self) -> str:
        return f"<result of {self.ms_step}>"

    def _refuse(self, use: str) -> NoReturn:
        raise Invalid(
            f"{use} on the result of {self.ms_step}, which is not there yet: the pipeline is only being drawn",
            where=f"step {self.ms_step}",
            hint="do it inside a step; to unpack a tuple, annotate the step's result as tuple[A, B]",
        )


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Handle, *_others: object) -> NoReturn:
        self._refuse(name)

    return refuse


_REFUSED = (
    "bool",
    "len",
    "int",
    "float",
    "str",
    "format",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "call",
    "contains",
)
for _name in _REFUSED:
    setattr(Handle, f"__{_name}__", _refusing(f"{_name}()"))

_drawing: ContextVar[Drawing | None] = ContextVar("drawing", default=None)


def argument(value: object, where: str) -> Argument:
    """A value in a pipeline function as an argument: known, or from other steps.

    Raises:
        Invalid: It is neither plain JSON nor made of results of steps.
    """
    if isinstance(value, Handle):
        return Result(value.ms_step, value.ms_path)
    if isinstance(value, (list, tuple)) and _holds_handle(value):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return Items(kind, tuple((str(n), argument(each, where)) for n, each in enumerate(value)))
    if isinstance(value, dict) and _holds_handle(value):
        return Items("dict", tuple((str(key), argument(each, where)) for key, each in value.items()))
    plain = hints.as_json(value)
    try:
        canonical_json(plain)
    except MainspringError:
        hint = "make it in a step and pass the step's result, or pass plain JSON values"
        raise Invalid(f"a {type(value).__name__} cannot be written into a graph", where=where, hint=hint) from None
    return Literal(plain)


def _holds_handle(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_handle, value))
    if isinstance(value, dict):
        return any(map(_holds_handle, value.values()))
    return isinstance(value, Handle)


def _typed(value: object, hint: hints.Hint, where: str) -> object:
    if hint is None or _holds_handle(value):
        return value
    try:
        return hints.as_hinted(value, hint)
    except Invalid as reason:
        raise Invalid(reason.what, where=where, hint=reason.hint) from None


def _bind(
    function: Callable[..., object], name: str, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError as reason:
        hint = f"it is {name}{inspect.signature(function)}"
        raise Invalid(f"{name}: {reason}", where=name, hint=hint) from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _check_plain(function: Callable[..., object], what: str) -> None:
    where = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise Invalid(f"a {what} is made of a function with a name", where=where, hint=f"write @{what} above a def")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Invalid(f"a {what} is a plain function", where=where, hint="return a value; no async, no yield")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Invalid(
                f"a {what} names its parameters, found *{parameter.name}", where=where, hint="pass a list or dict"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise Invalid(f"parameter {parameter.name} of a {what} has no name", where=where, hint="take out the slash")


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    cache: bool = True,
    retries: int = 0,
    retry_in_s: float = 1.0,
    timeout_s: float | None = None,
    side_effect: bool = False,
    env: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    cache: bool = True,
    retries: int = 0,
    retry_in_s: float = 1.0,
    timeout_s: float | None = None,
    side_effect: bool = False,
    env: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step. The options are those of `StepOptions`.

    >>> @step(retries=2)
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double(21)
    42
    """
    options = StepOptions(
        cache=cache,
        retries=retries,
        retry_in_s=retry_in_s,
        timeout_s=timeout_s,
        side_effect=side_effect,
        env=tuple(env),
        files=tuple(files),
    )
    if function is None:
        return lambda made: Step(made, options)
    return Step(function, options)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(*, name: str = "") -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    function: Callable[P, R] | None = None, /, *, name: str = ""
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a function that calls steps a pipeline. Its name is the function's unless another is given."""
    if function is None:
        return lambda made: Pipeline(made, name)
    return Pipeline(function, name)
