"""Packages of files that are kept here already, such as a model folder that a client of MLflow uploaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, Refused
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Trait, flavour, mlflow, names
from mainspring.registry.manifests import Manifest
from mainspring.registry.model import Example
from mainspring.registry.packages import Package
from mainspring.registry.rules import is_pickle

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


def model_in(manifest: Manifest, get: Callable[[str], bytes], *, where: str) -> bytes:
    """The file in which a folder of MLflow keeps its model as data of a known format. It is not read here.

    Raises:
        Refused: The files that its `MLmodel` names are pickles, or of no known format.
    """
    formats = manifest.notes.get("flavors")
    entries = formats.values() if isinstance(formats, Mapping) else ()
    named = {FOLDER + str(text) for entry in entries if isinstance(entry, Mapping) for text in entry.values()}
    for path in sorted(named & manifest.files.keys()):
        data = get(manifest.files[path][0])
        if is_pickle(path, data[:64]):
            continue
        if any(flavour(name).recognises(data) for name in names()):
            return data
    hint = "log it in a format that is data, such as mlflow.sklearn.log_model(..., serialization_format='skops')"
    raise Refused("none of its files is a model of a known format that is no pickle", where=where, hint=hint)
