"""The house of the processes that do the steps: they need no database."""

from pathlib import Path

from mainspring.core.wiring import Wiring
from mainspring.storage.files import FileBlobs
from mainspring.storage.ports import Blobs


def open_house() -> Wiring:
    """Blobs, and nothing else."""
    wiring = Wiring()
    wiring.add(Blobs, lambda _: FileBlobs(Path(__file__).parent / "blobs"))  # type: ignore[type-abstract]
    return wiring
