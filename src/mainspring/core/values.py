"""Values: frozen dataclasses as the standard library makes them, in a third of the time (docs/decisions/0010).

Before Python 3.13 `dataclasses` compiles up to seven functions for every frozen class, and of the 650 classes that a
server loads this was a third of the time until it answered. Here a class gets one function of its own, `__init__`; the
other methods are the same for all and look at the class's fields. Fields, `replace`, `asdict`, matching, pickling and
the words of errors are those of the standard library, and so are the types, as every checker sees them.
"""

from __future__ import annotations

import reprlib
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from dataclasses import dataclass as standard
from operator import attrgetter
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False, eq=True, order=False):
        """The decorator `dataclasses.dataclass`, with the options that values of the house have.

        Args:
            frozen: Whether fields cannot be set once the value is made. A class that is not frozen, or that has an
                order, is made by the standard library itself.
            slots: Whether the fields are slots.
            kw_only: Whether fields are given by name only.
            eq: Whether values of equal fields are equal, with a hash to match.
            order: Whether values are ordered as the tuples of their fields are.

        Raises:
            TypeError: What the standard library refuses too, such as a field without a default after one with, and
                what values have no use for: `InitVar` and `field(hash=...)`.

        >>> @dataclass(frozen=True, slots=True)
        ... class Point:
        ...     x: int
        ...     y: int = 0
        >>> Point(1) == Point(1, 0)
        True
        >>> Point(1)
        Point(x=1, y=0)
        """

        def make(cls):
            if order or not frozen:
                return standard(cls, frozen=frozen, slots=slots, kw_only=kw_only, eq=eq, order=order)
            return _frozen(cls, slots=slots, kw_only=kw_only, eq=eq)

        return make if cls is None else make(cls)


class _FromFactory:
    """What a parameter of `__init__` has by default when a factory makes the value of its field."""

    def __repr__(self) -> str:
        return "<factory>"


_FROM_FACTORY = _FromFactory()
_MAKING = threading.Lock()


def _frozen(cls: type, *, slots: bool, kw_only: bool, eq: bool) -> type:
    own, doc = dict(vars(cls)), cls.__doc__
    # Without a docstring the standard library writes one of a signature it looks for: as dear as all it does besides.
    cls.__doc__ = doc or cls.__name__
    made = _with_fields(cls, slots=slots, kw_only=kw_only, eq=eq)
    made.__doc__ = doc
    known = fields(made)
    _check(made, known)
    methods: dict[str, object] = {"__repr__": _repr}
    if eq:
        made.__dataclass_values__ = staticmethod(_values_of([field.name for field in known if field.compare]))
        methods |= {"__eq__": _eq, "__hash__": _hash}
    if slots:
        methods |= {"__getstate__": _get_state, "__setstate__": _set_state}
    for name, method in methods.items():
        if own.get(name) is None:  # a class with `__eq__` and nothing else has the hash None, which is not its own
            setattr(made, name, method)
    made.__setattr__, made.__delattr__ = _refuse_set, _refuse_delete
    if "__init__" not in own:
        made.__init__ = _init(made, known)
    return made  # type: ignore[no-any-return]


def _with_fields(cls: type, *, slots: bool, kw_only: bool, eq: bool) -> Any:
    """The class with its fields and without methods, which says of itself what it will be."""
    bases = [vars(base)["__dataclass_params__"] for base in cls.__mro__[1:] if "__dataclass_params__" in vars(base)]
    if not all(base.frozen for base in bases):
        raise TypeError("cannot inherit frozen dataclass from a non-frozen one")
    with _MAKING:
        try:
            for base in bases:  # the standard library refuses a class that is not frozen under one that is
                base.frozen = False
            made: Any = standard(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
        finally:
            for base in bases:
                base.frozen = True
    params = made.__dataclass_params__
    params.init = params.repr = params.frozen = True
    params.eq = eq
    return made


def _check(made: Any, known: Iterable[Field[object]]) -> None:
    names = {field.name for field in known}
    strange = [name for name in made.__dataclass_fields__ if name not in names]
    strange = [name for name in strange if "InitVar" in str(made.__dataclass_fields__[name].type)]
    strange += [field.name for field in known if field.hash is not None]
    if strange:
        raise TypeError(f"{made.__qualname__}.{strange[0]}: a value has neither InitVar nor field(hash=...)")


def _init(made: Any, known: Iterable[Field[Any]]) -> Callable[..., None]:
    """`__init__` of a class, compiled: it is called often enough to be a function of its own."""
    outer: dict[str, object] = {"_factory": _FROM_FACTORY, "_set": object.__setattr__}
    sets: list[str] = []
    placed: list[tuple[str, str]] = []
    named: list[tuple[str, str]] = []
    for field in known:
        name = value = field.name
        has_default = field.default is not MISSING
        if has_default or field.default_factory is not MISSING:
            outer[f"_of_{name}"] = field.default if has_default else field.default_factory
            default = f"_of_{name}" if has_default else "_factory"
            value = f"_of_{name}" if has_default else f"_of_{name}()"
        elif field.init:
            default = ""
        else:
            continue  # `__post_init__` sets it
        if field.init:
            (named if field.kw_only else placed).append((name, default))
            value = name if default != "_factory" else f"{value} if {name} is _factory else {name}"
        slot = getattr(made, name, None)
        if isinstance(slot, MemberDescriptorType):  # of a class with slots: sooner than by name
            outer[f"_set_{name}"] = slot.__set__
            sets.append(f"_set_{name}(_self, {value})")
        else:
            sets.append(f"_set(_self, {name!r}, {value})")
    if hasattr(made, "__post_init__"):
        sets.append("_self.__post_init__()")
    _check_order(placed)
    given = ", ".join(["_self", *_parameters(placed), *(["*"] if named else []), *_parameters(named)])
    body = "\n  ".join(sets or ["pass"])
    source = f"def outer({', '.join(outer)}):\n def __init__({given}):\n  {body}\n return __init__"
    made_by: dict[str, Any] = {}
    exec(source, vars(sys.modules[made.__module__]), made_by)  # noqa: S102 - the source is made of names of fields
    init: Any = made_by["outer"](**outer)
    init.__qualname__ = f"{made.__qualname__}.__init__"
    init.__annotations__ = {field.name: field.type for field in known if field.init} | {"return": None}
    return init  # type: ignore[no-any-return]


def _parameters(of: list[tuple[str, str]]) -> list[str]:
    return [f"{name}={default}" if default else name for name, default in of]


def _check_order(placed: list[tuple[str, str]]) -> None:
    with_default = ""
    for name, default in placed:
        if with_default and not default:
            raise TypeError(f"non-default argument {name!r} follows default argument {with_default!r}")
        with_default = default and name


def _values_of(names: list[str]) -> Callable[[object], Any]:
    """What a value is compared by: a tuple of its fields, in which the very same object is equal to itself."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = self.__dataclass_values__
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(self.__dataclass_values__(self))


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[object]:
    return [getattr(self, field.name) for field in fields(self)]


def _set_state(self: Any, state: list[object]) -> None:
    for field, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
