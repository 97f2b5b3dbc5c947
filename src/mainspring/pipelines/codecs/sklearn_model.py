"""scikit-learn estimators, and LightGBM's with their interface, by skops.

skops names its entries by memory addresses and stamps them with the time; both are replaced, so that equal models have
equal bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from mainspring.core.errors import Invalid

NAME = "sklearn"
_TRUSTED = ("sklearn.", "lightgbm.", "numpy.", "scipy.", "collections.", "builtins.")
_SCHEMA = "schema.json"


def takes(value: object) -> bool:
    """Whether it is an estimator of scikit-learn or LightGBM, or a pipeline of them."""
    top = type(value).__module__.partition(".")[0]
    return top in ("sklearn", "lightgbm") and hasattr(value, "get_params")


def write(value: object, path: Path) -> None:
    """Write the skops file.

    Raises:
        Invalid: The model holds an object of a type that skops or we do not know, such as a function of yours.
    """
    import skops.io

    try:
        data = skops.io.dumps(value)
    except Exception as reason:  # noqa: BLE001 - skops raises whatever the object's own methods raise
        raise Invalid(f"skops cannot store this {type(value).__name__}: {reason}", hint=_HINT) from None
    _check(data, type(value).__name__)
    path.write_bytes(_steady(data))


def read(path: Path) -> object:
    """The estimator; types outside scikit-learn, LightGBM, NumPy and SciPy are refused."""
    import skops.io

    data = path.read_bytes()
    return skops.io.loads(data, trusted=_check(data, "model"))


_HINT = "keep functions and classes of your own out of the model, or store its parts"


def _check(data: bytes, name: str) -> list[str]:
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(data=data)
    strange = [each for each in found if not each.startswith(_TRUSTED)]
    if strange:
        raise Invalid(f"this {name} holds {', '.join(strange)}", hint=_HINT)
    return found


def _steady(data: bytes) -> bytes:
    """The same archive with numbers for addresses, and one time for all."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[object, int] = {}
    names: dict[str, str] = {}

    def renumber(node: object) -> object:
        if isinstance(node, list):
            return [renumber(each) for each in node]
        if not isinstance(node, dict):
            return node
        changed = {key: renumber(each) for key, each in node.items() if key not in ("__id__", "file")}
        if "__id__" in node:
            changed["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str):
            old = node["file"]
            changed["file"] = names.setdefault(old, f"{len(names) + 1}{Path(old).suffix}")
        return changed

    schema = renumber(json.loads(entries.pop(_SCHEMA)))
    steady = io.BytesIO()
    with zipfile.ZipFile(steady, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, _SCHEMA, json.dumps(schema).encode())
        for old, new in names.items():
            _add(archive, new, entries[old])
    return steady.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
