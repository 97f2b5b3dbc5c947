"""Opens the house in a process that has none."""

from __future__ import annotations

import importlib

from mainspring.core.errors import Unavailable
from mainspring.core.wiring import Wiring


def open_house(opener: str) -> Wiring:
    """The house that "module:function" opens.

    Raises:
        Unavailable: None was named.
    """
    module, _, name = opener.partition(":")
    if not module or not name:
        raise Unavailable("no house to open in the child process", where="pipelines", hint='set it: "module:function"')
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    return wiring
