"""Pure decisions of the registry: signatures of frames, what breaks callers, and which names may be used."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid, Refused, did_you_mean
from mainspring.registry.model import FLOATS, INTEGERS, STAGES, Field, Label, ModelVersion, Signature
from mainspring.tracking.rules import check_key

_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
_ALIAS = re.compile(r"[\w.-]{1,255}")
MAX_NAME = 256
MAX_TAG = 100_000
_POLARS = {
    "Boolean": "bool",
    **{name.capitalize().replace("Ui", "UI"): name for name in INTEGERS},
    **{name.capitalize(): name for name in FLOATS},
    "String": "string",
    "Categorical": "string",
    "Enum": "string",
}
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".pk", ".dill", ".cloudpickle", ".pt", ".pth", ".npy.pkl")
_PICKLE_MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def field_dtype(polars_name: str, column: str) -> str:
    """The field type of a Polars type, by the name of its class.

    Raises:
        Invalid: Models take no such type.

    >>> field_dtype("UInt8", "hour"), field_dtype("Categorical", "carrier")
    ('uint8', 'string')
    """
    if polars_name not in _POLARS:
        raise Invalid(
            f"a model input can't be a {polars_name}",
            where=f"column {column}",
            hint="turn it into numbers, booleans or text first, such as pl.col(...).dt.hour() for a time",
        )
    return _POLARS[polars_name]


def infer_inputs(schema: Mapping[str, str], levels: Mapping[str, Sequence[str]]) -> tuple[Field, ...]:
    """The input fields of a frame.

    Args:
        schema: Column name to the name of its Polars type, in order.
        levels: Levels of the text columns that are encoded.
    Raises:
        Invalid: A column of a type models can't take, or levels for a column that is not there.
    """
    for name in levels:
        if name not in schema:
            raise Invalid(f"levels were given for {name!r}, which is no input", hint=did_you_mean(name, schema))
    return tuple(Field(name, field_dtype(kind, name), tuple(levels.get(name, ()))) for name, kind in schema.items())


def outputs_of(task: str, classes: Sequence[Label]) -> tuple[Field, ...]:
    """What a model of this task gives for each row.

    >>> [f.name for f in outputs_of("binary", (0, 1))]
    ['probability', 'label']
    """
    if task == "regression":
        return (Field("prediction", "float64"),)
    size = len(classes) if task == "multiclass" else 1
    return (Field("probability", "float64", size=size), Field("label", label_dtype(classes)))


def label_dtype(classes: Sequence[Label]) -> str:
    """The type of a model's labels: the one that all its classes have, else text."""
    kinds = {type(entry) for entry in classes}
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int64"
    return "float64" if kinds and kinds <= {int, float} else "string"


def in_order(signature: Signature, trained_on: Sequence[str]) -> Signature:
    """The signature with its inputs in the order the model was trained on.

    Args:
        trained_on: Names the model remembers; empty when it remembers none, then the order is kept.
    Raises:
        Invalid: The names are not the same set.
    """
    if not trained_on:
        return signature
    missing = [name for name in trained_on if name not in signature.names]
    extra = [name for name in signature.names if name not in trained_on]
    if missing or extra:
        found = f"the model was trained on other columns: missing {missing or 'none'}, unknown {extra or 'none'}"
        raise Invalid(found, where="signature inputs", hint="give the example the columns of the training matrix")
    by_name = {entry.name: entry for entry in signature.inputs}
    return Signature(tuple(by_name[name] for name in trained_on), signature.outputs)


def breaking_changes(old: Signature, new: Signature) -> tuple[str, ...]:
    """Why callers of `old` could not call `new`; empty when they can.

    A caller breaks when an input appears that it does not send, when a type no longer holds what it sends, or when an
    output it reads is gone or has another type. Inputs that are no longer read and new outputs break nobody; so do
    levels, as an unknown level is scored as missing.
    """
    before = {entry.name: entry for entry in old.inputs}
    found = [f"input {f.name!r} is new" for f in new.inputs if f.name not in before]
    for entry in new.inputs:
        if entry.name in before and not holds(entry.dtype, before[entry.name].dtype):
            found.append(f"input {entry.name!r} was {before[entry.name].dtype} and is {entry.dtype}")
    after = {entry.name: entry for entry in new.outputs}
    for entry in old.outputs:
        if entry.name not in after:
            found.append(f"output {entry.name!r} is gone")
        elif after[entry.name].dtype != entry.dtype:
            found.append(f"output {entry.name!r} was {entry.dtype} and is {after[entry.name].dtype}")
        elif after[entry.name].size != entry.size:
            found.append(f"output {entry.name!r} had {entry.size} values a row and has {after[entry.name].size}")
    return tuple(found)


def holds(wide: str, narrow: str) -> bool:
    """Whether every value of type `narrow` fits type `wide`; whole numbers fit every float.

    >>> holds("int64", "uint32"), holds("int32", "uint32"), holds("float64", "int64"), holds("int64", "float32")
    (True, False, True, False)
    """
    if wide == narrow:
        return True
    if wide in FLOATS:
        return narrow in INTEGERS or narrow == "bool" or (narrow == "float32" and wide == "float64")
    if wide in INTEGERS and narrow in INTEGERS:
        (low, high), (least, most) = _range(wide), _range(narrow)
        return low <= least and most <= high
    return wide in INTEGERS and narrow == "bool"


def _range(dtype: str) -> tuple[int, int]:
    bits = int(dtype.lstrip("uint"))
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def check_alias(name: str) -> str:
    """Return `name` when it may be an alias.

    Raises:
        Invalid: It is no name, or it would read like a version ("v3") or `latest`.
    """
    if not _ALIAS.fullmatch(name):
        hint = "use 1 to 255 letters, digits, '_', '-' or '.', such as champion"
        raise Invalid(f"{shown(name)!r} can't be an alias", where="alias", hint=hint)
    if _RESERVED.fullmatch(name):
        raise Invalid(f"{name!r} can't be an alias", where="alias", hint="use a word such as champion or challenger")
    return name


def check_model_name(name: str) -> str:
    """Return `name` when it may name a model: what MLflow takes, so that whatever has a name there has one here.

    Raises:
        Invalid: It is empty, too long, a path, or holds `/`, `:` or characters that can't be seen.

    >>> check_model_name("Café (v2), daily")
    'Café (v2), daily'
    """
    what = ""
    if not name.strip():
        what = "a model needs a name"
    elif len(name) > MAX_NAME:
        what = f"a name of {len(name)} characters, at most {MAX_NAME} are kept"
    elif bad := sorted({char for char in name if char in "/:" or not char.isprintable()}):
        what = f"{shown(name)!r} can't name a model because of {bad[0]!r}"
    elif name == "." or name.startswith(".."):
        what = f"{name!r} can't name a model"
    if what:
        raise Invalid(what, where="name", hint="use any text without '/', ':' and control characters")
    return name


def check_tags(tags: Mapping[str, str]) -> None:
    """Check the tags of a model or a version.

    Raises:
        Invalid: A key is no name, or a text is too long.
    """
    for key, value in tags.items():
        check_key(key, "tag")
        if len(value) > MAX_TAG:
            hint = f"at most {MAX_TAG}; keep longer texts as files"
            raise Invalid(f"a tag of {len(value)} characters", where=f"tag {key}", hint=hint)


def stage_named(text: str) -> str:
    """The stage that `text` names in any case.

    Raises:
        Invalid: None is called that.

    >>> stage_named("production")
    'Production'
    """
    found = {stage.lower(): stage for stage in STAGES}.get(text.lower())
    if found is None:
        hint = "use one of " + ", ".join(STAGES)
        raise Invalid(f"{shown(text)!r} is no stage", where="stage", hint=did_you_mean(text, STAGES) or hint)
    return found


def missing(version: ModelVersion) -> tuple[str, ...]:
    """What a version lacks to be gated and served; nothing for one that was registered with its model."""
    found = []
    if not version.digest:
        found.append(f"its files (they are at {version.source or 'no place that is known'}, not here)")
    if version.signature is None:
        found.append("a signature that says its columns (log it with signature=infer_signature(inputs, outputs))")
    if version.digest and (version.flavour == "mlflow" or not version.task):
        found.append("a format that can be read without running code")
    return tuple(found)


def check_usable(version: ModelVersion) -> ModelVersion:
    """Return a version that can be gated and served.

    Raises:
        Refused: It lacks something, which is named.
    """
    lacks = missing(version)
    if lacks:
        adoptable = version.flavour == "mlflow" and version.signature is not None
        raise Refused(
            f"this version can't be used to predict: it lacks {' and '.join(lacks)}",
            where=version.ref,
            hint=f"mainspring models {'adopt' if adoptable else 'show'} {shlex.quote(version.model)} {version.number}",
        )
    return version


def shown(text: str, most: int = 60) -> str:
    """`text`, cut to what fits a message."""
    return text if len(text) <= most else text[: most - 3] + "..."


def folder_name(name: str) -> str:
    """A name for a folder of a model: itself when every file system takes it, else what is legible and a hash.

    >>> folder_name("flights"), folder_name("a b")
    ('flights', 'a_b-c8687a08aa5d6ed2')
    """
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        return name
    legible = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
    return f"{legible}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_pickle(name: str, head: bytes) -> bool:
    """Whether a file is a pickle by its name or by its first bytes.

    >>> is_pickle("model.txt", bytes([0x80, 4, 0x95])), is_pickle("model.txt", b"tree")
    (True, False)
    """
    lowered = name.lower()
    while lowered.endswith((".gz", ".bz2", ".xz", ".lz4", ".z", ".zst")):
        lowered = lowered.rsplit(".", 1)[0]
    # The length of a safetensors header may look like the magic; no opcode is below 0x28, so nothing else is mistaken.
    length = len(head) > 8 and max(head[2:8]) < 0x28 and head[8:9] == b"{"
    return lowered.endswith(_PICKLE_SUFFIXES) or (head.startswith(_PICKLE_MAGIC) and not length)
