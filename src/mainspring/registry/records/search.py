"""Searching for models and versions. The language is that of `tracking.grammar`; here it becomes conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.core.values import dataclass
from mainspring.registry.model import PROMPT_TAG, Model, ModelVersion
from mainspring.registry.records import models, versions
from mainspring.registry.records.tables import model, model_redirect, model_tag, model_version, model_version_tag
from mainspring.storage.keyset import SortKey, following
from mainspring.storage.matching import matches
from mainspring.storage.schema import Real
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.grammar.tree import ATTRIBUTES, And, Compare, Field, Node, Not, Order

Condition = sa.ColumnElement[bool]
_MODEL: Mapping[str, sa.ColumnElement[Any]] = {
    name: model.c[name] for name in ("name", "description", "created_at", "updated_at")
}
_OWN = ("description", "source", "run_id", "model_id", "flavour", "task", "stage", "status", "digest", "reference")
_VERSION: Mapping[str, sa.ColumnElement[Any]] = {
    **{name: model_version.c[name] for name in _OWN},
    **{name: model_version.c[name] for name in ("number", "created_at", "updated_at", "size_bytes", "created_by")},
    "name": model.c.name,
}
_WHOLE = ("=", "IN")
"""Comparisons that name a model; what else is asked of names is asked of those that models have now."""
NUMBERS = frozenset({"number", "created_at", "updated_at", "size_bytes"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What to find: a filter, an order that leaves no ties, and whether prompts are among it."""

    filter: Node
    order: tuple[Order, ...]
    prompts: bool


def find_models(conn: Connection, asked: Asked, *, after: Sequence[Key], limit: int) -> list[Model]:
    """The next models of a search."""
    where = [model.c.project == caller().project, model.c.deleted_at.is_(None), *_kinds(asked)]
    found = _ordered(sa.select(*models.SHOWN), asked, _MODEL, model_tag, model.c.serial, conn, where, after)
    return models.models_of(conn, conn.execute(found.limit(limit)).all())


def find_versions(conn: Connection, asked: Asked, *, after: Sequence[Key], limit: int) -> list[ModelVersion]:
    """The next versions of a search."""
    where = [model_version.c.project == caller().project, model_version.c.deleted_at.is_(None), *_kinds(asked)]
    if not asked.prompts:
        own = _marked(model_version_tag).correlate_except(model_version_tag)
        where.append(sa.not_(own.where(model_version_tag.c.version == model_version.c.serial)))
    start = sa.select(*versions.SHOWN).select_from(versions.FROM)
    found = _ordered(start, asked, _VERSION, model_version_tag, model_version.c.serial, conn, where, after)
    return versions.versions_of(conn, conn.execute(found.limit(limit)).mappings().all())


def _kinds(asked: Asked) -> list[Condition]:
    if asked.prompts:
        return []
    return [sa.not_(_marked(model_tag).where(model_tag.c.model == model.c.serial).correlate(model))]


def _marked(table: sa.Table) -> sa.Exists:
    return sa.exists().where(table.c.key == PROMPT_TAG, sa.func.lower(table.c.value) == "true")


def _ordered(
    found: sa.Select[*tuple[Any, ...]],
    asked: Asked,
    known: Mapping[str, sa.ColumnElement[Any]],
    tags: sa.Table,
    serial: sa.ColumnElement[int],
    conn: Connection,
    where: list[Condition],
    after: Sequence[Key],
) -> sa.Select[*tuple[Any, ...]]:
    keys = [SortKey(known[order.field.key], descending=order.descending) for order in asked.order]
    where.append(_condition(asked.filter, known, tags, serial, conn.dialect.name))
    if after:
        where.append(following(keys, after))
    return found.where(*where).order_by(*(key.order() for key in keys))


def _condition(
    node: Node,
    known: Mapping[str, sa.ColumnElement[Any]],
    tags: sa.Table,
    serial: sa.ColumnElement[int],
    dialect: str,
) -> Condition:
    if isinstance(node, Compare):
        if node.field.entity == ATTRIBUTES and node.field.key == "name" and node.op in _WHOLE:
            return _named(node, dialect)
        if node.field.entity == ATTRIBUTES:
            return _attribute(known[node.field.key], node, dialect)
        return _tag(tags.alias(), serial, node, dialect)
    if isinstance(node, Not):
        return sa.not_(_condition(node.part, known, tags, serial, dialect))
    parts = [_condition(part, known, tags, serial, dialect) for part in node.parts]
    return sa.and_(sa.true(), *parts) if isinstance(node, And) else sa.or_(sa.false(), *parts)


def _named(asked: Compare, dialect: str) -> Condition:
    """Models of a name, also of one they had before, as whoever asks for them by name finds them by it too."""
    called, project = model.alias(), caller().project
    mine = (
        called.c.project == project,
        called.c.deleted_at.is_(None),
        matches(called.c.name, asked.op, asked.value, dialect),
    )
    had = model_redirect.c.project == project, matches(model_redirect.c.name, asked.op, asked.value, dialect)
    return model.c.serial.in_(
        sa.union_all(sa.select(called.c.serial).where(*mine), sa.select(model_redirect.c.model).where(*had))
    )


def _attribute(column: sa.ColumnElement[Any], asked: Compare, dialect: str) -> Condition:
    """An empty text counts as missing, and what is missing compares with nothing."""
    number = asked.field.key in NUMBERS
    if asked.op in ("IS NULL", "IS NOT NULL"):
        missing = sa.false() if number else column == ""
        return missing if asked.op == "IS NULL" else sa.not_(missing)
    value = asked.value
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 2**63
        column, value = (column, int(value)) if whole else (sa.cast(column, Real), value)
    found = matches(column, asked.op, value, dialect)
    return found if number else sa.and_(column != "", found)


def _tag(tags: sa.FromClause, serial: sa.ColumnElement[int], asked: Compare, dialect: str) -> Condition:
    mine = (tags.columns[0] == serial, tags.c.key == asked.field.key)
    if asked.op in ("IS NULL", "IS NOT NULL"):
        there = sa.exists().where(*mine).correlate_except(tags)
        return sa.not_(there) if asked.op == "IS NULL" else there
    return sa.exists().where(*mine, matches(tags.c.value, asked.op, asked.value, dialect)).correlate_except(tags)


def field(name: str) -> Field:
    """The field of an attribute."""
    return Field(ATTRIBUTES, name)
