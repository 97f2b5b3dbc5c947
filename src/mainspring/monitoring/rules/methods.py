"""Methods that are found by their name: one file for each in a folder, so that adding one is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable

from mainspring.core.errors import NotFound, did_you_mean


def methods_in(folder: Iterable[str], *, besides: Collection[str]) -> tuple[str, ...]:
    """The names of the files of a package, by its `__path__`, but for some that are no methods."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(list(folder)) if found.name not in besides))


def load_method(package: str, name: str, known: Collection[str], *, compares: str) -> object:
    """The file of a method.

    Args:
        package: Name of the package of its folder.
        name: Its name.
        known: The names that there are.
        compares: What methods of this folder compare, for the message.
    Raises:
        NotFound: There is none of that name.
    """
    if name not in known:
        hint = did_you_mean(name, known) or f"use one of {', '.join(known)}"
        raise NotFound(f"no method {name!r} to compare {compares}", where="method", hint=hint)
    return importlib.import_module(f"{package}.{name}")
