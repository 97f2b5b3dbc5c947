"""What stands for results while a pipeline is drawn: handles can be passed on, taken apart and compared, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid, MainspringError
from mainspring.pipelines import hints
from mainspring.pipelines.model import Argument, Choice, Condition, Items, Literal, Result


class Handle:
    """Stands for the result of a step while a pipeline is drawn.

    It can be passed to a step, taken apart with `[...]`, and compared (`score > 0.8`) for `flow.when`.
    """

    __slots__ = ("ms_argument", "ms_hint", "ms_label")
    __hash__ = object.__hash__

    def __init__(self, argument: Argument, hint: hints.Hint, label: str) -> None:
        self.ms_argument = argument
        self.ms_hint = hint
        self.ms_label = label

    def __getitem__(self, part: str | int) -> Handle:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            self._refuse(f"[{part!r}]")
        inner = hints.item_hints(self.ms_hint)
        known = isinstance(part, int) and inner is not None and 0 <= part < len(inner)
        return Handle(_part(self.ms_argument, part), inner[int(part)] if known and inner else None, self.ms_label)

    def __iter__(self) -> Iterator[Handle]:
        inner = hints.item_hints(self.ms_hint)
        count = len(inner) if inner is not None else _length(self.ms_argument)
        if count is None:
            self._refuse("iteration")
        return iter([self[number] for number in range(count)])

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse(f".{name}")

    def __repr__(self) -> str:
        return f"<result of {self.ms_label}>"

    def _refuse(self, use: str) -> NoReturn:
        raise Invalid(
            f"{use} on the result of {self.ms_label}, which is not there yet: the pipeline is only being drawn",
            where=f"step {self.ms_label}",
            hint="do it inside a step; to unpack a tuple, annotate the step's result as tuple[A, B]; "
            "to decide by it, use flow.when",
        )


class Question:
    """A comparison of results, for `flow.when` and `flow.repeat`."""

    __slots__ = ("condition",)

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __bool__(self) -> NoReturn:
        raise Invalid(
            "a comparison of results that are not there yet: the pipeline is only being drawn",
            where="pipeline",
            hint="decide with flow.when(score > 0.8, lambda: ...), or inside a step",
        )


def question_of(value: object, where: str) -> Condition | bool:
    """The condition that a value stands for; a plain bool when it is known while the pipeline is drawn.

    Raises:
        Invalid: It is neither a comparison, nor the result of a step, nor a bool.
    """
    if isinstance(value, Question):
        return value.condition
    if isinstance(value, Handle):
        return Condition("==", value.ms_argument, Literal(True))
    if isinstance(value, bool):
        return value
    hint = "give a comparison such as score > 0.8, or the bool that a step returns"
    raise Invalid(f"a {type(value).__name__} is no condition", where=where, hint=hint)


def argument(value: object, where: str) -> Argument:
    """A value in a pipeline function as an argument: known, or from other steps.

    Raises:
        Invalid: It is neither plain JSON nor made of results of steps.
    """
    if isinstance(value, Handle):
        return value.ms_argument
    if isinstance(value, (list, tuple)) and holds_handle(value):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return Items(kind, tuple((str(n), argument(each, where)) for n, each in enumerate(value)))
    if isinstance(value, dict) and holds_handle(value):
        return Items("dict", tuple((str(key), argument(each, where)) for key, each in value.items()))
    plain = hints.as_json(value)
    try:
        canonical_json(plain)
    except MainspringError:
        hint = "make it in a step and pass the step's result, or pass plain JSON values"
        raise Invalid(f"a {type(value).__name__} cannot be written into a graph", where=where, hint=hint) from None
    return Literal(plain)


def holds_handle(value: object) -> bool:
    """Whether a value is, or has in it, the result of a step."""
    if isinstance(value, (list, tuple)):
        return any(map(holds_handle, value))
    if isinstance(value, dict):
        return any(map(holds_handle, value.values()))
    return isinstance(value, Handle)


def _part(whole: Argument, part: str | int) -> Argument:
    if isinstance(whole, Result):
        return Result(whole.step, (*whole.path, part))
    if isinstance(whole, Choice):
        return Choice(whole.condition, _part(whole.then, part), _part(whole.otherwise, part))
    if isinstance(whole, Items):
        found = dict(whole.entries).get(str(part))
        return Literal(None) if found is None else found
    try:
        return Literal(whole.value[part])  # type: ignore[index]
    except (TypeError, KeyError, IndexError):
        return Literal(None)  # the branch that gives nothing


def _length(argument: Argument) -> int | None:
    if isinstance(argument, Items):
        return len(argument.entries)
    return _length(argument.then) if isinstance(argument, Choice) else None


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Handle, *_others: object) -> NoReturn:
        self._refuse(name)

    return refuse


def _comparing(sign: str) -> Callable[[Handle, object], Question]:
    def compare(self: Handle, other: object) -> Question:
        return Question(Condition(sign, self.ms_argument, argument(other, f"step {self.ms_label}")))

    return compare


_REFUSED = ("bool", "len", "int", "float", "str", "format", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv")
for _name in (*_REFUSED, "call", "contains"):
    setattr(Handle, f"__{_name}__", _refusing(f"{_name}()"))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}.items():
    setattr(Handle, f"__{_name}__", _comparing(_sign))
