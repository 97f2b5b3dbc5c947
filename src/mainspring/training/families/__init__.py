"""Families of models, one file each, found by name.

Adding a family is adding a file here that has what `Family` asks for, and nothing else.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from mainspring.core.errors import Invalid, did_you_mean

Params = Mapping[str, Any]
"""What an estimator is made with; JSON."""


class Family(Protocol):
    """One family of models. Estimators are of scikit-learn or built like them, and a package can keep them."""

    NAME: str
    TITLE: str
    ORDER: int
    SPREAD: bool
    SCALED: bool

    def is_there(self) -> bool:
        """Whether the package it needs is installed."""
        ...

    def configurations(self, task: str) -> Sequence[Params]:
        """What to try, the usual one first; `task` is `binary`, `multiclass` or `regression`."""
        ...

    def estimator(self, task: str, params: Params, seed: int) -> object:
        """An estimator that uses one thread."""
        ...


def names() -> list[str]:
    """Names of all families, in the order they are tried: cheap ones first."""
    found = [entry.name for entry in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda name: (family(name).ORDER, name))


def family(name: str) -> Family:
    """A family by its name.

    Raises:
        Invalid: There is none of that name.
    """
    known = [entry.name for entry in pkgutil.iter_modules(__path__)]
    if name not in known:
        hint = did_you_mean(name, known) or "known are " + ", ".join(sorted(known))
        raise Invalid(f"no family {name!r}", where="families", hint=hint)
    return cast(Family, import_module(f"{__name__}.{name}"))
