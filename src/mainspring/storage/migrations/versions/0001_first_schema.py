"""First schema."""

from __future__ import annotations

from mainspring.storage.migrations.first_schema import (
    data,
    gates,
    governance,
    loop,
    monitoring,
    pipelines,
    registry,
    serving,
    storage,
    tracking,
    training,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    data.upgrade()
    gates.upgrade()
    governance.upgrade()
    loop.upgrade()
    monitoring.upgrade()
    pipelines.upgrade()
    registry.upgrade()
    serving.upgrade()
    storage.upgrade()
    tracking.upgrade()
    training.upgrade()
