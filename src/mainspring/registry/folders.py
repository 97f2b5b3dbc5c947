"""Packages of files that are kept here already, such as a model folder that a client of MLflow uploaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid
from mainspring.registry.flavours import Trait, mlflow
from mainspring.registry.model import Example
from mainspring.registry.packages import Manifest, Package

if TYPE_CHECKING:
    from mainspring.tracking import Artifact

FOLDER = "model/"
"""Where the files lie in a package, so that none can take the place of our manifest."""
_DESCRIPTION = "MLmodel"


@dataclass(frozen=True, slots=True)
class _Shelf:
    files: dict[str, tuple[str, int]]
    get: Callable[[str], bytes]

    def read(self, path: str) -> bytes | None:
        digest, size = self.files.get(path, ("", 0))
        return self.get(digest) if digest and size <= mlflow.MOST else None


def package_of(files: Sequence[Artifact], get: Callable[[str], bytes]) -> Package:
    """A package that lists files with their digests, without a copy of their bytes.

    Args:
        files: All files of the folder, with their paths below it.
        get: Gives the bytes of a digest; asked for the small files that describe the model.
    Returns: A package that says in its notes what is wrong with an `MLmodel` that can't be read.
    """
    shelf = _Shelf({entry.path: (entry.digest, entry.size_bytes) for entry in files}, get)
    listed = {FOLDER + path: entry for path, entry in shelf.files.items()}
    text = shelf.read(_DESCRIPTION)
    if text is None:
        return Package(Manifest("", Trait(task=""), None, {}, listed), {}, Example({}))
    try:
        found, example = mlflow.folder_of(text, shelf.read)
    except Invalid as reason:
        return Package(Manifest("", Trait(task=""), None, {}, listed, {"problem": reason.what}), {}, Example({}))
    manifest = Manifest(mlflow.NAME, Trait(task=""), found.signature, found.environment, listed, found.notes)
    return Package(manifest, {}, example)
