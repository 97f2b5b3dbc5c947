"""SQLAlchemy and the tables of the floor, loaded when a statement is first put together.

Loading them takes half as long as a whole small run of a pipeline, whose statements are known beforehand (`prepared`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.later import later

if TYPE_CHECKING:
    import sqlalchemy as sa

    from mainspring.storage import schema
else:
    sa, schema = later("sqlalchemy"), later("mainspring.storage.schema")

__all__ = ["sa", "schema"]
