"""Modules that are loaded when something of them is first used: for what costs more to load than most commands take."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import cast


def later(name: str) -> ModuleType:
    """A module that is loaded by the first look at an attribute of it. Safe to share between threads.

    The standard library's `LazyLoader` puts such a module where `import` finds it, which other threads then find half
    loaded; this one stands beside it.

    Args:
        name: Its full name.

    >>> later("colorsys").rgb_to_hsv(1.0, 0.0, 0.0)
    (0.0, 1.0, 1.0)
    """
    return cast(ModuleType, _Later(name))


class _Later:
    """No module itself: what is set on it is set on the module that it stands for, whose `__dict__` is its own."""

    __slots__ = ("_found", "_name")
    _name: str
    _found: ModuleType | None

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_found", None)

    def __repr__(self) -> str:
        return f"<later {self._name!r}>"

    def __getattr__(self, name: str) -> object:
        found = self._found
        if found is None:
            found = import_module(self._name)
            object.__setattr__(self, "_found", found)
        return getattr(found, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(import_module(self._name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(import_module(self._name), name)
