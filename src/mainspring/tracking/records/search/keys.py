"""Names of metrics as numbers, which each experiment has its own of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.tracking.grammar.tree import Compare, Field, Node, Not, Order
from mainspring.tracking.records.search.conditions import Condition
from mainspring.tracking.records.tables import experiment, metric_key


class Keys:
    """The numbers of the names of metrics, by name and experiment."""

    def __init__(self, numbers: Mapping[str, Mapping[int, int]]) -> None:
        self._numbers = numbers

    def within(self, experiments: Sequence[int] | None) -> Keys:
        """Only those of some experiments."""
        if experiments is None:
            return self
        return Keys(
            {name: {o: n for o, n in found.items() if o in experiments} for name, found in self._numbers.items()}
        )

    def of(self, name: str) -> list[int]:
        """The numbers of a name."""
        return list(self._numbers.get(name, {}).values())

    def is_(self, column: sa.ColumnElement[Any], name: str) -> Condition:
        """Whether a column holds the number of a name."""
        found = self.of(name)
        return column == found[0] if len(found) == 1 else column.in_(found) if found else sa.false()


def keys_of(
    conn: Connection, project: str, experiments: Sequence[int] | None, node: Node, order: Iterable[Order]
) -> Keys:
    """The numbers of the metrics that a filter and an order name, in some experiments or in all of a project."""
    asked = (*fields_of(node), *(item.field for item in order))
    names = sorted({field.key for field in asked if field.entity == "metrics"})
    if not names:
        return Keys({})
    found = sa.select(metric_key.c.name, metric_key.c.experiment, metric_key.c.number)
    found = found.where(metric_key.c.name.in_(names))
    owners = owned(project) if experiments is None else experiments
    numbers: dict[str, dict[int, int]] = {}
    for name, owner, number in conn.execute(found.where(metric_key.c.experiment.in_(owners))):
        numbers.setdefault(name, {})[owner] = number
    return Keys(numbers)


def owned(project: str) -> sa.Select[int]:
    """The numbers of a project's experiments."""
    return sa.select(experiment.c.number).where(experiment.c.project == project)


def fields_of(node: Node) -> list[Field]:
    """What the comparisons of a filter are about."""
    if isinstance(node, Compare):
        return [node.field]
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return [field for part in parts for field in fields_of(part)]
