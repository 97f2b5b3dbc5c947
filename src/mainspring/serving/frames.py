"""Rows of the prediction log as typed frames, made a column at a time: a row at a time costs three times as much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.serving.modelserver.spool import COLUMNS
from mainspring.serving.rules.conformal import LABEL_SET

if TYPE_CHECKING:
    import polars as pl
    from polars._typing import PolarsDataType

Columns = Sequence[tuple[str, str]]
"""The inputs that a version takes: name and kind of each."""
LOOKED = ("view", "number", "materialization", "entity", "at", "event_at", "state", "names")
"""What the log has of one lookup in a feature view; the entity's key is a JSON list, null where it is redacted."""
_ENTITY = LOOKED.index("entity")
_OUTPUTS = {
    "probability": "probability",
    "prediction": "prediction",
    "label_out": "label",
    "probabilities": "probability",
    "low": "low",
    "high": "high",
    LABEL_SET: LABEL_SET,
    "reasons_base": "reasons_base",
}
"""Columns that come of an answer, and which of a model's outputs each is made from."""


def frame_of(
    endpoint: str, columns: Mapping[str, Sequence[Any]], signatures: Mapping[int, Columns], *, spool: str = ""
) -> pl.DataFrame:
    """Spooled rows as a typed frame: numbers of the inputs are Float64, so that a table outlives a change of width.

    Args:
        endpoint: Whose rows.
        columns: The values of "seq" and of all `COLUMNS`, as `entries_after` gives them.
        signatures: The input columns of each version, (name, kind).
        spool: Where they come from. With `seq` it is a row's place in the log, so that a reader can go on where it was.
    Raises:
        ValueError: A row has more or fewer inputs than its version takes.
    """
    import polars as pl

    kinds = {name: kind for taken in signatures.values() for name, kind in taken}
    schema = _schema(kinds)
    if not columns["seq"]:
        return pl.DataFrame(schema=schema)
    rows, versions, looked = len(columns["seq"]), columns["version"], columns["features"]
    outputs = [output if isinstance(output, dict) else {} for output in columns["outputs"]]
    said = set().union(*outputs)
    values: dict[str, Sequence[Any]] = {
        **{name: columns[name] for name in ("seq", *COLUMNS) if name not in ("inputs", "outputs", "features")},
        **{name: [output_of(name, output) for output in outputs] for name, key in _OUTPUTS.items() if key in said},
    }
    if "reasons" in said:
        taken = [signatures.get(version, ()) for version in versions]
        values["reasons"] = list(map(_reasons, outputs, taken))
    if any(looked):
        values["features"] = list(map(_features, looked))
    made = {name: _series(name, column, schema[name]) for name, column in values.items()}
    made["inputs"] = _inputs(versions, columns["inputs"], signatures, _taken(kinds))
    same = {"deployment": endpoint, "spool": spool}
    rest = {name: kind for name, kind in schema.items() if name not in made}
    made |= {name: pl.Series(name, [same.get(name)], kind).new_from_index(0, rows) for name, kind in rest.items()}
    return pl.DataFrame([made[name] for name in schema])


def output_of(name: str, output: object) -> object:
    """A column of the log, from an answer by the names of the model's outputs; None where there is none."""
    if not isinstance(output, dict):
        return None
    if name == "label_out":
        label = output.get("label")
        return None if label is None else str(label)
    if name == LABEL_SET:
        classes = output.get(name)
        return [str(label) for label in msgspec.json.decode(classes)] if isinstance(classes, str) else None
    if name in ("probability", "probabilities"):
        value = output.get("probability")
        return value if isinstance(value, list) == (name == "probabilities") else None
    return output.get(name)


def _schema(kinds: Mapping[str, str]) -> dict[str, PolarsDataType]:
    import polars as pl

    looked = (pl.String, pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64, pl.String, pl.List(pl.String))
    return {
        "id": pl.String,
        "request_id": pl.String,
        "at": pl.Int64,
        "event_at": pl.Int64,
        "deployment": pl.String,
        "version": pl.Int64,
        "arm": pl.String,
        "propensity": pl.Float64,
        "key": pl.String,
        "rollout": pl.String,
        "inputs": _taken(kinds),
        "probability": pl.Float64,
        "prediction": pl.Float64,
        "label_out": pl.String,
        "probabilities": pl.List(pl.Float64),
        "low": pl.Float64,
        "high": pl.Float64,
        LABEL_SET: pl.List(pl.String),
        "reasons": pl.List(pl.Struct({"column": pl.String, "contribution": pl.Float64})),
        "reasons_base": pl.Float64,
        "latency_us": pl.Int64,
        "status": pl.Int64,
        "error": pl.String,
        "caller": pl.String,
        "wait_us": pl.Int64,
        "model_us": pl.Int64,
        "marks": pl.List(pl.String),
        "features": pl.List(pl.Struct(dict(zip(LOOKED, looked, strict=True)))),
        "spool": pl.String,
        "seq": pl.Int64,
    }


def _taken(kinds: Mapping[str, str]) -> pl.Struct:
    """The type of the inputs, by the kind of each."""
    import polars as pl

    types = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "text": pl.String}
    return pl.Struct({name: types[kind] for name, kind in kinds.items()})


def _features(entries: object) -> list[list[object]] | None:
    """The lookups of a row, each as `LOOKED` says; None where there was none."""
    found = [list(entry) for entry in entries] if isinstance(entries, list) else []
    for entry in found:
        key = entry[_ENTITY]
        entry[_ENTITY] = None if key is None else msgspec.json.encode(key).decode()
    return found or None


def _reasons(output: Mapping[str, object], columns: Columns) -> list[tuple[str, object]] | None:
    """The reason codes of a row by the names of its inputs; those that are not known, as of redacted ones, left out."""
    found = output.get("reasons")
    if not isinstance(found, list):
        return None
    return [(name, code) for (name, _), code in zip(columns, found, strict=True) if code is not None] or None


def _inputs(
    versions: Sequence[int], rows: Sequence[object], signatures: Mapping[int, Columns], kept: pl.Struct
) -> pl.Series:
    """The inputs of rows by their names; what a row's version does not take is null."""
    import polars as pl

    parts, order = [], []
    for version in dict.fromkeys(versions):
        at = [place for place, one in enumerate(versions) if one == version]
        names = [name for name, _ in signatures.get(version, ())]
        columns = _turned(list(map(rows.__getitem__, at)), len(names))
        parts.append(_struct("inputs", dict(zip(names, columns, strict=True)), kept, len(at)))
        order += at
    return parts[0] if len(parts) == 1 else pl.concat(parts).gather(pl.Series(order).arg_sort())


def _turned(rows: Sequence[object], width: int) -> list[list[object]]:
    """The columns of rows of so many cells; what is no row has none."""
    cells = [row if isinstance(row, (list, tuple)) else () for row in rows]
    if set(map(len, cells)) - {width}:
        raise ValueError(f"rows of {sorted(set(map(len, cells)))} cells, expected {width}")
    flat = list(chain.from_iterable(cells))
    return [flat[place::width] for place in range(width)]


def _series(name: str, values: Sequence[Any], kept: PolarsDataType) -> pl.Series:
    """A column of values, tuples of fields or lists."""
    import polars as pl

    if isinstance(kept, pl.List):
        return _lists(name, values, kept)
    if isinstance(kept, pl.Struct):
        fields = zip(pl.Schema(kept), _turned(values, len(kept.fields)), strict=True)
        return _struct(name, dict(fields), kept, len(values))
    return pl.Series(name, values, kept)


def _struct(name: str, fields: Mapping[str, Sequence[object]], kept: pl.Struct, rows: int) -> pl.Series:
    """A column of structs of the fields that are given; the others are null."""
    import polars as pl

    if not kept.fields:
        return pl.Series(name, [{}], kept).new_from_index(0, rows)
    nothing = [None] * rows
    made = []
    for of, kind in pl.Schema(kept).items():
        try:
            made.append(_series(of, fields.get(of, nothing), kind))
        except TypeError:  # a version that took it as another kind of value: as rows they are read with more patience
            made.append(pl.DataFrame([{of: value} for value in fields[of]], schema={of: kind})[of])
    return pl.DataFrame(made).to_struct(name)


def _lists(name: str, values: Sequence[Sequence[object] | None], kept: pl.List) -> pl.Series:
    """A column of lists, made of all that is in them: list by list they cost 3 to 6 us each."""
    import polars as pl

    full = [value for value in values if value]
    widths = set(map(len, full))
    inner = _series(name, list(chain.from_iterable(full)), kept.inner) if full else pl.Series(name, [], kept.inner)
    if len(widths) == 1:
        lists = inner.reshape((len(full), widths.pop())).arr.to_list()
    else:
        row = pl.Series("row", list(chain.from_iterable(map(repeat, range(len(full)), map(len, full)))), pl.UInt32)
        lists = pl.DataFrame([row, inner]).group_by("row", maintain_order=True).agg(name)[name]
    if len(full) == len(values):
        return lists
    places = iter(range(len(full)))
    at = [next(places) if value else len(full) + (value is None) for value in values]
    return pl.concat([lists, pl.Series(name, [[], None], kept)]).gather(pl.Series(at, dtype=pl.UInt32))
