"""The registry's tables and the statements over them. Every statement is of the caller's project."""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.registry.model import AliasChange, Example, Model, ModelVersion, Signature
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

model = sa.Table(
    "model",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("latest", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sqlite_strict=True,
)

model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("model", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("key", Id),
    sa.Column("digest", Id, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("signature", Json, nullable=False),
    sa.Column("flavour", Id, nullable=False),
    sa.Column("task", Id, nullable=False),
    sa.Column("classes", Json, nullable=False),
    sa.Column("example", Json, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("datasets", Json, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("size_bytes", Micros, nullable=False),
    sa.Column("environment", Json, nullable=False),
    sa.Column("signed_by", Id, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "model", "key"),
    sa.Index("ix_model_version_project_run_id", "project", "run_id"),
    sqlite_strict=True,
)
"""`manifest` is the canonical text whose digest is `digest`; `seal` the signature over model, number and digest."""

alias_change = sa.Table(
    "alias_change",
    metadata,
    sa.Column("seq", Micros, sa.Identity(), primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("model", Id, nullable=False),
    sa.Column("alias", Id, nullable=False),
    sa.Column("version", Micros),
    sa.Column("before", Micros),
    sa.Column("at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_alias_change_project_model_alias_seq", "project", "model", "alias", "seq"),
    sqlite_strict=True,
)
"""Where every alias pointed, since when. The last change of an alias is where it points now."""

_SHOWN = [c for c in model_version.c if c.name not in ("project", "key", "manifest", "seal")]


def next_number(conn: Connection, name: str, at: int) -> int:
    """Take the next version number of a model, adding the model first; holds the row until the transaction ends."""
    project = caller().project
    first = insert_into(conn, model).values(project=project, name=name, latest=0, created_at=at, updated_at=at)
    conn.execute(first.on_conflict_do_nothing())
    taken = (
        sa.update(model)
        .where(model.c.project == project, model.c.name == name)
        .values(latest=model.c.latest + 1, updated_at=at)
        .returning(model.c.latest)
    )
    return cast(int, conn.execute(taken).scalar_one())


def add_version(conn: Connection, version: ModelVersion, *, key: str, manifest: str, seal: str) -> None:
    """Insert a version."""
    row = {name: getattr(version, name) for name in (c.name for c in _SHOWN) if name not in ("signature", "example")}
    row |= {
        "signature": version.signature.plain(),
        "datasets": list(version.datasets),
        "classes": list(version.classes),
    }
    example = {"inputs": version.example.inputs, "outputs": version.example.outputs}
    kept = {"project": caller().project, "key": key or None, "manifest": manifest, "seal": seal, "example": example}
    conn.execute(sa.insert(model_version).values(**row, **kept))


def by_key(conn: Connection, name: str, key: str) -> ModelVersion | None:
    """The version that was registered under an idempotency key."""
    found = sa.select(*_SHOWN).where(*_of(model_version, name), model_version.c.key == key)
    row = conn.execute(found).mappings().first()
    return None if row is None else _version(row)


def find_version(conn: Connection, name: str, number: int) -> ModelVersion | None:
    """One version."""
    found = sa.select(*_SHOWN).where(*_of(model_version, name), model_version.c.number == number)
    row = conn.execute(found).mappings().first()
    return None if row is None else _version(row)


def list_versions(conn: Connection, name: str, *, limit: int, before: int) -> list[ModelVersion]:
    """Versions of a model, newest first, those below the number `before` when it is not 0."""
    found = sa.select(*_SHOWN).where(*_of(model_version, name))
    if before:
        found = found.where(model_version.c.number < before)
    rows = conn.execute(found.order_by(model_version.c.number.desc()).limit(limit)).mappings()
    return [_version(row) for row in rows]


def sealed(conn: Connection, name: str, number: int) -> tuple[str, str]:
    """Manifest text and signature of a version that exists."""
    found = sa.select(model_version.c.manifest, model_version.c.seal)
    row = conn.execute(found.where(*_of(model_version, name), model_version.c.number == number)).one()
    return row.manifest, row.seal


def list_models(conn: Connection, *, limit: int, after: str) -> list[Model]:
    """Models by name, those after the name `after`, with where their aliases point."""
    project = caller().project
    found = sa.select(model.c.name, model.c.latest, model.c.created_at, model.c.updated_at)
    found = found.where(model.c.project == project, model.c.name > after).order_by(model.c.name).limit(limit)
    rows = conn.execute(found).all()
    pointing = _pointing(conn, [row.name for row in rows])
    return [Model(*row, pointing.get(row.name, {})) for row in rows]


def find_model(conn: Connection, name: str) -> Model | None:
    """One model with where its aliases point."""
    found = sa.select(model.c.name, model.c.latest, model.c.created_at, model.c.updated_at)
    row = conn.execute(found.where(model.c.project == caller().project, model.c.name == name)).first()
    return None if row is None else Model(*row, _pointing(conn, [name]).get(name, {}))


def lock_model(conn: Connection, name: str) -> bool:
    """Hold a model's row until the transaction ends, so that its aliases move one after the other."""
    found = sa.select(model.c.name).where(model.c.project == caller().project, model.c.name == name).with_for_update()
    return conn.execute(found).first() is not None


def last_change(conn: Connection, name: str, alias: str, at: int | None = None) -> AliasChange | None:
    """The last change of an alias, or the last at or before `at`."""
    found = sa.select(*_CHANGE).where(*_of(alias_change, name), alias_change.c.alias == alias)
    if at is not None:
        found = found.where(alias_change.c.at <= at)
    row = conn.execute(found.order_by(alias_change.c.seq.desc()).limit(1)).first()
    return None if row is None else AliasChange(*row)


def list_changes(conn: Connection, name: str, alias: str, limit: int) -> list[AliasChange]:
    """Changes of one alias, or with "" of all aliases of a model, newest first."""
    found = sa.select(*_CHANGE).where(*_of(alias_change, name))
    if alias:
        found = found.where(alias_change.c.alias == alias)
    return [AliasChange(*row) for row in conn.execute(found.order_by(alias_change.c.seq.desc()).limit(limit))]


def add_change(conn: Connection, change: AliasChange) -> None:
    """Insert a change of an alias."""
    row = {name: getattr(change, name) for name in (c.name for c in _CHANGE)}
    conn.execute(sa.insert(alias_change).values(project=caller().project, **row))


_CHANGE = [alias_change.c[n] for n in ("model", "alias", "version", "before", "at", "actor", "reason")]


def _pointing(conn: Connection, names: list[str]) -> dict[str, dict[str, int]]:
    last = (
        sa.select(sa.func.max(alias_change.c.seq))
        .where(alias_change.c.project == caller().project, alias_change.c.model.in_(names))
        .group_by(alias_change.c.model, alias_change.c.alias)
    )
    found = sa.select(alias_change.c.model, alias_change.c.alias, alias_change.c.version)
    found = found.where(alias_change.c.seq.in_(last), alias_change.c.version.is_not(None))
    pointing: dict[str, dict[str, int]] = {}
    for row in conn.execute(found.order_by(alias_change.c.alias)):
        pointing.setdefault(row.model, {})[row.alias] = row.version
    return pointing


def _of(table: sa.Table, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c.project == caller().project, table.c.model == name


def _version(row: sa.RowMapping) -> ModelVersion:
    values: dict[str, object] = {str(name): value for name, value in row.items()}
    example = cast("dict[str, dict[str, list[object]]]", values["example"])
    values["signature"] = Signature.of(values["signature"])
    values["example"] = Example(example["inputs"], example["outputs"])  # type: ignore[arg-type]  # JSON holds scalars
    for name in ("classes", "datasets"):
        values[name] = tuple(cast("list[object]", values[name]))
    return ModelVersion(**values)  # type: ignore[arg-type]  # one column for each field
