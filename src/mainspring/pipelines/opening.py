"""Opens the house in a process that has none."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mainspring.core.errors import Unavailable
from mainspring.core.wiring import Wiring
from mainspring.storage.ports import Blobs

if TYPE_CHECKING:
    from mainspring.pipelines.desk import Desk


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


def small_house(desk: Desk) -> Wiring:
    """What steps of this process can reach when no house was given: blobs, and data and tracking where they are."""
    wiring = Wiring()
    wiring.add(Blobs, lambda _: desk.blobs)  # type: ignore[type-abstract]  # the wiring knows ports by their protocol
    if desk.data is not None:
        data = desk.data
        wiring.add(type(data), lambda _: data)
    if desk.tracking is not None:
        tracking = desk.tracking
        wiring.add(type(tracking), lambda _: tracking)
    return wiring
