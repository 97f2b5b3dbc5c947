"""Which columns a table of runs has, what stands in them, and how runs are grouped. Pure: no service is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.tracking.comparing import cell
from mainspring.tracking.grammar.tree import Field, Order, written_field, written_order
from mainspring.tracking.model import Run

METRICS, PARAMS = 5, 3
"""How many columns are chosen when nobody chose."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it shows, its name in the address, its heading, and whether it holds numbers."""

    field: Field
    name: str
    title: str
    number: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that have the same value, and the mean of their numbers by column; `filter` finds them."""

    value: str
    runs: int
    means: dict[str, float]
    filter: str


def column(field: Field) -> Column:
    """The column of a field.

    >>> column(Field("metrics", "loss")).name
    'metrics.loss'
    """
    return Column(field, written_field(field), field.key, field.entity == "metrics")


def known_fields(runs: Sequence[Run]) -> list[Field]:
    """Every metric, param and tag that some of the runs have, those of most runs first."""
    counts: dict[Field, int] = {}
    for run in runs:
        for entity, keys in (("metrics", run.metrics), ("params", run.params), ("tags", run.tags)):
            for key in keys:
                counts[Field(entity, key)] = counts.get(Field(entity, key), 0) + 1
    order = {"metrics": 0, "params": 1, "tags": 2}
    return sorted(counts, key=lambda field: (order[field.entity], -counts[field], field.key))


def chosen(runs: Sequence[Run], known: Sequence[Field]) -> list[Field]:
    """The columns when nobody chose: the most common metrics, then params in which the runs differ."""
    metrics = [field for field in known if field.entity == "metrics"][:METRICS]
    params = [field for field in known if field.entity == "params" and _differ(runs, field)][:PARAMS]
    return metrics + params


def number_of(text: str | None) -> float | str | None:
    """A text that reads as a number as that number.

    >>> number_of("1e-3"), number_of("adam"), number_of("nan")
    (0.001, 'adam', None)
    """
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        return text
    return found if math.isfinite(found) else None


def following_order(current: Sequence[Order], field: Field) -> str:
    """What a click on a heading sorts by: descending first, then ascending.

    >>> following_order([Order(Field("metrics", "loss"), descending=True)], Field("metrics", "loss"))
    'metrics.loss ASC'
    """
    now = next((order for order in current if order.field == field), None)
    return written_order(Order(field, descending=now is None or not now.descending))


def grouped(runs: Sequence[Run], by: Field, columns: Sequence[Column]) -> list[Group]:
    """Runs by their value of a field, the largest group first; runs without it come last."""
    found: dict[str | None, list[Run]] = {}
    for run in runs:
        there = cell(run, by)
        found.setdefault(None if there is None else str(there), []).append(run)
    ordered = sorted(found.items(), key=lambda entry: (entry[0] is None, -len(entry[1]), entry[0] or ""))
    return [Group(key or "", len(members), _means(members, columns), _filter(by, key)) for key, members in ordered]


def _filter(by: Field, key: str | None) -> str:
    if key is None:
        return f"{written_field(by)} IS NULL"
    quoted = key.replace("'", "''")
    return f"{written_field(by)} = '{quoted}'"


def _means(runs: Sequence[Run], columns: Sequence[Column]) -> dict[str, float]:
    means = {}
    for one in columns:
        known = [cell(run, one.field) for run in runs] if one.number else []
        numbers = [entry for entry in known if isinstance(entry, (int, float)) and math.isfinite(entry)]
        if numbers:
            means[one.name] = math.fsum(numbers) / len(numbers)
    return means


def _differ(runs: Sequence[Run], field: Field) -> bool:
    return len({run.params.get(field.key) for run in runs}) > 1
