"""What a pickle may name: one file for each framework, each entry a module and the exact names in it.

There are no patterns: a module has more in it than its models (`sklearn.utils` alone imports `os` and `joblib`), and a
dotted name reaches anything a module imports. Three uses are kept apart: one of `CLASSES` may be made without its
constructor and filled with state; one of `CALLS` may be called with arguments; one of `NAMES` may only be named.
"""

from __future__ import annotations

import pkgutil
from enum import IntFlag
from functools import cache
from importlib import import_module


class Use(IntFlag):
    """What may be done with a name beside referring to it."""

    NAME = 0
    NEW = 1
    CALL = 2


def use_of(module: str, name: str) -> Use | None:
    """What may be done with a name; None: it may not even be imported.

    >>> use_of("collections", "OrderedDict"), use_of("os", "system")
    (<Use.NEW|CALL: 3>, None)
    """
    return _table().get((module, name))


@cache
def _table() -> dict[tuple[str, str], Use]:
    table: dict[tuple[str, str], Use] = {}
    for entry in pkgutil.iter_modules(__path__):
        framework = import_module(f"{__name__}.{entry.name}")
        for kind, use in (("CLASSES", Use.NEW), ("CALLS", Use.CALL), ("NAMES", Use.NAME)):
            for module, names in getattr(framework, kind, {}).items():
                for name in names.split():
                    table[module, name] = table.get((module, name), Use.NAME) | use
    return table
