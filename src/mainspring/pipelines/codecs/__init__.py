"""How values are stored between steps: one file per kind of value, found by looking in this folder.

A codec file has `NAME`, `takes(value)`, `write(value, path)` and `read(path)`. Nothing is ever pickled. To add a kind
of value, add a file here; nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from mainspring.core.errors import Invalid, NotFound
from mainspring.pipelines.model import GROUPS, Artifact
from mainspring.storage.ports import Blobs

__all__ = ["Codec", "Shelf", "codecs"]


class Codec(Protocol):
    """Stores one kind of value in one file. `takes` imports nothing heavy: it looks at the name of the type."""

    NAME: str

    def takes(self, value: object) -> bool:
        """Whether this codec is for `value`."""
        ...

    def write(self, value: object, path: Path) -> None:
        """Write `value` to the new file `path`; equal values give equal bytes wherever that is possible."""
        ...

    def read(self, path: Path) -> object:
        """The value in the file."""
        ...


_SMALL_BYTES = 1 << 20
"""Up to here a value goes through memory, which spares files on their way."""


@cache
def codecs() -> dict[str, Codec]:
    """Every codec by its name."""
    found = [importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    return {module.NAME: cast(Codec, module) for module in found}


class Shelf:
    """Puts values into blobs and takes them back.

    Args:
        blobs: Where the bytes are kept.
        folder: Scratch space for files on their way.
        look: Called with each file before it is stored; what it raises keeps the value out.
    """

    def __init__(self, blobs: Blobs, folder: Path, look: Callable[[Path], None] | None = None) -> None:
        self._blobs = blobs
        self._folder = folder
        self._look = look
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, value: object, where: str) -> Artifact:
        """Store a value; tuples, lists and dicts that no codec takes whole are stored item by item.

        Raises:
            Invalid: No codec takes the value.
        """
        for name, codec in codecs().items():
            if codec.takes(value):
                return self._write(name, codec, value)
        if isinstance(value, (tuple, list, dict)) and type(value) in (tuple, list, dict):
            items = tuple((key, self.put(each, f"{where}[{key}]")) for key, each in _items(value, where))
            return Artifact.group(type(value).__name__, items)
        raise Invalid(
            f"no codec stores a {type(value).__module__}.{type(value).__qualname__}",
            where=where,
            hint=f"return JSON values, bytes, a file's Path, or what one of these takes: {', '.join(codecs())}",
        )

    def get(self, artifact: Artifact) -> object:
        """A fresh copy of a stored value, verified by its digest.

        Raises:
            NotFound: Its codec or its bytes are not there.
            Corrupt: Its bytes are not what was stored.
        """
        if artifact.codec in GROUPS:
            entries = {key: self.get(item) for key, item in artifact.items}
            if artifact.codec == "dict":
                return entries
            return tuple(entries.values()) if artifact.codec == "tuple" else list(entries.values())
        codec = codecs().get(artifact.codec)
        if codec is None:
            raise NotFound(f"no codec named {artifact.codec!r}", where=f"artifact {artifact.digest[:12]}")
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        path = folder / "value"
        if artifact.size_bytes <= _SMALL_BYTES:
            path.write_bytes(self._blobs.get(artifact.digest))  # a scratch copy need not survive a power cut
        else:
            self._blobs.fetch(artifact.digest, path)
        return codec.read(path)

    def _write(self, name: str, codec: Codec, value: object) -> Artifact:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "value"
            codec.write(value, path)
            if self._look is not None:
                self._look(path)
            size = path.stat().st_size
            digest = self._blobs.put(path.read_bytes()) if size <= _SMALL_BYTES else self._blobs.put_file(path)
            return Artifact(name, digest, size)


def _items(value: tuple[object, ...] | list[object] | dict[object, object], where: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield from ((str(number), each) for number, each in enumerate(value))
        return
    for key, each in value.items():
        if not isinstance(key, str):
            raise Invalid(f"a dict with the key {key!r}", where=where, hint="use text for the keys")
        yield key, each
