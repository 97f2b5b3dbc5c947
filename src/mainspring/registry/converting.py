"""A model of scikit-learn as ONNX: for quicker answers, and for machines without Python. Behind a gate on data.

A converted graph is another program, and may answer otherwise: by single precision in front of a threshold a forest
was found 0.07 off, with other labels. So preprocessing stays in double precision, with one cast in front of trees that
want single, and both programs are asked the same rows. Only a graph that says the same is given out; what was found is
in the manifest of the package and in the file itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mainspring.core.errors import Refused
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Trait, imported, onnx, sklearn
from mainspring.registry.model import ModelVersion
from mainspring.registry.packages import Package, Predictor, build

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.data import Data, DatasetVersion

MOST_APART = 1e-5
"""How far the answer to any row may be off: a probability, or a number in units of itself where it is above one."""
LEAST_ROWS, MOST_ROWS = 100, 20_000
_OPSETS = {"": 18, "ai.onnx.ml": 3}
NOTE = "converted"


@dataclass(frozen=True, slots=True)
class Parity:
    """How a converted model answers the rows of a dataset beside the model that it was made of.

    `labels_differing` leaves out rows between two labels that the model itself finds equally likely.
    """

    source: str
    data: str
    rows: int
    most_apart: float
    labels_differing: int

    @property
    def holds(self) -> bool:
        """Whether it says the same."""
        return self.most_apart <= MOST_APART and not self.labels_differing

    @property
    def words(self) -> str:
        """It in a sentence."""
        labels = f"{self.labels_differing or 'no'} label{'s differ' if self.labels_differing > 1 else ' differs'}"
        return (
            f"{self.source} in ONNX: at most {self.most_apart:.1g} apart over {self.rows} rows of {self.data}, {labels}"
        )


def require_convertible(version: ModelVersion) -> ModelVersion:
    """A version, if it is of the format that is converted.

    Raises:
        Refused: It is of another.
    """
    if version.flavour != sklearn.NAME:
        hint = "its own format is portable, too: mainspring models download"
        raise Refused(f"a version of format {version.flavour} is not converted to ONNX", where=version.ref, hint=hint)
    return version


def compared_by(data: Data, version: ModelVersion, ref: str = "") -> DatasetVersion:
    """The dataset by whose rows a version is compared: one that is named, or its own reference. No row is read.

    Raises:
        NotFound: No such dataset.
        Refused: There is none, or it has too few rows, or not all inputs.
    """
    found = ref or version.reference
    hint = "name a dataset with its inputs: --data datasets/NAME"
    if not found:
        raise Refused("the version has no reference dataset to be compared by", where=version.ref, hint=hint)
    named = data.resolve(found)
    there = {column.name for column in named.columns}
    absent = [name for name in version.columns if name not in there]
    if absent:
        raise Refused(f"{named.ref} has no column {absent[0]!r}", where=version.ref, hint=hint)
    if named.rows < LEAST_ROWS:
        raise Refused(f"{named.ref} has {named.rows} rows, {LEAST_ROWS} are the least", where=version.ref, hint=hint)
    return named


def rows_for(data: Data, version: ModelVersion, ref: str = "") -> tuple[pl.DataFrame, str]:
    """The rows by which a version is compared, and their reference. Raises: As `compared_by`."""
    named = compared_by(data, version, ref)
    frame = data.frame(named.dataset, named.number)
    return frame.select(version.columns).head(MOST_ROWS).collect(), named.ref


def convert(version: ModelVersion, predictor: Predictor, model: object, rows: pl.DataFrame, data: str) -> Package:
    """The package of the same model as ONNX.

    Args:
        version: What is converted, of scikit-learn.
        predictor: It, ready to predict.
        model: The estimator in it.
        rows: By which both are compared.
        data: The reference of these rows.
    Raises:
        Refused: It can't be converted, or what comes of it says something else.
        Unavailable: The packages of the extra `onnx` are not here.
    """
    expected, rows = _asked(predictor, rows)
    reason = ""
    for proto in _candidates(version, sklearn.trait(model), model):
        if isinstance(proto, str):
            reason = proto
            continue
        _describe(proto, _about(version))
        package = _package(version, proto, rows)
        kind = onnx.scorer(onnx.read(package.files[onnx.FILE]), package.manifest.trait)
        parity = _compared(version, data, expected, Predictor(package.manifest, kind).predict(rows))
        if parity.holds:
            said = {
                name: getattr(parity, name) for name in ("source", "data", "rows", "most_apart", "labels_differing")
            }
            _describe(proto, {"mainspring.parity": json.dumps(said)})
            made = _package(version, proto, rows)
            return replace(made, manifest=replace(made.manifest, notes={**made.manifest.notes, NOTE: said}))
        reason = parity.words
    raise Refused(f"it does not answer the same as ONNX: {reason[:300]}", where=version.ref, hint="serve it as it is")


def parity_in(notes: Mapping[str, object]) -> Parity | None:
    """What the manifest of a version says of its conversion; None where it is no converted one."""
    said = notes.get(NOTE)
    return Parity(**cast("dict[str, Any]", said)) if isinstance(said, dict) else None


def _asked(predictor: Predictor, rows: pl.DataFrame) -> tuple[dict[str, NDArray[np.generic]], pl.DataFrame]:
    """The model's own answers; rows that lack a value are left out where it takes none."""
    try:
        return predictor.predict(rows), rows
    except ValueError:
        whole = rows.drop_nulls()
        return predictor.predict(whole), whole


def _candidates(version: ModelVersion, trait: Trait, model: object) -> Iterator[Any]:
    """Graphs, the most exact first; a text is why there is none."""
    convert_sklearn = imported("skl2onnx", "onnx").convert_sklearn
    inputs = _inputs(version, trait)
    for given in (model, _with_cast(model)):
        options = {id(given): {"zipmap": False}} if trait.task != "regression" else None
        try:
            proto = convert_sklearn(given, initial_types=inputs, options=options, target_opset=_OPSETS)
            onnx.read(proto.SerializeToString())
        except Exception as reason:  # noqa: BLE001 - a converter may raise anything; then there is no such graph
            yield f"{type(reason).__name__}: {reason}"
        else:
            yield proto


def _inputs(version: ModelVersion, trait: Trait) -> list[tuple[str, object]]:
    """One matrix, or a column for each input of a model that selects by name."""
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    if not trait.wants_frame:
        width = len(version.columns)
        return [(version.columns[0] if width == 1 else "rows", DoubleTensorType([None, width]))]
    texts = {entry.name for entry in version.inputs if entry.dtype == "string" and not entry.levels}
    return [(name, (StringTensorType if name in texts else DoubleTensorType)([None, 1])) for name in version.columns]


def _with_cast(model: object) -> object:
    """The same with a cast to single precision in front of its last step."""
    from numpy import float32
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    steps = list(model.steps) if isinstance(model, Pipeline) else [("model", model)]
    return Pipeline([*steps[:-1], ("cast", CastTransformer(dtype=float32)), steps[-1]])


def _about(version: ModelVersion) -> dict[str, str]:
    """What the file says of itself, wherever it goes."""
    inputs = [{"name": entry.name, "dtype": entry.dtype, "levels": list(entry.levels)} for entry in version.inputs]
    about: dict[str, object] = {"classes": list(version.classes), "inputs": inputs}
    plain = {"task": version.task, "source": version.ref, "digest": version.digest}
    return {f"mainspring.{key}": value for key, value in plain.items()} | {
        f"mainspring.{key}": json.dumps(value) for key, value in about.items()
    }


def _describe(proto: Any, about: Mapping[str, str]) -> None:
    for key, value in about.items():
        if value and value != "[]":
            proto.metadata_props.add(key=key, value=value)


def _package(version: ModelVersion, proto: Any, rows: pl.DataFrame) -> Package:
    levels = {entry.name: entry.levels for entry in version.inputs if entry.levels}
    return build(proto, rows.head(5), signature=version.signature, levels=levels)


def _compared(
    version: ModelVersion,
    data: str,
    expected: Mapping[str, NDArray[np.generic]],
    found: Mapping[str, NDArray[np.generic]],
) -> Parity:
    import numpy as np

    name = "prediction" if version.task == "regression" else "probability"
    theirs = cast("NDArray[np.float64]", expected[name])
    ours = cast("NDArray[np.float64]", found[name])
    apart = np.abs(theirs - ours)
    apart = np.where(np.isnan(theirs) & np.isnan(ours), 0.0, np.where(np.isnan(apart), np.inf, apart))
    differing = 0
    if version.task == "regression":
        apart = apart / np.maximum(1.0, np.abs(np.nan_to_num(theirs)))
    else:
        top = np.sort(theirs, axis=1)[:, -2:] if theirs.ndim == 2 else np.stack([theirs, 1.0 - theirs], axis=1)
        tied = top[:, 0] == top[:, 1]
        differing = int(((expected["label"] != found["label"]) & ~tied).sum())
    return Parity(version.ref, data, len(theirs), float(apart.max(initial=0.0)), differing)
