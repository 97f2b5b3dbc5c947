"""Models: names, what they are renamed to, their tags and counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.registry.model import PROMPT_TAG, Model
from mainspring.registry.records.moves import pointing
from mainspring.registry.records.tables import model, model_redirect, model_tag, model_version
from mainspring.storage.upsert import insert_into

_LATEST = (
    sa.select(sa.func.max(model_version.c.number))
    .where(model_version.c.model == model.c.serial, model_version.c.deleted_at.is_(None))
    .correlate(model)
    .scalar_subquery()
)
SHOWN = (
    model.c.serial,
    model.c.name,
    sa.func.coalesce(_LATEST, 0).label("latest"),
    model.c.created_at,
    model.c.updated_at,
    model.c.description,
)


def add(conn: Connection, name: str, description: str, at: int) -> int | None:
    """Insert a model and return its serial; None when the name is taken. A name that models had before goes on
    counting where they stopped, and finds the new one from now on."""
    project = caller().project
    had = sa.select(model_redirect.c.model).where(model_redirect.c.project == project, model_redirect.c.name == name)
    before = sa.select(sa.func.coalesce(sa.func.max(model.c.counted), 0))
    before = before.where(model.c.project == project, sa.or_(model.c.name == name, model.c.serial.in_(had)))
    made = insert_into(conn, model).values(
        project=project,
        name=name,
        description=description,
        counted=before.scalar_subquery(),
        created_at=at,
        updated_at=at,
    )
    serial = conn.execute(made.on_conflict_do_nothing().returning(model.c.serial)).scalar()
    if serial is not None:
        forget_redirect(conn, name)
    return cast("int | None", serial)


def serial_of(conn: Connection, name: str, *, redirected: bool = True) -> int | None:
    """The serial of a living model by its name or, when `redirected`, by a name it had before."""
    project = caller().project
    found = sa.select(model.c.serial).where(model.c.project == project, model.c.deleted_at.is_(None))
    serial = conn.execute(found.where(model.c.name == name)).scalar()
    if serial is None and redirected:
        had = sa.select(model_redirect.c.model)
        had = had.where(model_redirect.c.project == project, model_redirect.c.name == name)
        serial = conn.execute(found.where(model.c.serial == had.scalar_subquery())).scalar()
    return cast("int | None", serial)


def find(conn: Connection, serial: int) -> Model:
    """A model that is there."""
    return models_of(conn, conn.execute(sa.select(*SHOWN).where(model.c.serial == serial)).all())[0]


def list_all(conn: Connection, *, limit: int, after: str, prompts: bool) -> list[Model]:
    """Living models by name, those after the name `after`; with or without prompts."""
    found = sa.select(*SHOWN).where(model.c.project == caller().project, model.c.deleted_at.is_(None))
    if not prompts:
        marked = sa.select(model_tag.c.model).where(
            model_tag.c.key == PROMPT_TAG, sa.func.lower(model_tag.c.value) == "true"
        )
        found = found.where(model.c.serial.not_in(marked))
    return models_of(conn, conn.execute(found.where(model.c.name > after).order_by(model.c.name).limit(limit)).all())


def names(conn: Connection, limit: int = 500) -> list[str]:
    """Some names of living models."""
    found = sa.select(model.c.name).where(model.c.project == caller().project, model.c.deleted_at.is_(None))
    return list(conn.execute(found.order_by(model.c.name).limit(limit)).scalars())


def models_of(conn: Connection, rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[Model]:
    """Models from rows with the columns `SHOWN`, with aliases and tags."""
    serials = [row.serial for row in rows]
    aliases, tags = pointing(conn, serials), tags_of(conn, model_tag, serials)
    return [
        Model(
            name=row.name,
            latest=row.latest,
            created_at=row.created_at,
            updated_at=row.updated_at,
            aliases=aliases.get(row.serial, {}),
            description=row.description,
            tags=tags.get(row.serial, {}),
        )
        for row in rows
    ]


def lock(conn: Connection, serial: int) -> None:
    """Hold a model's row until the transaction ends, so that what belongs to it changes one after the other."""
    conn.execute(sa.select(model.c.serial).where(model.c.serial == serial).with_for_update())


def change(conn: Connection, serial: int, at: int, **values: object) -> None:
    """Change a model."""
    conn.execute(sa.update(model).where(model.c.serial == serial).values(updated_at=at, **values))


def next_number(conn: Connection, serial: int, at: int, least: int = 0) -> int:
    """Take the next version number of a model, at least `least`; holds its row until the transaction ends."""
    following = sa.case((model.c.counted + 1 < least, least), else_=model.c.counted + 1)
    taken = sa.update(model).where(model.c.serial == serial).values(counted=following, updated_at=at)
    return cast(int, conn.execute(taken.returning(model.c.counted)).scalar_one())


def redirect(conn: Connection, name: str, serial: int, at: int) -> None:
    """Let a name that a model had find it."""
    put = insert_into(conn, model_redirect).values(project=caller().project, name=name, model=serial, at=at)
    conn.execute(put.on_conflict_do_update(index_elements=["project", "name"], set_={"model": serial, "at": at}))


def forget_redirect(conn: Connection, name: str) -> None:
    """Let an old name find nothing."""
    where = model_redirect.c.project == caller().project, model_redirect.c.name == name
    conn.execute(sa.delete(model_redirect).where(*where))


def former_names(conn: Connection, serial: int) -> list[str]:
    """Names a model had before that still find it."""
    found = sa.select(model_redirect.c.name).where(model_redirect.c.model == serial)
    return list(conn.execute(found.order_by(model_redirect.c.name)).scalars())


def set_tags(conn: Connection, table: sa.Table, serial: int, tags: Mapping[str, str]) -> None:
    """Insert or replace tags of a model or a version."""
    owner = table.c[0].name
    put = insert_into(conn, table)
    put = put.on_conflict_do_update(index_elements=[owner, "key"], set_={"value": put.excluded.value})
    conn.execute(put, [{owner: serial, "key": key, "value": value} for key, value in sorted(tags.items())])


def drop_tag(conn: Connection, table: sa.Table, serial: int, key: str) -> bool:
    """Delete a tag of a model or a version; False when there was none."""
    gone = sa.delete(table).where(table.c[0] == serial, table.c.key == key)
    return conn.execute(gone).rowcount > 0


def tags_of(conn: Connection, table: sa.Table, serials: Sequence[int]) -> dict[int, dict[str, str]]:
    """Tags of models or versions by serial."""
    found: dict[int, dict[str, str]] = {}
    for start in range(0, len(serials), 500):
        part = table.c[0].in_(serials[start : start + 500])
        for serial, key, value in conn.execute(sa.select(table).where(part).order_by(table.c.key)):
            found.setdefault(serial, {})[key] = value
    return found
