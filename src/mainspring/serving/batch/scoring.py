"""Rows to answers, by the checks, rules and models of the model server; what can't be answered keeps its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.columns import Column, Feature, Features, Raw
from mainspring.serving.modelserver.humility import Humility, Judged
from mainspring.serving.modelserver.models import LoadedModel

Reasons = dict[int, list[str]]
RAISED = "the model raised"
"""How the reason begins where the model failed, rather than the row did not fit."""


def status_of(reason: str) -> int:
    """What the model server would have said to a row that was put aside for this reason; 200 without one."""
    if not reason:
        return 200
    return 500 if reason.startswith(RAISED) else 422


@dataclass(frozen=True, slots=True)
class Scored:
    """For each row its answer (None where there is none) and why it was put aside; by row the rules that held."""

    outputs: Outputs
    marks: Mapping[int, Sequence[str]]
    reasons: list[str]


def score(
    model: LoadedModel,
    humility: Humility | None,
    columns: Mapping[str, Raw],
    rows: int,
    aside: Mapping[int, list[str]] = MappingProxyType({}),
) -> Scored:
    """Answer rows as the model server would; a row that it would refuse is put aside and hurts no other.

    Args:
        model: Who answers.
        humility: The rules of the endpoint.
        columns: The rows by column, all of the same length.
        rows: How many.
        aside: Rows that are put aside already, and why.
    """
    features = model.features if humility is None else humility.features
    reasons = dict(aside)
    checked = _checked(features, columns, rows, reasons)
    left = [row for row in range(rows) if row not in reasons]
    marks: dict[int, list[str]] = {}
    names = [*model.outputs, *(humility.beside if humility else [])]
    whole: Outputs = {name: [None] * rows for name in names}
    for place, judged in _judged(humility, checked, left, reasons):
        found, failed = _predicted(model, judged.columns) if judged.rows else ({}, {})
        outputs = judged.answers(found)
        for index, row in enumerate(place):
            if judged.marks[index]:
                marks[row] = judged.marks[index]
            if index in judged.refusals:
                reasons[row] = [judged.refusals[index].what.partition(": ")[2]]
                continue
            for name in whole:
                whole[name][row] = outputs[name][index]
        for index, reason in failed.items():
            row = place[judged.asked[index]]
            reasons[row] = [reason]
            for values in whole.values():
                values[row] = None
    return Scored(whole, marks, ["; ".join(reasons.get(row, [])) for row in range(rows)])


def _checked(features: Features, columns: Mapping[str, Raw], rows: int, reasons: Reasons) -> list[Column]:
    """The columns of the rows that fit; why the others do not is added to the reasons."""
    left = [row for row in range(rows) if row not in reasons]
    kept = columns if len(left) == rows else _rows_of(columns, left)
    if not left:
        return []
    try:
        return features.from_named(kept)
    except Invalid:
        places = _sift(features, kept)
    for place, found in places.items():
        reasons[left[place]] = found
    left = [row for row in left if row not in reasons]
    return features.from_named(_rows_of(columns, left)) if left else []


def _rows_of(columns: Mapping[str, Raw], rows: Sequence[int]) -> dict[str, Raw]:
    return {name: _taken(values, rows) for name, values in columns.items()}


def _sift(features: Features, columns: Mapping[str, Raw]) -> Reasons:
    reasons: Reasons = {}
    for field in features.fields:
        values = columns.get(field.name)
        if values is not None:
            for row, reason in misfits(field, values).items():
                reasons.setdefault(row, []).append(reason)
    return reasons


def misfits(field: Feature, values: Raw) -> dict[int, str]:
    """The rows whose value does not fit a column, and why."""
    try:
        field.check(values)
    except Invalid:
        found = {}
        for row in range(len(values)):
            try:
                field.check([_plain(values[row])])
            except Invalid as error:
                found[row] = error.what
        return found
    return {}


def _judged(
    humility: Humility | None, columns: Sequence[Column], left: Sequence[int], reasons: Reasons
) -> list[tuple[Sequence[int], Judged]]:
    """Rows by the rules, with their places; together, unless one of them lacks what the model needs."""
    if not left:
        return []
    if humility is None:
        return [(left, Judged.of_all(columns))]
    try:
        return [(left, humility.judge(columns))]
    except Invalid as error:
        if len(left) == 1:
            reasons.setdefault(left[0], []).append(error.what)
            return []
    half = len(left) // 2
    first = _judged(humility, [column[:half] for column in columns], left[:half], reasons)
    return first + _judged(humility, [column[half:] for column in columns], left[half:], reasons)


def _predicted(model: LoadedModel, columns: Sequence[Column]) -> tuple[Outputs, dict[int, str]]:
    """The model's answers; where it fails, the rows are halved until those that it fails on are alone."""
    rows = len(columns[0])
    try:
        return model.predict(columns), {}
    except Exception as reason:  # noqa: BLE001 - a model may raise anything, and one row must not fail another
        if rows == 1:
            return {name: [None] for name in model.outputs}, {0: f"{RAISED} {type(reason).__name__}"}
    half = rows // 2
    first, failed = _predicted(model, [column[:half] for column in columns])
    second, more = _predicted(model, [column[half:] for column in columns])
    outputs = {name: [*first[name], *second[name]] for name in model.outputs}
    return outputs, failed | {half + index: reason for index, reason in more.items()}


def _taken(values: Raw, rows: Sequence[int]) -> Raw:
    if isinstance(values, np.ndarray):
        taken: Raw = values[list(rows)]
        return taken
    return [values[row] for row in rows]


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
