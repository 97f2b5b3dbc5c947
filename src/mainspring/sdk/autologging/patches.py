"""Functions of other packages, replaced while autologging is on and put back afterwards."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from mainspring.sdk.autologging.fits import guarded

Around = Callable[..., Any]
"""Called with the original function, its positional arguments and its keyword arguments; returns what it returned."""

_undo: list[Callable[[], None]] = []
_waiting: dict[str, str] = {}
_lock = threading.RLock()


def when_loaded(name: str, watcher: str) -> None:
    """Call `watch()` of the module `watcher` once the package `name` is loaded; now, if it is."""
    if name in sys.modules:
        _watch(name, watcher)
        return
    _waiting[name] = watcher
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def replace(owner: Any, name: str, around: Around) -> None:
    """Put `around` around a function of a module or class."""
    original = owner.__dict__[name]
    setattr(owner, name, wrapped(original, around))
    on_undo(lambda: setattr(owner, name, original))


def wrapped(original: Callable[..., Any], around: Around) -> Callable[..., Any]:
    """`original` with `around` around it.

    It holds nothing but the two functions, so that a class with such a method can be sent to another process.
    """

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(original, args, kwargs)

    return call


def on_undo(work: Callable[[], object]) -> None:
    """Do this when autologging is switched off."""
    with _lock:
        _undo.append(lambda: (work(), None)[1])


def undo() -> None:
    """Put back what was replaced, the last first."""
    with _lock:
        works, _undo[:] = _undo[::-1], []
        _waiting.clear()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
    for work in works:
        work()


def _watch(name: str, watcher: str) -> None:
    with guarded(f"watch {name}"):
        import_module(watcher).watch()


class _Finder(importlib.abc.MetaPathFinder):
    """Sees a package that is waited for being imported, and lets the others find it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that others find, with a loader that tells when the package is there."""
        if fullname not in _waiting:
            return None
        watcher = _waiting.pop(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            _waiting[fullname] = watcher
            return None
        # some hooks, such as those of MLflow's client, give loaders of the kind before `exec_module`
        verb = "exec_module" if hasattr(spec.loader, "exec_module") else "load_module"
        inner = getattr(spec.loader, verb)

        def load(what: object) -> object:
            loaded = inner(what)
            _watch(fullname, watcher)
            return loaded

        setattr(spec.loader, verb, load)  # this loader is of this import alone
        return spec


_finder = _Finder()
