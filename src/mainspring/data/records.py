"""The data room's tables: datasets, feature views and their versions. The rows themselves are in Delta tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.data.features.model import Feature, FeatureView, Materialization, ViewSpec
from mainspring.data.model import Column, Dataset, DatasetVersion
from mainspring.data.splits.model import Part, Split, SplitSpec, TestUse
from mainspring.storage.references import names_blob, names_no_blob
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("latest", Micros, nullable=False),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("changed_at", Micros, nullable=False),
    sqlite_strict=True,
)

dataset_version = sa.Table(
    "dataset_version",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("dataset", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("quarantined", Micros, nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("checks", Json, nullable=False),
    sa.Column("digest", Id, nullable=False, info=names_no_blob("the rows, which are in a Delta table")),
    sa.Column("profile", Id, nullable=False, info=names_blob()),
    sa.Column("parents", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("delta_version", Micros, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("time_column", Id, nullable=False),
    sa.Column("dedup_key", Id, nullable=False),
    sqlite_strict=True,
)
_keyed = dataset_version.c.dedup_key != ""
sa.Index(
    "uq_dataset_version_key",
    dataset_version.c.project,
    dataset_version.c.dataset,
    dataset_version.c.dedup_key,
    unique=True,
    sqlite_where=_keyed,
    postgresql_where=_keyed,
)

feature_view = sa.Table(
    "feature_view",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("keys", Json, nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("digest", Id, nullable=False, info=names_no_blob("what the view says")),
    sa.Column("created_at", Micros, nullable=False),
    sqlite_strict=True,
)

feature_materialization = sa.Table(
    "feature_materialization",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("view", Id, nullable=False),
    sa.Column("number", Micros, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("as_of", Micros, nullable=False),
    sa.Column("entities", Micros, nullable=False),
    sa.Column("size_bytes", Micros, nullable=False),
    sa.Column("made_at", Micros, nullable=False),
    sa.Index("ix_feature_materialization_view", "project", "view", "id"),
    sqlite_strict=True,
)

split = sa.Table(
    "split",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("dataset", Id, nullable=False),
    sa.Column("dataset_digest", Id, nullable=False, info=names_no_blob("the rows, which are in a Delta table")),
    sa.Column("spec", Json, nullable=False),
    sa.Column("parts", Json, nullable=False, info=names_no_blob("the ids of rows")),
    sa.Column("digest", Id, nullable=False, info=names_blob()),
    sa.Column("assignment", Id, nullable=False, info=names_blob()),
    sa.Column("uses", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("project", "name", "dataset", "digest"),
    sqlite_strict=True,
)

split_use = sa.Table(
    "split_use",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("use", Micros, primary_key=True, autoincrement=False),
    sa.Column("actor", Id, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Openings of sealed rows."""

_NAMES = [name for name in dataset_version.c.keys() if name not in ("project", "dedup_key")]  # noqa: SIM118
_SHOWN = [dataset.c[name] for name in ("name", "latest", "rows", "created_at", "changed_at")]


def hold_dataset(conn: Connection, name: str, *, now: int) -> None:
    """Make sure that there is the dataset, and let no other transaction add a version to it until this one ends."""
    first = {"project": caller().project, "name": name, "latest": 0, "rows": 0, "created_at": now, "changed_at": now}
    insert = insert_into(conn, dataset).values(**first)
    conn.execute(insert.on_conflict_do_update(index_elements=["project", "name"], set_={"latest": dataset.c.latest}))


def add_version(conn: Connection, made: DatasetVersion, *, key: str) -> DatasetVersion:
    """Store a version under the next number of its dataset, which is held, and give it back with that number."""
    project = caller().project
    its_dataset = sa.and_(dataset.c.project == project, dataset.c.name == made.dataset)
    counted = dataset.update().where(its_dataset).values(latest=dataset.c.latest + 1, rows=made.rows)
    counted = counted.values(changed_at=made.created_at).returning(dataset.c.latest)
    number = conn.execute(counted).scalar_one()
    values = {name: getattr(made, name) for name in _NAMES}
    values |= {"number": number, "columns": [asdict(column) for column in made.columns]}
    values |= {"checks": list(made.checks), "parents": list(made.parents)}
    conn.execute(dataset_version.insert().values(project=project, dedup_key=key, **values))
    return _version({**values})


def find_version(conn: Connection, name: str, number: int | None = None) -> DatasetVersion | None:
    """A version by number, the newest by default."""
    query = _versions_of(name).order_by(dataset_version.c.number.desc()).limit(1)
    if number is not None:
        query = query.where(dataset_version.c.number == number)
    row = conn.execute(query).one_or_none()
    return None if row is None else _version(dict(row._mapping))


def find_keyed(conn: Connection, name: str, key: str) -> DatasetVersion | None:
    """The version that was ingested under this key."""
    row = conn.execute(_versions_of(name).where(dataset_version.c.dedup_key == key)).one_or_none()
    return None if row is None else _version(dict(row._mapping))


def list_versions(conn: Connection, name: str, *, limit: int, before: int) -> list[DatasetVersion]:
    """Versions of a dataset, newest first, those below `before` (0: all)."""
    query = _versions_of(name).order_by(dataset_version.c.number.desc()).limit(limit)
    if before:
        query = query.where(dataset_version.c.number < before)
    return [_version(dict(row._mapping)) for row in conn.execute(query)]


def delta_versions(conn: Connection) -> dict[tuple[str, str], list[int]]:
    """The Delta versions of all dataset versions of all projects, by project and dataset."""
    c = dataset_version.c
    found: dict[tuple[str, str], list[int]] = {}
    for project, name, version in conn.execute(sa.select(c.project, c.dataset, c.delta_version)):
        found.setdefault((project, name), []).append(version)
    return found


def list_datasets(conn: Connection, *, limit: int, after: str) -> list[Dataset]:
    """Datasets of the project by name, those after the name `after`."""
    query = sa.select(*_SHOWN).where(dataset.c.project == caller().project, dataset.c.name > after)
    return [Dataset(**row._mapping) for row in conn.execute(query.order_by(dataset.c.name).limit(limit))]


def _versions_of(name: str) -> sa.Select[tuple[object, ...]]:
    columns = [dataset_version.c[column] for column in _NAMES]
    return sa.select(*columns).where(dataset_version.c.project == caller().project, dataset_version.c.dataset == name)


def _version(values: dict[str, object]) -> DatasetVersion:
    columns = cast("list[dict[str, object]]", values["columns"])
    values["columns"] = tuple(Column(**column) for column in columns)  # type: ignore[arg-type]
    values["checks"] = tuple(cast("list[str]", values["checks"]))
    values["parents"] = tuple(cast("list[str]", values["parents"]))
    return DatasetVersion(**values)  # type: ignore[arg-type]


def add_view(conn: Connection, made: FeatureView) -> None:
    """Store a version of a feature view."""
    said = {"spec": asdict(made.spec), "keys": [asdict(key) for key in made.keys]}
    said["columns"] = [asdict(column) for column in made.columns]
    about = {"name": made.name, "number": made.number, "digest": made.digest, "created_at": made.created_at}
    conn.execute(feature_view.insert().values(project=caller().project, **about, **said))


def find_view(conn: Connection, name: str, number: int | None = None) -> FeatureView | None:
    """A version of a feature view, the newest by default."""
    query = _views_of(name).limit(1)
    if number is not None:
        query = query.where(feature_view.c.number == number)
    row = conn.execute(query).one_or_none()
    return None if row is None else _view(dict(row._mapping))


def list_view_versions(conn: Connection, name: str) -> list[FeatureView]:
    """Versions of a feature view, newest first."""
    return [_view(dict(row._mapping)) for row in conn.execute(_views_of(name))]


def list_views(conn: Connection, *, limit: int, after: str) -> list[FeatureView]:
    """The newest version of each feature view of the project by name, those after the name `after`."""
    c = feature_view.c
    mine = sa.and_(c.project == caller().project, c.name > after)
    newest = sa.select(c.name, sa.func.max(c.number).label("number")).where(mine).group_by(c.name).subquery()
    same = sa.and_(c.name == newest.c.name, c.number == newest.c.number)
    query = sa.select(*_SAID).join(newest, same).where(mine).order_by(c.name).limit(limit)
    return [_view(dict(row._mapping)) for row in conn.execute(query)]


def add_materialization(conn: Connection, made: Materialization) -> None:
    """Store what was made of a feature view for lookups."""
    conn.execute(feature_materialization.insert().values(project=caller().project, **asdict(made)))


def list_materializations(conn: Connection, name: str, *, limit: int) -> list[Materialization]:
    """What was made of a feature view for lookups, newest first."""
    c = feature_materialization.c
    columns = [column for column in c if column.name != "project"]
    query = sa.select(*columns).where(c.project == caller().project, c.view == name).order_by(c.id.desc()).limit(limit)
    return [Materialization(**row._mapping) for row in conn.execute(query)]


_SAID = [column for column in feature_view.c if column.name != "project"]


def _views_of(name: str) -> sa.Select[tuple[object, ...]]:
    mine = sa.and_(feature_view.c.project == caller().project, feature_view.c.name == name)
    return sa.select(*_SAID).where(mine).order_by(feature_view.c.number.desc())


def _view(values: dict[str, object]) -> FeatureView:
    spec = cast("dict[str, object]", values["spec"])
    spec["features"] = tuple(Feature(**one) for one in cast("list[dict[str, str]]", spec["features"]))
    spec["entity"] = tuple(cast("list[str]", spec["entity"]))
    values["spec"] = ViewSpec(**spec)  # type: ignore[arg-type]
    for name in ("keys", "columns"):
        values[name] = tuple(Column(**one) for one in cast("list[dict[str, object]]", values[name]))  # type: ignore[arg-type]
    return FeatureView(**values)  # type: ignore[arg-type]


def add_split(conn: Connection, made: Split) -> tuple[Split, bool]:
    """Store a split under the next number of its name, or give back the same one that is there; whether it is new."""
    known = find_split(conn, made.name, digest=made.digest, dataset=made.dataset)
    if known is not None:
        return known, False
    c, project = split.c, caller().project
    last = sa.select(sa.func.max(c.number)).where(c.project == project, c.name == made.name)
    number = (conn.execute(last).scalar() or 0) + 1
    values = {name: getattr(made, name) for name in _SPLIT if name not in ("spec", "parts", "number", "uses")}
    values |= {"spec": asdict(made.spec), "parts": [asdict(part) for part in made.parts], "number": number, "uses": 0}
    conn.execute(split.insert().values(project=project, **values))
    return _split({**values}), True


def find_split(
    conn: Connection, name: str, number: int | None = None, *, digest: str = "", dataset: str = ""
) -> Split | None:
    """A split by number, the newest by default, or by the digest of its manifest and its dataset version."""
    c = split.c
    query = _splits().where(c.name == name).order_by(c.number.desc()).limit(1)
    query = query.where(c.number == number) if number is not None else query
    query = query.where(c.digest == digest, c.dataset == dataset) if digest else query
    row = conn.execute(query).one_or_none()
    return None if row is None else _split(dict(row._mapping))


def newest_splits(conn: Connection, dataset_name: str, *, limit: int) -> list[Split]:
    """Splits, newest first, of one dataset or of all."""
    c = split.c
    query = _splits().order_by(c.created_at.desc(), c.name, c.number.desc()).limit(limit)
    if dataset_name:
        query = query.where(c.dataset.startswith(f"datasets/{dataset_name}/", autoescape=True))
    return [_split(dict(row._mapping)) for row in conn.execute(query)]


def add_use(conn: Connection, of: Split, use: TestUse) -> TestUse:
    """Count an opening of sealed rows and give it its number."""
    c, project = split.c, caller().project
    here = sa.and_(c.project == project, c.name == of.name, c.number == of.number)
    number = conn.execute(split.update().where(here).values(uses=c.uses + 1).returning(c.uses)).scalar_one()
    values = {"name": of.name, "number": of.number, "use": number}
    said = {"actor": use.actor, "purpose": use.purpose, "at": use.at}
    conn.execute(split_use.insert().values(project=project, **values, **said))
    return TestUse(number, use.actor, use.purpose, use.at)


def uses_of(conn: Connection, of: Split, *, limit: int = 1000) -> list[TestUse]:
    """The openings of sealed rows, newest first."""
    c = split_use.c
    query = sa.select(c.use, c.actor, c.purpose, c.at).order_by(c.use.desc()).limit(limit)
    query = query.where(c.project == caller().project, c.name == of.name, c.number == of.number)
    return [TestUse(*row) for row in conn.execute(query)]


_SPLIT = [column.name for column in split.c if column.name != "project"]


def _splits() -> sa.Select[tuple[object, ...]]:
    return sa.select(*(split.c[name] for name in _SPLIT)).where(split.c.project == caller().project)


def _split(values: dict[str, object]) -> Split:
    values["spec"] = SplitSpec(**cast("dict[str, object]", values["spec"]))  # type: ignore[arg-type]
    values["parts"] = tuple(Part(**one) for one in cast("list[dict[str, object]]", values["parts"]))  # type: ignore[arg-type]
    return Split(**values)  # type: ignore[arg-type]
