"""Packages of our own, as folders that clients of MLflow list, download and load.

Such a folder has the address `mlflow-artifacts:/.packages/DIGEST`. It holds the files of the package and, where MLflow
knows the format of the model, an `MLmodel` and a `requirements.txt`, which are written when somebody asks for them. A
package that came from a folder of MLflow is shown as that folder. Nothing can be written there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from mainspring.core.clock import iso
from mainspring.core.errors import Forbidden, NotFound, did_you_mean
from mainspring.core.values import dataclass
from mainspring.registry import ModelVersion, Registry
from mainspring.registry.flavours import catboost, lightgbm, onnx, sklearn, xgboost
from mainspring.registry.folders import FOLDER as WRAPPED
from mainspring.registry.manifests import Manifest
from mainspring.registry.model import Field
from mainspring.registry.trusted import TRUSTED
from mainspring.tracking.model import PROXIED, Artifact, Entry

FOLDER = ".packages"
MLMODEL, REQUIREMENTS = "MLmodel", "requirements.txt"
_TYPES = {"bool": "boolean", "float32": "float", "float64": "double", "string": "string"} | {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("int64", "uint32", "uint64"), "long"),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """A package as a client sees it: files that are kept, and files that are written for it, by path."""

    kept: Mapping[str, Artifact]
    written: Mapping[str, bytes]

    def level(self, folder: str) -> list[Entry]:
        """What is in a folder, by name; nothing when there is no such folder."""
        sizes = {path: kept.size_bytes for path, kept in self.kept.items()}
        sizes |= {path: len(data) for path, data in self.written.items()}
        start, found = f"{folder}/" if folder else "", dict[str, Entry]()
        for path, size in sorted(sizes.items()):
            if path.startswith(start):
                name, slash, _ = path[len(start) :].partition("/")
                before = found[name].size_bytes if name in found else 0
                found[name] = Entry(name, bool(slash), before + size)
        return [found[name] for name in sorted(found)]

    def find(self, path: str) -> Artifact | bytes:
        """A file.

        Raises:
            NotFound: There is no such file.
        """
        found = self.kept.get(path) or self.written.get(path)
        if found is None:
            hint = did_you_mean(path, [*self.kept, *self.written])
            raise NotFound(f"the package has no file {path[:200]!r}", where=FOLDER, hint=hint)
        return found


def address_of(found: ModelVersion) -> str:
    """Where clients find the package of a version."""
    return f"{PROXIED}:/{FOLDER}/{found.digest}"


def is_packaged(path: str) -> bool:
    """Whether a path below the artifact root is that of a package, or of something in one."""
    return path == FOLDER or path.startswith(FOLDER + "/")


def refuse_write(path: str) -> None:
    """Refuse to change a package.

    Raises:
        Forbidden: The path is that of one, or of something in one.
    """
    if is_packaged(path):
        raise Forbidden("packages of versions never change", where=path[:200], hint="register another version")


def folder_at(registry: Registry, path: str) -> tuple[Folder, str]:
    """The package that a path names, and what the path names in it; "" for all of it.

    Raises:
        NotFound: No version of this project has a package of that digest.
    """
    digest, _, rest = path.removeprefix(FOLDER).removeprefix("/").partition("/")
    found = registry.by_digest(digest) if digest else None
    if found is None:
        raise NotFound(f"there is no package {digest[:64]!r}", where=FOLDER, hint="ask for its address once more")
    return folder_of(registry, found), rest


def folder_of(registry: Registry, found: ModelVersion) -> Folder:
    """The package of a version as a folder."""
    manifest = registry.manifest(found.model, found.number)
    files = {entry.path: entry for entry in registry.files(found.model, found.number)}
    wrapped = {path.removeprefix(WRAPPED): entry for path, entry in files.items() if path.startswith(WRAPPED)}
    if manifest is None or wrapped:
        return Folder({path: replace(entry, path=path) for path, entry in wrapped.items()}, {})
    return Folder(files, _described(found, manifest))


def _described(found: ModelVersion, manifest: Manifest) -> dict[str, bytes]:
    flavour = _flavour(manifest)
    if not flavour:
        return {}
    data, own = flavour
    loaded = {"python_function": _function(manifest, data)} if _takes_columns(manifest) else {}
    # JSON is YAML, which is what clients read it as
    described = {
        "flavors": {manifest.flavour: own, **loaded},
        "utc_time_created": iso(found.created_at)[:26].replace("T", " ").removesuffix("Z"),
        "model_size_bytes": found.size_bytes,
    }
    if manifest.signature is not None:
        described["signature"] = {"inputs": json.dumps([_column(entry) for entry in manifest.signature.inputs])}
    packages = sorted(f"{name}=={text}" for name, text in manifest.environment.items() if _is_package(name))
    return {MLMODEL: json.dumps(described, indent=1).encode(), REQUIREMENTS: "\n".join([*packages, ""]).encode()}


def _flavour(manifest: Manifest) -> tuple[str, dict[str, object]] | None:
    """The file of the model, and what MLflow's flavour of that name wants to know; None when MLflow has none."""
    known: dict[str, tuple[str, dict[str, object]]] = {
        sklearn.NAME: (
            sklearn.FILE,
            {
                "pickled_model": sklearn.FILE,
                "serialization_format": "skops",
                "skops_trusted_types": sorted(TRUSTED),
            },
        ),
        lightgbm.NAME: (lightgbm.FILE, {"data": lightgbm.FILE, "model_class": "lightgbm.basic.Booster"}),
        xgboost.NAME: (
            xgboost.FILE,
            {"data": xgboost.FILE, "model_class": "xgboost.core.Booster", "model_format": "ubj"},
        ),
        catboost.NAME: (
            catboost.FILE,
            {
                "data": catboost.FILE,
                "model_type": "CatBoostRegressor" if manifest.trait.task == "regression" else "CatBoostClassifier",
                "save_format": "cbm",
            },
        ),
        onnx.NAME: (onnx.FILE, {"data": onnx.FILE, "providers": ["CPUExecutionProvider"]}),
    }
    return known.get(manifest.flavour)


def _function(manifest: Manifest, data: str) -> dict[str, object]:
    """How the generic flavour loads it: through the flavour of its own."""
    key = "model_path" if manifest.flavour == sklearn.NAME else "data"
    return {
        "loader_module": f"mlflow.{manifest.flavour}",
        key: data,
        "python_version": manifest.environment.get("python", ""),
        **({"predict_fn": "predict"} if manifest.flavour == sklearn.NAME else {}),
    }


def _takes_columns(manifest: Manifest) -> bool:
    """Whether the model itself takes the columns of its signature, and no codes that we would make of them."""
    inputs = () if manifest.signature is None else manifest.signature.inputs
    return all(not entry.levels and (entry.dtype != "string" or manifest.trait.wants_frame) for entry in inputs)


def _column(entry: Field) -> dict[str, object]:
    return {"name": entry.name, "type": _TYPES[entry.dtype], "required": True}


def _is_package(name: str) -> bool:
    return name not in ("python", "platform")
