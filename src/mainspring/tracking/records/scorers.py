"""Rows of scorers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.tracking.judging import Scorer
from mainspring.tracking.records.tables import experiment, scorer

_SHOWN = [scorer.c.id, experiment.c.id, scorer.c.name, scorer.c.version, scorer.c.content, scorer.c.created_at]
_FROM = scorer.join(experiment, experiment.c.number == scorer.c.experiment)


def add(conn: Connection, owner: int, made: Scorer) -> None:
    """Insert a version of the experiment that is interned as `owner`."""
    row = {name: getattr(made, name) for name in ("id", "name", "version", "content", "created_at")}
    conn.execute(sa.insert(scorer).values(experiment=owner, **row))


def versions(conn: Connection, owner: int, name: str) -> list[Scorer]:
    """All versions of a name, oldest first."""
    found = sa.select(*_SHOWN).select_from(_FROM).where(scorer.c.experiment == owner, scorer.c.name == name)
    return [Scorer(*row) for row in conn.execute(found.order_by(scorer.c.version))]


def newest(conn: Connection, owners: Sequence[int]) -> list[Scorer]:
    """The newest version of each name in some experiments, by experiment and name."""
    other = scorer.alias()
    last = sa.select(sa.func.max(other.c.version)).where(
        other.c.experiment == scorer.c.experiment, other.c.name == scorer.c.name
    )
    found = sa.select(*_SHOWN).select_from(_FROM)
    found = found.where(scorer.c.experiment.in_(owners), scorer.c.version == last.scalar_subquery())
    return [Scorer(*row) for row in conn.execute(found.order_by(scorer.c.experiment, scorer.c.name))]


def remove(conn: Connection, owner: int, name: str, version: int | None) -> int:
    """Delete a version, or all for None; how many there were."""
    gone = sa.delete(scorer).where(scorer.c.experiment == owner, scorer.c.name == name)
    return conn.execute(gone if version is None else gone.where(scorer.c.version == version)).rowcount
