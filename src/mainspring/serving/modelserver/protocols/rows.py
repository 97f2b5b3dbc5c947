"""Rows as lists, objects or text, as MLflow and KServe v1 send them, and predictions as both answer them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.asking import Answered, Context, Outputs, context
from mainspring.serving.modelserver.columns import Column, Feature, Features, Raw
from mainspring.serving.modelserver.explaining import named, without

T = TypeVar("T")
_MISSING = frozenset(["", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL", "None"])
_TRUTHS = {"true": True, "True": True, "TRUE": True, "1": True, "false": False, "False": False, "FALSE": False} | {
    "0": False
}


class Rows:
    """A request as a question: how its rows become columns is given as `read`.

    Args:
        request_id: Key for late labels; "" makes one.
        parameters: `routing_key`, `event_time`, `timeout_ms`, `explain`, and `outputs`, the names of those that are
            wanted.
        read: Makes the columns of a model out of what was sent.
        fresh_id: Makes ids.
    Raises: Invalid: A parameter is not what it should be.
    """

    __slots__ = ("_read", "about", "wanted")

    def __init__(
        self,
        request_id: str,
        parameters: Mapping[str, object] | None,
        read: Callable[[Features], list[Column]],
        fresh_id: Callable[[], str],
    ) -> None:
        self.about: Context = context(request_id, parameters, fresh_id)
        self.wanted = _wanted((parameters or {}).get("outputs"))
        self._read = read

    def columns(self, features: Features) -> list[Column]:
        """The rows as the columns of a model.

        Raises: Invalid: They do not fit.
        """
        return self._read(features)


def _wanted(given: object) -> list[str] | None:
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise Invalid("the parameter outputs is no list of names")
    return [str(name) for name in names]


def of_list(rows: Sequence[object], what: str) -> Callable[[Features], list[Column]]:
    """Rows that are lists, objects or, for a model of one column, single values."""
    return lambda features: features.from_rows(rows, what)


def of_columns(columns: Mapping[str, Raw]) -> Callable[[Features], list[Column]]:
    """Columns by name."""
    return lambda features: features.from_named(columns)


def of_inputs(given: object, what: str) -> Callable[[Features], list[Column]]:
    """Rows or columns, by whether a list or an object was sent. Columns may have shape [n], [n, 1] or be one value.

    Raises: Invalid: It is neither.
    """
    if isinstance(given, list):
        return of_list(given, what)
    if not isinstance(given, dict):
        raise Invalid(f"{what} is a {type(given).__name__}, expected a list of rows or an object of columns")
    return of_columns({str(name): _column(values) for name, values in given.items()})


def _column(values: object) -> list[object]:
    if not isinstance(values, list):
        return [values]
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values if isinstance(value, list)]
    return values


def of_texts(columns: Mapping[str, Sequence[str]]) -> Callable[[Features], list[Column]]:
    """Columns of text, as they are in CSV: each is read as the type its feature has."""

    def read(features: Features) -> list[Column]:
        found: dict[str, Raw] = {}
        for name, texts in columns.items():
            field = features.by_name.get(name)
            found[name] = () if field is None else [value_of(field, text) for text in texts]
        return features.from_named(found)

    return read


def value_of(field: Feature, text: str) -> object:
    """A cell of a CSV as the type its feature has; as it is where it can't be read so."""
    if field.kind == "text":
        return text or None
    text = text.strip()
    if text in _MISSING:
        return None
    if field.kind == "bool":
        return _TRUTHS.get(text, text)
    try:
        return int(text) if field.kind == "int" and text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def transposed(names: Sequence[str], rows: Sequence[Sequence[T]], what: str) -> dict[str, list[T]]:
    """Rows under a line of names as columns.

    Raises: Invalid: A name is there twice, or a row is longer or shorter than the names.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise Invalid(f"{what} has two columns {twice[:100]!r}")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise Invalid(f"row {number} of {what} has {len(row)} values under {len(names)} columns")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def answers(answered: Answered) -> list[object]:
    """Predictions of rows; with reason codes each is an object that has them under `reasons`."""
    if not answered.scale:
        return predictions(answered.outputs)
    outputs = without(answered.outputs)
    codes = named(answered.outputs, answered.columns, answered.scale)
    return [
        {**dict(zip(outputs, row, strict=True)), "reasons": found}
        for row, found in zip(zip(*outputs.values(), strict=True), codes, strict=True)
    ]


def predictions(outputs: Outputs) -> list[object]:
    """Answers as one entry a row: the value of a single output, else an object with all of them."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    names = list(outputs)
    return [dict(zip(names, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
