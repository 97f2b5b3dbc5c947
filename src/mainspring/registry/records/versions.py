"""Versions: packages, where they come from, and their tags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.registry.model import Example, ModelVersion, Signature
from mainspring.registry.records.models import tags_of
from mainspring.registry.records.moves import pointing
from mainspring.registry.records.tables import model, model_version, model_version_tag

_HIDDEN = ("serial", "project", "model", "key", "manifest", "seal", "deleted_at")
_OWN = tuple(c.name for c in model_version.c if c.name not in _HIDDEN)
SHOWN = (
    model_version.c.serial,
    model_version.c.model.label("owner"),
    model.c.name.label("model"),
    *(model_version.c[name] for name in _OWN),
)
FROM = model_version.join(model, model.c.serial == model_version.c.model)


def add(conn: Connection, serial: int, version: ModelVersion, *, key: str, manifest: str, seal: str) -> int:
    """Insert a version of the model `serial` and return its own serial."""
    row = {name: getattr(version, name) for name in _OWN}
    row |= {
        "signature": None if version.signature is None else version.signature.plain(),
        "datasets": list(version.datasets),
        "classes": list(version.classes),
        "example": {"inputs": version.example.inputs, "outputs": version.example.outputs},
    }
    kept = {"project": caller().project, "model": serial, "key": key or None, "manifest": manifest, "seal": seal}
    made = sa.insert(model_version).values(**row, **kept).returning(model_version.c.serial)
    return cast(int, conn.execute(made).scalar_one())


def by_key(conn: Connection, serial: int, key: str) -> ModelVersion | None:
    """The version that was registered under an idempotency key."""
    return _one(conn, serial, model_version.c.key == key)


def by_digest(conn: Connection, digest: str) -> ModelVersion | None:
    """The newest version of the caller's project with a package of this digest that is not deleted."""
    found = _select().where(model_version.c.digest == digest, model_version.c.project == caller().project)
    found = found.where(model_version.c.deleted_at.is_(None)).order_by(model_version.c.serial.desc()).limit(1)
    rows = versions_of(conn, conn.execute(found).mappings().all())
    return rows[0] if rows else None


def find(conn: Connection, serial: int, number: int) -> ModelVersion | None:
    """One version that is not deleted."""
    return _one(conn, serial, model_version.c.number == number)


def serial_of(conn: Connection, serial: int, number: int) -> int | None:
    """The serial of a version that is not deleted."""
    found = sa.select(model_version.c.serial).where(*_of(serial), model_version.c.number == number)
    return cast("int | None", conn.execute(found).scalar())


def list_all(conn: Connection, serial: int, *, limit: int, before: int) -> list[ModelVersion]:
    """Versions of a model, newest first, those below the number `before` when it is not 0."""
    found = _select().where(*_of(serial))
    if before:
        found = found.where(model_version.c.number < before)
    return versions_of(conn, conn.execute(found.order_by(model_version.c.number.desc()).limit(limit)).mappings().all())


def in_stage(conn: Connection, serial: int, stage: str) -> list[ModelVersion]:
    """Versions of a model that are in a stage."""
    found = _select().where(*_of(serial), model_version.c.stage == stage).order_by(model_version.c.number)
    return versions_of(conn, conn.execute(found).mappings().all())


def living_at(conn: Connection, serial: int, at: int) -> list[int]:
    """Numbers of the versions of a model that were there at a time, deleted since or not."""
    gone = model_version.c.deleted_at
    found = sa.select(model_version.c.number).where(model_version.c.model == serial, model_version.c.created_at <= at)
    found = found.where(sa.or_(gone.is_(None), gone > at)).order_by(model_version.c.number)
    return list(conn.execute(found).scalars())


def of_run(conn: Connection, run_id: str) -> list[ModelVersion]:
    """Versions that a run made, oldest first."""
    found = _select().where(model_version.c.project == caller().project, model_version.c.run_id == run_id, *_LIVING)
    return versions_of(conn, conn.execute(found.order_by(model_version.c.serial)).mappings().all())


def naming(conn: Connection, ref: str, limit: int = 500) -> list[ModelVersion]:
    """Versions that name a dataset, newest first. Few of the rows hold its text, so those are looked at."""
    text = sa.cast(model_version.c.datasets, sa.Text)
    named = sa.or_(model_version.c.reference == ref, text.contains(json.dumps(ref), autoescape=True))
    found = _select().where(model_version.c.project == caller().project, named, *_LIVING)
    return versions_of(conn, conn.execute(found.order_by(model_version.c.serial.desc()).limit(limit)).mappings().all())


def newest_by_stage(conn: Connection, serials: Sequence[int]) -> dict[int, list[ModelVersion]]:
    """The greatest version of each stage of models, by the model's serial, in the order of the numbers."""
    found: dict[int, list[ModelVersion]] = {}
    for start in range(0, len(serials), 500):
        part = model_version.c.model.in_(serials[start : start + 500])
        newest = sa.select(model_version.c.model, sa.func.max(model_version.c.number)).where(part, *_LIVING)
        newest = newest.group_by(model_version.c.model, model_version.c.stage)
        key = sa.tuple_(model_version.c.model, model_version.c.number)
        rows = conn.execute(_select().where(key.in_(newest), *_LIVING).order_by(model_version.c.number))
        listed = rows.mappings().all()
        for row, version in zip(listed, versions_of(conn, listed), strict=True):
            found.setdefault(cast(int, row["owner"]), []).append(version)
    return found


def sealed(conn: Connection, serial: int, number: int) -> tuple[str, str]:
    """Manifest text and signature of a version that exists."""
    found = sa.select(model_version.c.manifest, model_version.c.seal)
    row = conn.execute(found.where(*_of(serial), model_version.c.number == number)).one()
    return row.manifest, row.seal


def packaged(conn: Connection, serial: int) -> list[tuple[int, str]]:
    """Number and digest of every version of a model that has a package, deleted ones too."""
    found = sa.select(model_version.c.number, model_version.c.digest)
    rows = conn.execute(found.where(model_version.c.model == serial, model_version.c.digest != ""))
    return [(row.number, row.digest) for row in rows]


def seal(conn: Connection, serial: int, number: int, text: str) -> None:
    """Replace the signature of a version, deleted or not."""
    where = model_version.c.model == serial, model_version.c.number == number
    conn.execute(sa.update(model_version).where(*where).values(seal=text))


def change(conn: Connection, serial: int, number: int, **values: object) -> None:
    """Change what may change of a version."""
    where = model_version.c.model == serial, model_version.c.number == number
    conn.execute(sa.update(model_version).where(*where).values(**values))


def delete_all(conn: Connection, serial: int, at: int) -> list[int]:
    """Mark all versions of a model as deleted; returns their numbers, newest first."""
    gone = sa.update(model_version).where(*_of(serial)).values(deleted_at=at).returning(model_version.c.number)
    return sorted(conn.execute(gone).scalars(), reverse=True)


def versions_of(conn: Connection, rows: Sequence[sa.RowMapping]) -> list[ModelVersion]:
    """Versions from rows with the columns `SHOWN`, with their tags and aliases."""
    tags = tags_of(conn, model_version_tag, [cast(int, row["serial"]) for row in rows])
    pointed = pointing(conn, sorted({cast(int, row["owner"]) for row in rows}))
    found = []
    for row in rows:
        aliases = pointed.get(cast(int, row["owner"]), {})
        mine = tuple(alias for alias, number in aliases.items() if number == row["number"])
        found.append(_version(dict(row), tags.get(cast(int, row["serial"]), {}), mine))
    return found


_LIVING = (model_version.c.deleted_at.is_(None),)


def _select() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(*SHOWN).select_from(FROM)


def _one(conn: Connection, serial: int, condition: sa.ColumnElement[bool]) -> ModelVersion | None:
    rows = conn.execute(_select().where(*_of(serial), condition)).mappings().all()
    return versions_of(conn, rows)[0] if rows else None


def _of(serial: int) -> tuple[sa.ColumnElement[bool], ...]:
    return model_version.c.model == serial, *_LIVING


def _version(values: dict[str, object], tags: dict[str, str], aliases: tuple[str, ...]) -> ModelVersion:
    values = {str(name): value for name, value in values.items() if name not in ("serial", "owner")}
    example = cast("dict[str, dict[str, list[object]]]", values["example"])
    values["signature"] = None if values["signature"] is None else Signature.of(values["signature"])
    values["example"] = Example(example["inputs"], example["outputs"])  # type: ignore[arg-type]  # JSON holds scalars
    for name in ("classes", "datasets"):
        values[name] = tuple(cast("list[object]", values[name]))
    return ModelVersion(**values, tags=tags, aliases=aliases)  # type: ignore[arg-type]  # one column for each field
