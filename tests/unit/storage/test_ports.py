"""A port stays small: what a backend can do beyond it is a second protocol."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from mainspring.engines import port
from mainspring.storage import ports


def protocols(module: ModuleType) -> list[type]:
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    return [kind for kind in found if getattr(kind, "_is_protocol", False)]


@pytest.mark.parametrize("kind", protocols(ports) + protocols(port), ids=lambda kind: kind.__name__)
def test_a_port_has_at_most_eight_methods(kind: type) -> None:
    methods = [name for name, value in vars(kind).items() if not name.startswith("_") and callable(value)]
    properties = [name for name, value in vars(kind).items() if isinstance(value, property)]
    assert 0 < len(methods) + len(properties) <= 8
