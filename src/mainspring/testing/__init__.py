"""Contract suites for anyone who writes a backend: subclass a suite, give it the fixtures it names, and run pytest.

One suite for each port of storage; a backend that passes its suite is a backend.
Needs pytest and hypothesis, which are not dependencies of Mainspring itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.testing.blobs import BlobsContract as BlobsContract
    from mainspring.testing.blobs import BlobTrashContract as BlobTrashContract
    from mainspring.testing.delta import DeltaContract as DeltaContract
    from mainspring.testing.delta import DeltaUpkeepContract as DeltaUpkeepContract
    from mainspring.testing.journal import JournalContract as JournalContract
    from mainspring.testing.queue import QueueContract as QueueContract
    from mainspring.testing.tables import TablesContract as TablesContract

_HOMES = {
    "BlobTrashContract": "blobs",
    "BlobsContract": "blobs",
    "DeltaContract": "delta",
    "DeltaUpkeepContract": "delta",
    "JournalContract": "journal",
    "QueueContract": "queue",
    "TablesContract": "tables",
}
__all__ = [
    "BlobTrashContract",
    "BlobsContract",
    "DeltaContract",
    "DeltaUpkeepContract",
    "JournalContract",
    "QueueContract",
    "TablesContract",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
