"""Webhooks: who is told about what."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.core.values import dataclass
from mainspring.registry.notices import Webhook
from mainspring.registry.records.tables import webhook

_SHOWN = tuple(c for c in webhook.c if c.name not in ("project", "secret", "since"))


@dataclass(frozen=True, slots=True)
class Listener:
    """A webhook of any project, with what its deliveries need: it is told of events after `since`."""

    project: str
    since: int
    hook: Webhook


def add(conn: Connection, made: Webhook, *, secret: str, since: int) -> None:
    """Insert a webhook; `secret` is sealed."""
    conn.execute(sa.insert(webhook).values(project=caller().project, secret=secret, since=since, **_row(made)))


def find(conn: Connection, webhook_id: str) -> tuple[Webhook, str] | None:
    """A webhook and its sealed secret."""
    row = conn.execute(sa.select(*_SHOWN, webhook.c.secret).where(*_is(webhook_id))).mappings().first()
    return None if row is None else (_webhook(row), str(row["secret"]))


def list_all(conn: Connection, *, limit: int, before: str) -> list[Webhook]:
    """Webhooks, newest first, those made before the one with the id `before`."""
    found = sa.select(*_SHOWN).where(webhook.c.project == caller().project)
    if before:
        found = found.where(webhook.c.id < before)
    return [_webhook(row) for row in conn.execute(found.order_by(webhook.c.id.desc()).limit(limit)).mappings()]


def listeners(conn: Connection) -> list[Listener]:
    """Active webhooks of all projects."""
    found = sa.select(*_SHOWN, webhook.c.project, webhook.c.since).where(webhook.c.status == "active")
    return [Listener(row["project"], row["since"], _webhook(row)) for row in conn.execute(found).mappings()]


def change(conn: Connection, made: Webhook, **kept: object) -> None:
    """Replace a webhook, and what is kept beside it: `secret`, sealed, and `since`."""
    conn.execute(sa.update(webhook).where(*_is(made.id)).values(**_row(made), **kept))


def drop(conn: Connection, webhook_id: str) -> bool:
    """Delete a webhook; False when there was none."""
    return conn.execute(sa.delete(webhook).where(*_is(webhook_id))).rowcount > 0


def _is(webhook_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return webhook.c.project == caller().project, webhook.c.id == webhook_id


def _row(made: Webhook) -> dict[str, object]:
    names: Sequence[str] = [c.name for c in _SHOWN]
    return {name: getattr(made, name) for name in names} | {"events": list(made.events)}


def _webhook(row: sa.RowMapping) -> Webhook:
    values = {c.name: row[c.name] for c in _SHOWN}
    return Webhook(**values | {"events": tuple(values["events"])})
