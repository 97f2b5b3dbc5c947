"""Aliases and stages: every move is a row, the last one says where it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.registry.model import AliasChange, StageChange
from mainspring.registry.records.tables import alias_change, model, stage_change

_ALIAS = (model.c.name, *(alias_change.c[n] for n in ("alias", "version", "before", "at", "actor", "reason")))
_STAGE = (model.c.name, *(stage_change.c[n] for n in ("version", "stage", "before", "at", "actor", "reason")))


def last_change(conn: Connection, serial: int, alias: str, at: int | None = None) -> AliasChange | None:
    """The last change of an alias of a model, or the last at or before `at`."""
    found = _aliases(serial).where(alias_change.c.alias == alias)
    if at is not None:
        found = found.where(alias_change.c.at <= at)
    row = conn.execute(found.order_by(alias_change.c.seq.desc()).limit(1)).first()
    return None if row is None else AliasChange(*row)


def list_changes(conn: Connection, serial: int, alias: str, version: int, limit: int) -> list[AliasChange]:
    """Changes of one alias or with "" of all aliases of a model, newest first; with a version only its own."""
    found = _aliases(serial)
    if alias:
        found = found.where(alias_change.c.alias == alias)
    if version:
        found = found.where(sa.or_(alias_change.c.version == version, alias_change.c.before == version))
    return [AliasChange(*row) for row in conn.execute(found.order_by(alias_change.c.seq.desc()).limit(limit))]


def add_change(conn: Connection, serial: int, change: AliasChange) -> None:
    """Insert a change of an alias."""
    row = {name: getattr(change, name) for name in ("alias", "version", "before", "at", "actor", "reason")}
    conn.execute(sa.insert(alias_change).values(model=serial, **row))


def pointing(conn: Connection, serials: Sequence[int]) -> dict[int, dict[str, int]]:
    """Where the aliases of models point now, by serial and alias."""
    found: dict[int, dict[str, int]] = {}
    for start in range(0, len(serials), 500):
        part = alias_change.c.model.in_(serials[start : start + 500])
        last = sa.select(sa.func.max(alias_change.c.seq)).where(part)
        last = last.group_by(alias_change.c.model, alias_change.c.alias)
        shown = sa.select(alias_change.c.model, alias_change.c.alias, alias_change.c.version)
        shown = shown.where(alias_change.c.seq.in_(last), alias_change.c.version.is_not(None))
        for row in conn.execute(shown.order_by(alias_change.c.alias)):
            found.setdefault(row.model, {})[row.alias] = row.version
    return found


def add_stage(conn: Connection, serial: int, change: StageChange) -> None:
    """Insert a move of a version to another stage."""
    row = {name: getattr(change, name) for name in ("version", "stage", "before", "at", "actor", "reason")}
    conn.execute(sa.insert(stage_change).values(model=serial, **row))


def list_stages(conn: Connection, serial: int, version: int, limit: int) -> list[StageChange]:
    """Moves of a version between stages, or with 0 of all versions of a model, newest first."""
    found = sa.select(*_STAGE).join(model, model.c.serial == stage_change.c.model)
    found = found.where(stage_change.c.model == serial)
    if version:
        found = found.where(stage_change.c.version == version)
    return [StageChange(*row) for row in conn.execute(found.order_by(stage_change.c.seq.desc()).limit(limit))]


def stages_at(conn: Connection, serial: int, at: int) -> dict[int, str]:
    """The stage that each version of a model had last moved to at a time; versions that never moved are left out."""
    last = sa.select(sa.func.max(stage_change.c.seq)).where(stage_change.c.model == serial, stage_change.c.at <= at)
    found = sa.select(stage_change.c.version, stage_change.c.stage)
    found = found.where(stage_change.c.seq.in_(last.group_by(stage_change.c.version)))
    return {row.version: row.stage for row in conn.execute(found.order_by(stage_change.c.version))}


def _aliases(serial: int) -> sa.Select[*tuple[Any, ...]]:
    found = sa.select(*_ALIAS).join(model, model.c.serial == alias_change.c.model)
    return found.where(alias_change.c.model == serial)
