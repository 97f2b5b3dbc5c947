"""The types of Kubernetes: classes that were made of its OpenAPI schema, and a check that knows nothing beside them.

`lightkube-models` carries them; the client that it belongs to would bring the two names that they are made with.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import types
import typing
from typing import Any


def models(name: str) -> Any:
    """A module of classes, such as `batch_v1`."""
    for missing in ("lightkube.core", "lightkube.core.schema"):
        sys.modules.setdefault(missing, types.ModuleType(missing))
    plain: Any = sys.modules["lightkube.core.schema"]
    plain.DictMixin, plain.dataclass, plain.field = object, dataclasses.dataclass, dataclasses.field
    return importlib.import_module(f"lightkube.models.{name}")


def problems(value: Any, kind: Any, where: str = "") -> list[str]:
    """What is not as the classes say; a part they do not have is a problem, and so is one that is missing."""
    if typing.get_origin(kind) is typing.Union:
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
    if typing.get_origin(kind) is list:
        if not isinstance(value, list):
            return [f"{where} is no list"]
        inner = typing.get_args(kind)[0]
        return [text for n, each in enumerate(value) for text in problems(each, inner, f"{where}.{n}")]
    if not dataclasses.is_dataclass(kind):
        plain = typing.get_origin(kind) or kind
        fits = plain is Any or (isinstance(value, plain) and (plain is bool or not isinstance(value, bool)))
        return [] if fits else [f"{where} is no {plain}"]
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    parts = {part.metadata.get("json") or part.name: part for part in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    found = [f"{where}.{name} is unknown" for name in value if name not in parts]
    for name, part in parts.items():
        if name in value:
            found += problems(value[name], hints[part.name], f"{where}.{name}")
        elif part.default is dataclasses.MISSING and part.default_factory is dataclasses.MISSING:
            found.append(f"{where}.{name} is missing")
    return found
