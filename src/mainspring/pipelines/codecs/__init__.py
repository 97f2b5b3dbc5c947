"""How values are stored between steps: one file per kind of value, found by looking in this folder.

A codec file has `NAME`, `takes(value)`, and either `pack(value)` and `unpack(data)`, or `write(value, path)` and
`read(path)` where a library wants a file. Nothing is ever pickled. To add a kind of value, add a file here; nothing
else changes.
"""

from __future__ import annotations

import importlib
import mmap
import pkgutil
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from mainspring.core.canonical import digest as digest_of
from mainspring.core.errors import Corrupt, Invalid, NotFound
from mainspring.pipelines.model import GROUPS, Artifact
from mainspring.storage.ports import Blobs

__all__ = ["ROOM_BYTES", "FileCodec", "PlainCodec", "Shelf", "codecs"]


class PlainCodec(Protocol):
    """Stores one kind of value as bytes. `takes` imports nothing heavy: it looks at the name of the type."""

    NAME: str

    def takes(self, value: object) -> bool:
        """Whether this codec is for `value`."""
        ...

    def pack(self, value: object) -> bytes:
        """The bytes of `value`; equal values give equal bytes."""
        ...

    def unpack(self, data: bytes) -> object:
        """The value of the bytes."""
        ...


class FileCodec(Protocol):
    """Stores one kind of value in one file, for libraries that want one. `takes` is as for `PlainCodec`."""

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


ROOM_BYTES = 4096
"""Up to here the text of a result stands in the row of its step: one transaction stores both, and no file is synced."""
_SMALL_BYTES = 1 << 20
"""Up to here a value goes through memory, which spares files on their way."""


@cache
def codecs() -> dict[str, PlainCodec | FileCodec]:
    """Every codec by its name."""
    found = [importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    return {module.NAME: cast("PlainCodec | FileCodec", module) for module in found}


class Shelf:
    """Stores values, small texts in the artifacts themselves and others as blobs, and gives them back.

    Args:
        blobs: Where the bytes are kept.
        folder: Scratch space for files on their way; made when it is needed.
        look: Called with the bytes of each value before it is stored; what it raises keeps the value out.
    """

    def __init__(self, blobs: Blobs, folder: Path, look: Callable[[bytes | mmap.mmap], None] | None = None) -> None:
        self._blobs = blobs
        self._folder = folder
        self._look = look

    def put(self, value: object, where: str, *, room: int = ROOM_BYTES) -> Artifact:
        """Store a value; tuples, lists and dicts that no codec takes whole are stored item by item.

        Args:
            value: The value.
            where: What it is, for errors.
            room: How many bytes of text may stand in the artifact; items share it.
        Raises:
            Invalid: No codec takes the value.
        """
        for name, codec in codecs().items():
            if codec.takes(value):
                return self._keep(name, codec, value, room)
        if isinstance(value, (tuple, list, dict)) and type(value) in (tuple, list, dict):
            each_room = room // max(1, len(value))
            pairs = _items(value, where)
            items = tuple((key, self.put(each, f"{where}[{key}]", room=each_room)) for key, each in pairs)
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
        if hasattr(codec, "unpack"):
            return codec.unpack(self._bytes(artifact))
        self._folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=self._folder)) / "value"
        if artifact.text is not None or artifact.size_bytes <= _SMALL_BYTES:
            path.write_bytes(self._bytes(artifact))  # a scratch copy need not survive a power cut
        else:
            self._blobs.fetch(artifact.digest, path)
        return codec.read(path)

    def clear(self) -> None:
        """Remove the scratch space; files that were read from it are gone."""
        if self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _bytes(self, artifact: Artifact) -> bytes:
        if artifact.text is None:
            return self._blobs.get(artifact.digest)
        data = artifact.text.encode()
        if digest_of(data) != artifact.digest:
            what = f"the value {artifact.digest[:12]} was changed after it was written"
            raise Corrupt(what, where=artifact.digest, hint="restore the database from a backup")
        return data

    def _keep(self, name: str, codec: PlainCodec | FileCodec, value: object, room: int) -> Artifact:
        if hasattr(codec, "pack"):
            return self._keep_bytes(name, codec.pack(value), room)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "value"
            codec.write(value, path)
            size = path.stat().st_size
            if size <= _SMALL_BYTES:
                return self._keep_bytes(name, path.read_bytes(), room)
            if self._look is not None:
                with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    self._look(data)
            return Artifact(name, self._blobs.put_file(path), size)

    def _keep_bytes(self, name: str, data: bytes, room: int) -> Artifact:
        if self._look is not None:
            self._look(data)
        text = _text(data) if len(data) <= room else None
        digest = self._blobs.put(data) if text is None else digest_of(data)
        return Artifact(name, digest, len(data), text=text)


def _text(data: bytes) -> str | None:
    """Bytes as text, if that is what they are: UTF-8 without NUL, which no database keeps in a text."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _items(value: tuple[object, ...] | list[object] | dict[object, object], where: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield from ((str(number), each) for number, each in enumerate(value))
        return
    for key, each in value.items():
        if not isinstance(key, str):
            raise Invalid(f"a dict with the key {key!r}", where=where, hint="use text for the keys")
        yield key, each
