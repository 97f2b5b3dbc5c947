# ruff: noqa: E501, PLR0915  a step is as long as it is, and statements stand as they run
"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
