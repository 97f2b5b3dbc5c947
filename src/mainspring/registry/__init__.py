"""The registry: models as immutable, signed packages, and the aliases that say which version is which.

Nouns: model, version, alias, stage, package, flavour, signature. Invariants: a version never changes, and its number is
given once; its digest covers every file of its package and is signed with the key of this instance; nothing of a
package is run when it is registered, and no pickle is loaded; aliases and stages keep their whole history; what a
deployment serves is not deleted.

`mainspring.registry.packages` loads a package without SQL or a web framework; model servers import only that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.registry.model import AliasChange, Field, Model, ModelVersion, Origin, Signature, StageChange
from mainspring.registry.rules import breaking_changes, check_usable, folder_name

if TYPE_CHECKING:
    from mainspring.registry.packages import Predictor
    from mainspring.registry.service import Registry

__all__ = [
    "AliasChange",
    "Field",
    "Model",
    "ModelVersion",
    "Origin",
    "Predictor",
    "Registry",
    "Signature",
    "StageChange",
    "breaking_changes",
    "check_usable",
    "folder_name",
]

_LAZY = {"Predictor": "mainspring.registry.packages", "Registry": "mainspring.registry.service"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
