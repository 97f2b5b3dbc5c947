"""Model folders of MLflow: kept as they are, with what their `MLmodel` says. None of their code runs here.

`MLmodel` is YAML that names the formats the model is kept in ("flavors"), its signature and its input example. Most of
those formats are pickles; a folder is therefore kept, listed, compared and handed out, and loaded by MLflow itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Invalid, Refused
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Scorer, Trait
from mainspring.registry.model import Example, Field, Scalar, Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "mlflow"
FILE = "model/MLmodel"
PACKAGES = ("mlflow",)
MOST = 1_000_000
"""Bytes of the longest `MLmodel` or example that is read."""
_ROWS = 5
_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
}
_OUTPUT = "prediction"


@dataclass(frozen=True, slots=True)
class Folder:
    """What an `MLmodel` says.

    Args:
        flavours: Names of the formats it is kept in, `python_function` among them.
        environment: Versions of Python, MLflow and the packages it names.
        signature: Its columns, None when it has no signature or one of tensors, arrays or objects.
        example: The path of its input example below the folder; "" = none.
        notes: The rest, as plain JSON.
    """

    flavours: tuple[str, ...]
    environment: dict[str, str]
    signature: Signature | None
    example: str = ""
    notes: dict[str, object] = field(default_factory=dict)


def handles(model: object) -> bool:
    """Never: folders come from MLflow, not from objects."""
    return False


def recognises(data: bytes) -> bool:
    """Never: a folder is no single file."""
    return False


def trait(model: object) -> Trait:
    """Nothing is known of what it answers."""
    return Trait(task="")


def dump(model: object) -> bytes:
    """Refused: a folder is taken as it is."""
    raise Refused("a folder of MLflow is not made from an object", where=NAME, hint=_HINT)


def read(data: bytes) -> object:
    """Refused: loading it would run its code."""
    raise Refused("a folder of MLflow is loaded by MLflow, as loading it runs code", where=NAME, hint=_HINT)


def scorer(model: object, trait: Trait) -> Scorer:
    """Refused, as `read`."""
    return _Refusing()


_HINT = "mlflow.pyfunc.load_model('models:/NAME/VERSION'), or register the fitted model with mainspring's own SDK"


class _Refusing:
    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        raise Refused("a folder of MLflow does not answer here", where=NAME, hint=_HINT)


def describe(text: bytes) -> Folder:
    """What the text of an `MLmodel` says.

    Raises:
        Invalid: It is too long, or no YAML of plain values with a mapping `flavors`.

    >>> describe(b"flavors: {sklearn: {sklearn_version: 1.9.0}}").environment
    {'sklearn': '1.9.0'}
    """
    plain = _yaml(text)
    flavours = plain.get("flavors")
    if not isinstance(flavours, Mapping) or not all(isinstance(entry, Mapping) for entry in flavours.values()):
        raise Invalid("the MLmodel names no flavors", where=FILE, hint="log the model with mlflow.FLAVOR.log_model")
    example = plain.get("saved_input_example_info")
    path = str(example.get("artifact_path", "")) if isinstance(example, Mapping) else ""
    kept = ("artifact_path", "model_uuid", "model_id", "run_id", "utc_time_created", "model_size_bytes", "metadata")
    notes: dict[str, object] = {name: _json(plain[name]) for name in kept if plain.get(name) is not None}
    signature = plain.get("signature")
    if isinstance(signature, Mapping):
        notes["signature"] = _json(signature)
    notes["flavors"] = _json(flavours)
    return Folder(
        tuple(sorted(map(str, flavours))), _environment(plain, flavours), signature_of(signature), path, notes
    )


def signature_of(plain: object) -> Signature | None:
    """A signature of MLflow as ours: named columns of plain types. None for what ours does not express.

    Args:
        plain: Its parts `inputs` and `outputs`, each JSON text of a list of columns.
    """
    if not isinstance(plain, Mapping):
        return None
    inputs, outputs = (_columns(plain.get(side)) for side in ("inputs", "outputs"))
    if not inputs or not all(entry.get("name") for entry in inputs):
        return None
    try:
        return Signature(tuple(map(_field, inputs)), tuple(map(_field, outputs or ())))
    except (Invalid, KeyError, TypeError):
        return _inputs_only(inputs)


def example_of(data: bytes, signature: Signature | None) -> Example:
    """The first rows of an input example, when it is a table of the columns of the signature; else none."""
    if signature is None or len(data) > MOST:
        return Example({})
    try:
        plain = json.loads(data)
        names, rows = [str(name) for name in plain["columns"]], list(plain["data"])[:_ROWS]
        columns = {name: [_scalar(row[names.index(name)]) for row in rows] for name in signature.names}
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return Example({})
    return Example(columns)


def folder_of(text: bytes, read: Callable[[str], bytes | None]) -> tuple[Folder, Example]:
    """What an `MLmodel` says and the example it names; `read` gives a file of the folder when it is there."""
    found = describe(text)
    data = read(found.example) if found.example else None
    return found, Example({}) if data is None else example_of(data, found.signature)


def _inputs_only(inputs: list[dict[str, object]]) -> Signature | None:
    """Outputs of tensors are common with inputs of columns: those are worth keeping alone."""
    try:
        return Signature(tuple(map(_field, inputs)))
    except (Invalid, KeyError, TypeError):
        return None


def _columns(text: object) -> list[dict[str, object]]:
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _field(entry: dict[str, object]) -> Field:
    spec = entry.get("tensor-spec")
    if entry["type"] == "tensor" and isinstance(spec, dict) and spec.get("shape") == [-1]:
        dtype = str(spec["dtype"])
        return Field(str(entry.get("name") or _OUTPUT), "string" if dtype in ("str", "object") else dtype)
    return Field(str(entry.get("name") or _OUTPUT), _TYPES[str(entry["type"])])


def _environment(plain: Mapping[str, object], flavours: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    found = {"mlflow": str(plain["mlflow_version"])} if plain.get("mlflow_version") else {}
    for name, entry in flavours.items():
        for key, value in entry.items():
            if key == "python_version":
                found["python"] = str(value)
            elif str(key).endswith(("_version", "_ver")) or key == "lgb_version":
                found[str(name)] = str(value)
    return dict(sorted(found.items()))


def _scalar(value: object) -> Scalar:
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise TypeError(f"{type(value).__name__} is no value of a column")
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _json(value: object) -> object:
    """A value of YAML as plain JSON: times and what else JSON lacks become text."""
    return cast(object, json.loads(json.dumps(value, default=str, allow_nan=False)))


def _yaml(text: bytes) -> Mapping[str, object]:
    import yaml  # type: ignore[import-untyped]

    if len(text) > MOST:
        raise Invalid(f"an MLmodel of {len(text)} bytes, at most {MOST} are read", where=FILE)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text.decode())):
            raise Invalid("the MLmodel repeats parts by reference, which can unfold without end", where=FILE)
        plain = yaml.safe_load(text.decode())
        _json(plain)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as reason:
        raise Invalid(f"the MLmodel is no YAML of plain values: {reason}"[:300], where=FILE) from None
    if not isinstance(plain, Mapping):
        raise Invalid("the MLmodel is no mapping", where=FILE)
    return {str(name): value for name, value in plain.items()}
