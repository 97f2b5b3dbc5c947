"""Type hints as a check: does a value fit, can a result be an argument, what does a text from a command line mean."""

from __future__ import annotations

import collections.abc
import json
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path

from mainspring.core.errors import Invalid
from mainspring.pipelines.model import Dataset, Json

Hint = object
"""A type hint, resolved."""
_TEXTS = (str, Dataset, Path)


def hints_of(function: Callable[..., object]) -> dict[str, Hint]:
    """The resolved hints of a function's parameters, and of its result under "return".

    A hint that cannot be resolved (imported for type checking only) is left out: it checks nothing.
    """
    try:
        return dict(typing.get_type_hints(function))
    except Exception:  # noqa: BLE001 - whatever one hint raises, the others still count
        found: dict[str, Hint] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        lonely = types.SimpleNamespace(__annotations__={name: hint})
        try:
            found |= typing.get_type_hints(lonely, getattr(function, "__globals__", {}))
        except Exception:  # noqa: BLE001, S112 - this one is the hint that cannot be resolved
            continue
    return found


def fits(value: object, hint: Hint) -> bool:
    """Whether `value` may be where `hint` is written. What cannot be checked fits.

    >>> fits([1, 2], list[int]), fits([1, "2"], list[int]), fits(1, float), fits(True, int)
    (True, False, True, False)
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is not None:
        return _fits_generic(value, origin, inner)
    if hint is None or hint is type(None):
        return value is None
    if isinstance(hint, typing.NewType):
        return fits(value, hint.__supertype__)
    if not isinstance(hint, type):
        return True
    if typing.is_typeddict(hint):
        return isinstance(value, dict)
    return _is_a(value, hint)


def _fits_generic(value: object, origin: Hint, inner: tuple[Hint, ...]) -> bool:
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is typing.Annotated:
        return fits(value, inner[0])
    if not isinstance(origin, type) or not _is_a(value, origin):
        return not isinstance(origin, type)
    if isinstance(value, tuple) and origin is tuple and inner and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    if isinstance(value, (list, tuple, set, frozenset)) and inner:
        return all(fits(each, inner[0]) for each in value)
    if isinstance(value, Mapping) and len(inner) == 2:
        return all(fits(key, inner[0]) and fits(each, inner[1]) for key, each in value.items())
    return True


def _is_a(value: object, kind: type) -> bool:
    if isinstance(value, bool) and kind in (int, float):
        return False
    if kind is float and isinstance(value, int):
        return True
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that was not made for checks
        return True


def may_flow(result: Hint, parameter: Hint) -> bool:
    """Whether a step's result may be another step's argument; only plain classes are compared.

    >>> may_flow(int, float), may_flow(dict, str), may_flow(list[int], str)
    (True, False, True)
    """
    if not isinstance(result, type) or not isinstance(parameter, type):
        return True
    if typing.get_origin(result) or typing.get_origin(parameter) or parameter is object:
        return True
    if getattr(parameter, "_is_protocol", False) or (result is int and parameter is float):
        return True
    return issubclass(result, parameter) or issubclass(parameter, result)


def from_text(value: object, hint: Hint) -> object:
    """The value that a text from a command line means where `hint` is written; other values stay as they are.

    >>> from_text("200", int), from_text("200", str), from_text("no", bool), from_text("[1]", list[int])
    (200, '200', False, [1])
    """
    options = _options(hint)
    if not isinstance(value, str) or not options or any(option in _TEXTS for option in options):
        return value
    if type(None) in options and value.lower() in ("", "none", "null"):
        return None
    if bool in options and value.lower() in ("yes", "on", "true", "no", "off", "false"):
        return value.lower() in ("yes", "on", "true")
    if any(typing.get_origin(option) is typing.Literal and value in typing.get_args(option) for option in options):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _options(hint: Hint) -> tuple[Hint, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return () if hint is None or hint is object else (hint,)


def as_hinted(value: Json, hint: Hint) -> object:
    """A plain value as the object that `hint` asks for: paths, dataset references and tuples; else the value itself.

    Raises:
        Invalid: The value does not fit the hint.
    """
    options = _options(hint)
    if isinstance(value, str) and str not in options:
        for kind in (Dataset, Path):
            if kind in options:
                return kind(value)
    if isinstance(value, list) and any((typing.get_origin(o) or o) is tuple for o in options):
        value = tuple(value)
    if not fits(value, hint):
        raise Invalid(f"{_shown(value)} is not {name_of(hint)}", hint=f"give {name_of(hint)}")
    return value


def as_json(value: object) -> Json:
    """The plain value that stands for an argument: paths become text, tuples lists. Anything else stays."""
    if isinstance(value, (Path, Dataset)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    return {key: as_json(each) for key, each in value.items()} if isinstance(value, dict) else value


def name_of(hint: Hint) -> str:
    """A hint as people write it.

    >>> name_of(int), name_of(list[int])
    ('int', 'list[int]')
    """
    if isinstance(hint, type) and not typing.get_origin(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")


def item_hints(hint: Hint) -> tuple[Hint, ...] | None:
    """The hints of the items of a tuple of known length, None for anything else."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and inner and inner[-1] is not Ellipsis:
        return inner
    return None


def element_hint(hint: Hint) -> Hint:
    """The hint of the items of a list, None when it is not said.

    >>> element_hint(list[int])
    <class 'int'>
    """
    inner = typing.get_args(hint)
    return inner[0] if typing.get_origin(hint) in (list, collections.abc.Sequence) and inner else None


_FLEETING = (
    collections.abc.Callable,
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.Coroutine,
    types.FunctionType,
    types.ModuleType,
    typing.IO,
)


def is_fleeting(hint: Hint) -> bool:
    """Whether values of this type live only in the process that made them: functions, iterators, open files.

    >>> is_fleeting(typing.Callable[[int], int]), is_fleeting(list[int])
    (True, False)
    """
    kind = typing.get_origin(hint) or hint
    return kind in _FLEETING


def settled(value: object, hint: Hint) -> object:
    """A number of another library as Python's own, where `hint` asks for one; other values stay as they are.

    >>> settled(fractions.Fraction(1, 2), float)
    0.5
    """
    if hint is int and not isinstance(value, (bool, int)) and isinstance(value, numbers.Integral):
        return int(value)
    if hint is float and not isinstance(value, (bool, int, float)) and isinstance(value, numbers.Real):
        return float(value)
    if hint is float and type(value) is not float and isinstance(value, float):
        return float(value)
    return value


def is_dataset(hint: Hint) -> bool:
    """Whether a parameter names a dataset."""
    return Dataset in _options(hint)


def is_path(hint: Hint) -> bool:
    """Whether a parameter names a file or folder."""
    return any(isinstance(option, type) and issubclass(option, Path) for option in _options(hint))


def is_sequence(value: object) -> bool:
    """Whether a value is a list or tuple, which arguments may be made of."""
    return isinstance(value, collections.abc.Sequence) and isinstance(value, (list, tuple))


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
