"""Run by Alembic: every step in the transaction of the connection it is given, or written out for a dialect."""

from __future__ import annotations

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

attributes = context.config.attributes


def render_type(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Name our own column types the way the steps import them."""
    if kind == "type" and type(item).__module__ == "mainspring.storage.schema":
        return f"schema.{type(item).__name__}()"
    return False


context.configure(
    connection=attributes.get("connection"),
    dialect_name=attributes.get("dialect"),
    target_metadata=attributes.get("metadata"),
    render_item=render_type,
    compare_type=True,
    transactional_ddl=True,
)
context.run_migrations()
