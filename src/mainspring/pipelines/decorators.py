"""`@step` and `@pipeline`: plain typed functions that can also be drawn as a graph.

Called anywhere, a step or a pipeline is the function it was made from. While a pipeline is drawn, the steps called in
it are noted instead of run, and their results are handles that can only be passed on.
"""

from __future__ import annotations

import functools
import inspect
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Generic, ParamSpec, TypeAlias, TypeVar, Unpack, cast, overload

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.ids import check_name
from mainspring.pipelines import hints
from mainspring.pipelines.handles import Handle, argument, holds_handle
from mainspring.pipelines.model import (
    Argument,
    Dataset,
    Graph,
    Guard,
    Json,
    Kind,
    Literal,
    Node,
    Result,
    StepOptions,
    StepWords,
)
from mainspring.pipelines.rules import order

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
AnyStep: TypeAlias = "Step[..., object]"


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

    def map(self, items: Iterable[object] | Handle, /, *, limit: int = 0, **fixed: object) -> list[R_co]:
        """Call the step once for each item of a list, which may be the result of an earlier step.

        Args:
            items: The list. Each item goes to the first parameter that is not among `fixed`.
            limit: How many at once; 0 for as many as there are processors. 1 is one after another, in the run's own
                process.
            fixed: The other arguments, the same for all.
        Returns: The results in the order of the items.
        """
        item = next((name for name in _signature_of(self.function).parameters if name not in fixed), "")
        values = _bind(self.function, self.name, (), {**fixed, item: items})
        drawing = _drawing.get()
        if drawing is not None:
            return cast("list[R_co]", drawing.add(self, values, item=item, limit=limit))
        call = cast(Callable[..., R_co], self.function)
        return [call(**{**values, item: each}) for each in items]

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

    def __init__(
        self,
        function: Callable[P, R_co],
        name: str,
        *,
        on_failure: AnyStep | None = None,
        lastly: AnyStep | None = None,
    ) -> None:
        _check_plain(function, "pipeline")
        functools.update_wrapper(self, function)
        self.function = function
        self.name = check_name(name or function.__name__, "pipeline")
        self.on_failure = on_failure
        self.lastly = lastly
        self.made_at = time.time()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function, or in the drawing of another pipeline make its steps part of that one."""
        drawing = _drawing.get()
        if drawing is None:
            return self.function(*args, **kwargs)
        with drawing.inside(self):
            if self.on_failure or self.lastly:
                hint = "give them to the outermost pipeline"
                raise Invalid("on_failure and lastly belong to a run", where=f"pipeline {self.name}", hint=hint)
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
            endings = [drawing.ending(each) if each else None for each in (self.on_failure, self.lastly)]
        finally:
            _drawing.reset(token)
        datasets = [v for v in values.values() if isinstance(v, Dataset)] + drawing.datasets
        graph = Graph(
            self.name,
            {name: hints.as_json(value) for name, value in values.items()},
            tuple(drawing.nodes.values()),
            argument(returned, f"the result of pipeline {self.name}"),
            tuple(dict.fromkeys(map(str, datasets))),
            *endings,
        )
        order({node.id: node.needs for node in graph.nodes})
        return graph, drawing.steps

    def _values(self, params: Mapping[str, Json]) -> dict[str, object]:
        known = _signature_of(self.function).parameters
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
        self.steps: dict[str, AnyStep] = {}
        self.datasets: list[str] = []
        self._open: list[str] = []
        self._names: Counter[str] = Counter()
        self._guards: tuple[Guard, ...] = ()
        self._groups: tuple[str, ...] = ()
        self._after: tuple[str, ...] = ()

    def add(self, step: Step[P, R], values: Mapping[str, object], *, item: str = "", limit: int = 0) -> Handle:
        """Note a call of `step`, or one for each item of the argument `item`, and return the handle of the result."""
        made = self.name_for(step.name)
        _check_result(step)
        if limit < 0:
            raise Invalid(f"{limit} items at once", where=f"step {made}", hint="use 0 for as many as there is room for")
        arguments: dict[str, Argument] = {}
        for name, value in values.items():
            where = f"step {made}, parameter {name}"
            if name == item:
                arguments[name] = self._list(value, step.hints.get(name), where)
            else:
                arguments[name] = self._argument(value, step.hints.get(name), where)
        self.steps[made] = cast("AnyStep", step)
        node = Node(made, step.reference, step.options, arguments, Kind.EACH if item else Kind.CALL, item, limit)
        returned = step.hints.get("return")
        return self.put(node, types.GenericAlias(list, (returned,)) if item else returned)

    def put(self, node: Node, hint: hints.Hint) -> Handle:
        """Add a node under the conditions and in the group that are open, and return the handle of its result."""
        group = "/".join(self._groups)
        self.nodes[node.id] = replace(node, guards=self._guards, group=group, after=self._after)
        return Handle(Result(node.id), hint, node.id)

    def hold(self, handle: Handle) -> None:
        """Whatever is drawn from now on waits for this result, as the lines of the function do."""
        self._after = (handle.ms_label,)

    def name_for(self, name: str) -> str:
        """The id of the next step of this name."""
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}-{self._names[name]}"

    def ending(self, step: AnyStep) -> Node:
        """The node of a step that runs when the others are done; it is never taken from the cache."""
        made = self.name_for(step.name)
        wanted = _signature_of(step.function).parameters
        if sum(each.default is inspect.Parameter.empty for each in wanted.values()) > 1:
            hint = "let it take one argument: a dict with run, pipeline, state, step and error"
            raise Invalid(f"{step.name} takes {len(wanted)} arguments", where=f"step {step.name}", hint=hint)
        self.steps[made] = step
        arguments = {name: Literal(None) for name in [*wanted][:1]}
        return Node(made, step.reference, replace(step.options, cache=False), arguments)

    @contextmanager
    def under(self, guard: Guard) -> Iterator[None]:
        """What is drawn in the block stands under this condition too."""
        before = self._guards
        self._guards = (*before, guard)
        try:
            yield
        finally:
            self._guards = before

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        """What is drawn in the block belongs together, for people who look at it."""
        before = self._groups
        self._groups = (*before, name)
        try:
            yield
        finally:
            self._groups = before

    @contextmanager
    def inside(self, pipeline: Pipeline[P, R]) -> Iterator[None]:
        """Note that the function of `pipeline` runs.

        Raises:
            Invalid: It runs already: the pipeline calls itself.
        """
        if pipeline.name in self._open:
            way = " -> ".join((*self._open[self._open.index(pipeline.name) :], pipeline.name))
            what, hint = f"the pipelines need each other: {way}", "cut one of these arrows"
            raise Invalid(what, where=f"pipeline {pipeline.name}", hint=hint)
        self._open.append(pipeline.name)
        before = self._groups
        self._groups = (*before, self.name_for(pipeline.name)) if len(self._open) > 1 else before
        try:
            yield
        finally:
            self._open.pop()
            self._groups = before

    def _argument(self, value: object, wanted: hints.Hint, where: str) -> Argument:
        if isinstance(value, Handle):
            _check_flow(value, value.ms_hint, wanted, where)
        elif wanted is not None and not holds_handle(value):
            value = _typed(value, wanted, where)
            self.datasets += [value] if isinstance(value, Dataset) else []
        return argument(value, where)

    def _list(self, value: object, wanted: hints.Hint, where: str) -> Argument:
        if isinstance(value, Handle):
            given = hints.element_hint(value.ms_hint)
            if value.ms_hint is not None and given is None and isinstance(value.ms_hint, type):
                what = f"{value.ms_label} gives {hints.name_of(value.ms_hint)}, wanted is a list"
                raise Invalid(what, where=where, hint="let the step return a list, or call it without map")
            _check_flow(value, given, wanted, where)
            return value.ms_argument
        if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
            raise Invalid(f"a {type(value).__name__} to go through", where=where, hint="give a list")
        return argument([each if holds_handle(each) else _typed(each, wanted, where) for each in value], where)


def _check_flow(value: Handle, given: hints.Hint, wanted: hints.Hint, where: str) -> None:
    if wanted is not None and given is not None and not hints.may_flow(given, wanted):
        what = f"{value.ms_label} gives {hints.name_of(given)}, wanted is {hints.name_of(wanted)}"
        raise Invalid(what, where=where, hint="pass another result, or mend the hint that is wrong")


def _check_result(step: Step[P, R]) -> None:
    returned = step.hints.get("return")
    if hints.is_fleeting(returned):
        what = f"step {step.name} returns {hints.name_of(returned)}, which no codec stores"
        hint = "return JSON values, frames, arrays, models, bytes or a file's Path"
        raise Invalid(what, where=f"step {step.name}", hint=hint)


_drawing: ContextVar[Drawing | None] = ContextVar("drawing", default=None)


def drawing_now() -> Drawing | None:
    """The drawing that is under way in this thread."""
    return _drawing.get()


def _typed(value: object, hint: hints.Hint, where: str) -> object:
    if hint is None or holds_handle(value):
        return value
    try:
        return hints.as_hinted(value, hint)
    except Invalid as reason:
        raise Invalid(reason.what, where=where, hint=reason.hint) from None


def _bind(
    function: Callable[..., object], name: str, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    try:
        bound = _signature_of(function).bind(*args, **kwargs)
    except TypeError as reason:
        hint = f"it is {name}{_signature_of(function)}"
        raise Invalid(f"{name}: {reason}", where=name, hint=hint) from None
    bound.apply_defaults()
    return dict(bound.arguments)


@functools.lru_cache(maxsize=1024)
def _signature_of(function: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(function)


def _check_plain(function: Callable[..., object], what: str) -> None:
    where = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise Invalid(f"a {what} is made of a function with a name", where=where, hint=f"write @{what} above a def")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Invalid(f"a {what} is a plain function", where=where, hint="return a value; no async, no yield")
    for parameter in _signature_of(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Invalid(
                f"a {what} names its parameters, found *{parameter.name}", where=where, hint="pass a list or dict"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise Invalid(f"parameter {parameter.name} of a {what} has no name", where=where, hint="take out the slash")


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(**words: Unpack[StepWords]) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    function: Callable[P, R] | None = None, /, **words: Unpack[StepWords]
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step. The words are those of `StepOptions`, and `cpu`, `memory` and `gpu` for its resources.

    >>> @step(retries=2, memory="2GB")
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double(21)
    42
    """
    unknown = [name for name in words if name not in StepWords.__annotations__]
    if unknown:
        hint = (
            did_you_mean(unknown[0], StepWords.__annotations__) or f"known are {', '.join(StepWords.__annotations__)}"
        )
        raise Invalid(f"a step has no option {unknown[0]!r}", where="@step", hint=hint)
    options = StepOptions.of(words)
    if function is None:
        return lambda made: Step(made, options)
    return Step(function, options)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(
    *, name: str = "", on_failure: AnyStep | None = None, lastly: AnyStep | None = None
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    on_failure: AnyStep | None = None,
    lastly: AnyStep | None = None,
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a function that calls steps a pipeline.

    Args:
        function: The function.
        name: Its name; the function's unless another is given.
        on_failure: A step that runs when a step failed for good. It may take one argument, which gets a dict with
            `run`, `pipeline`, `state`, `step` and `error`.
        lastly: A step that runs at the end in any case, after `on_failure`; it may take the same argument.
    """
    if function is None:
        return lambda made: Pipeline(made, name, on_failure=on_failure, lastly=lastly)
    return Pipeline(function, name, on_failure=on_failure, lastly=lastly)
