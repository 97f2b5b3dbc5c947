"""Which columns a table of runs has, and what stands in them. Pure: no service is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mainspring.core.values import dataclass
from mainspring.tracking.grammar.tree import ATTRIBUTES, Field, Order, written_field, written_order
from mainspring.tracking.model import Run

METRICS, PARAMS = 5, 3
"""How many columns are chosen when nobody chose."""
_NUMBERS = ("duration", "seed")
OWN = tuple(Field(ATTRIBUTES, name) for name in (*_NUMBERS, "user_id"))
"""What every run has that can be a column besides those every table has; a duration is in seconds."""
GROUPING = ("experiment", "status", "user_id")
"""The attributes that runs are grouped by on the page."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it shows, its name in the address, its heading, and whether it holds numbers."""

    field: Field
    name: str
    title: str
    number: bool


def column(field: Field) -> Column:
    """The column of a field.

    >>> column(Field("metrics", "loss")).name
    'metrics.loss'
    """
    number = field.entity == "metrics" or (field.entity == ATTRIBUTES and field.key in _NUMBERS)
    return Column(field, written_field(field), field.key, number)


def known_fields(runs: Sequence[Run]) -> list[Field]:
    """Every metric, param and tag that some of the runs have, those of most runs first."""
    found: list[Field] = []
    for entity in ("metrics", "params", "tags"):
        counts = Counter(key for run in runs for key in getattr(run, entity))
        found += [Field(entity, key) for key in sorted(counts, key=lambda key: (-counts[key], key))]
    return found


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


def filter_of(by: str, value: str | None) -> str:
    """The filter that finds the runs of a group.

    >>> filter_of("params.name", "it's")
    "params.name = 'it''s'"
    """
    return f"{by} IS NULL" if value is None else f"{by} = " + "'" + value.replace("'", "''") + "'"


def _differ(runs: Sequence[Run], field: Field) -> bool:
    return len({run.params.get(field.key) for run in runs}) > 1
