"""How few runs a filter lets through, as far as an index tells."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.matching import matches
from mainspring.tracking.grammar.tree import ATTRIBUTES, And, Compare, Field, Node, Not, Or
from mainspring.tracking.records.search.conditions import RANGES, number_matches
from mainspring.tracking.records.search.keys import Keys
from mainspring.tracking.records.search.paged import Narrowed, Numbers
from mainspring.tracking.records.tables import INDEXED_TEXT, metric_latest, param, run, tag

TEXTS = {"params": param, "tags": tag}
"""Where the texts of runs are."""
KEPT_TAGS = {Field("tags", "mlflow.runName"): run.c.name, Field("tags", "mlflow.parentRunId"): run.c.parent}
"""Tags of MLflow that are attributes here, and no tags."""
_UNIQUE = {
    Field(ATTRIBUTES, "id"): run.c.id,
    Field(ATTRIBUTES, "parent"): run.c.parent,
    Field("tags", "mlflow.parentRunId"): run.c.parent,
}
"""Columns with an index of their own, of which few runs have the same value, if it is not empty."""
WALKED = {name: run.c[name] for name in ("started_at", "ended_at", "name", "status")}
"""Columns with an index that holds the runs of each experiment together."""


def narrowest(
    conn: Connection, node: Node, keys: Keys, experiments: Sequence[int] | None, *, most: int
) -> Narrowed | None:
    """The fewest runs among which all are that a filter lets through; None when no index tells of so few.

    Args:
        experiments: In which one looks, by number; None for all.
    """
    if isinstance(node, And):
        found = (narrowest(conn, part, keys, experiments, most=most) for part in node.parts)
        return min((part for part in found if part is not None), key=lambda part: part.count, default=None)
    if isinstance(node, Or):
        either = [narrowest(conn, part, keys, experiments, most=most) for part in node.parts]
        known = [part.runs for part in either if part is not None]
        return _counted(conn, sa.union(*known), most) if known and len(known) == len(either) else None
    return None if isinstance(node, Not) else _counted(conn, _indexed(node, keys, experiments), most)


def _counted(conn: Connection, runs: Numbers | None, most: int) -> Narrowed | None:
    if runs is None:
        return None
    some = runs.limit(most + 1).subquery()
    count = conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    return Narrowed(runs, count) if count <= most else None


def _indexed(asked: Compare, keys: Keys, experiments: Sequence[int] | None) -> sa.Select[int] | None:
    """The runs that a comparison lets through, where an index holds them together."""
    if asked.field.entity == "metrics" and asked.op in RANGES:
        last = metric_latest
        bounds = number_matches(last.c.sort, last.c.value, asked.op, asked.value, ranged=True)
        return sa.select(last.c.run).where(keys.is_(last.c.key, asked.field.key), bounds)
    if asked.field.entity in TEXTS and asked.field not in KEPT_TAGS:
        return _indexed_text(TEXTS[asked.field.entity], asked)
    if asked.field.entity == ATTRIBUTES and asked.field.key in WALKED and experiments is not None:
        if asked.op not in (*RANGES, "IN") or isinstance(asked.value, float):
            return None
        mine = run.c.experiment.in_(experiments)
        return sa.select(run.c.number).where(mine, matches(WALKED[asked.field.key], asked.op, asked.value, ""))
    column = _UNIQUE.get(asked.field)
    if column is None or asked.op not in ("=", "IN") or not asked.value:
        return None
    return sa.select(run.c.number).where(matches(column, asked.op, asked.value, ""))


def _indexed_text(table: sa.Table, asked: Compare) -> sa.Select[int] | None:
    values = asked.value if isinstance(asked.value, tuple) else (asked.value,)
    if asked.op not in ("=", "IN") or any(len(str(value)) > INDEXED_TEXT for value in values):
        return None
    short = sa.text(f"length({table.name}.value) <= {INDEXED_TEXT}")  # as the index says it
    return sa.select(table.c.run).where(table.c.key == asked.field.key, table.c.value.in_(values), short)
