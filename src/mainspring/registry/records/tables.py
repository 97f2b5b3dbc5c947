"""The tables of the registry. Models and versions are interned: a rename touches one row."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from mainspring.core.canonical import digest as digest_of
from mainspring.registry.manifests import Manifest
from mainspring.storage.references import names_blobs, names_no_blob
from mainspring.storage.schema import Id, Json, Micros, metadata


def _packed(manifest: str) -> Iterator[str]:
    """Digests of a package: of the manifest itself and of the files that it lists."""
    if manifest:
        yield digest_of(manifest.encode())
        yield from (key for key, _ in Manifest.from_bytes(manifest.encode()).files.values())


model = sa.Table(
    "model",
    metadata,
    sa.Column("serial", Micros, sa.Identity(), primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("counted", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("deleted_at", Micros),
    sa.Index("ix_model_project_name", "project", "name"),
    sqlite_strict=True,
)
"""`counted` is the last version number that was given. A deleted model keeps its row: its name may be taken again, its
numbers may not."""

_living = model.c.deleted_at.is_(None)
sa.Index(
    "uq_model_living_name",
    model.c.project,
    model.c.name,
    unique=True,
    sqlite_where=_living,
    postgresql_where=_living,
)

model_redirect = sa.Table(
    "model_redirect",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("model", Micros, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Index("ix_model_redirect_model", "model"),
    sqlite_strict=True,
)
"""Names that models had before, so that old references still find them."""

model_tag = sa.Table(
    "model_tag",
    metadata,
    sa.Column("model", Micros, primary_key=True, autoincrement=False),
    sa.Column("key", Id, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("serial", Micros, sa.Identity(), primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("model", Micros, nullable=False),
    sa.Column("number", Micros, nullable=False),
    sa.Column("key", Id),
    sa.Column("digest", Id, nullable=False, info=names_no_blob("the manifest, which keeps its blobs itself")),
    sa.Column("manifest", sa.Text, nullable=False, info=names_blobs(_packed)),
    sa.Column("signature", Json),
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
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("source", Id, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("run_link", sa.Text, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("status_message", sa.Text, nullable=False),
    sa.Column("stage", Id, nullable=False),
    sa.Column("model_id", Id, nullable=False),
    sa.Column("deleted_at", Micros),
    sa.UniqueConstraint("model", "number"),
    sa.UniqueConstraint("model", "key"),
    sa.Index("ix_model_version_project_run_id", "project", "run_id"),
    sa.Index("ix_model_version_project_updated_at", "project", "updated_at"),
    sa.Index("ix_model_version_digest", "digest"),
    sqlite_strict=True,
)
"""`manifest` is the canonical text whose digest is `digest`; `seal` the signature over model, number and digest. All
three are empty for a version whose files are not kept here. `location` is where the files of `source` were found."""

model_version_tag = sa.Table(
    "model_version_tag",
    metadata,
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("key", Id, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""`version` is the serial of the version."""

alias_change = sa.Table(
    "alias_change",
    metadata,
    sa.Column("seq", Micros, sa.Identity(), primary_key=True),
    sa.Column("model", Micros, nullable=False),
    sa.Column("alias", Id, nullable=False),
    sa.Column("version", Micros),
    sa.Column("before", Micros),
    sa.Column("at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_alias_change_model_alias_seq", "model", "alias", "seq"),
    sqlite_strict=True,
)
"""Where every alias pointed, since when. The last change of an alias is where it points now."""

stage_change = sa.Table(
    "stage_change",
    metadata,
    sa.Column("seq", Micros, sa.Identity(), primary_key=True),
    sa.Column("model", Micros, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("stage", Id, nullable=False),
    sa.Column("before", Id, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_stage_change_model_version_seq", "model", "version", "seq"),
    sqlite_strict=True,
)
"""Which stage every version was in, since when."""

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", Json, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("since", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_webhook_project_id", "project", "id"),
    sqlite_strict=True,
)
"""`secret` is encrypted with a key that is no part of the database; it is told of events after `since`."""
