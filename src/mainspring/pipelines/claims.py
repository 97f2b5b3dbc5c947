"""Of runs that begin together, as trials of a search do, one makes what they have in common and the others take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mainspring.pipelines import records
from mainspring.pipelines.desk import Desk

if TYPE_CHECKING:
    from sqlalchemy import Connection


def is_free(desk: Desk, run_id: str, key: str, conn: Connection) -> bool:
    """Whether no other run that a worker holds is making the result of this key."""
    return not records.is_made_elsewhere(conn, key, run_id=run_id, now=desk.tables.now(conn))


def claim(desk: Desk, run_id: str, key: str, begin: Callable[[Connection], None], conn: Connection) -> bool:
    """Begin to make the result of this key, if no other run is at it; of several that ask at once one gets it."""
    records.only_one(conn, key)
    if free := is_free(desk, run_id, key, conn):
        begin(conn)
    return free
