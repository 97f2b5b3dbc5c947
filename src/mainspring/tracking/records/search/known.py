"""Which names of metrics, params and tags there are."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.tracking.model import KnownKeys
from mainspring.tracking.records.tables import metric_key, param, run, tag

NEWEST = 500
"""Of so many runs the names of params and tags are known."""


def known_keys(conn: Connection, experiments: Sequence[int]) -> KnownKeys:
    """The names in some experiments."""
    names = sa.select(metric_key.c.name).where(metric_key.c.experiment.in_(experiments)).distinct()
    newest = sa.select(run.c.number).where(run.c.experiment.in_(experiments), run.c.deleted_at.is_(None))
    newest = newest.order_by(run.c.started_at.desc()).limit(NEWEST)
    numbers = conn.execute(newest).scalars().all()
    texts = [sa.select(table.c.key).where(table.c.run.in_(numbers)).distinct() for table in (param, tag)]
    return KnownKeys(*(tuple(sorted(conn.execute(found).scalars())) for found in (names, *texts)))
