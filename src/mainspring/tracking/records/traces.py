"""Traces: their rows, texts, spans and assessments."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Assessment, Span, Trace
from mainspring.tracking.records.points import add_texts, texts_of
from mainspring.tracking.records.tables import (
    assessment,
    experiment,
    span,
    trace,
    trace_link,
    trace_metadata,
    trace_tag,
)
from mainspring.tracking.rules import opinion

_OWN = ("id", "name", "state", "run_id", "client_id", "started_at", "duration_us", "asked", "answered", "told")
_OF_SPAN = ("id", "started_ns", "content", "name", "kind", "status")
_PARTS = (span, assessment, trace_tag, trace_metadata, trace_link)
_AT_ONCE = 1000
"""How many traces are deleted by one statement."""


class Place(NamedTuple):
    """The number that a trace is interned as, and whether a client has said what it is."""

    number: int
    told: bool


def place(conn: Connection, project: str, trace_id: str) -> Place | None:
    """Where a trace is."""
    found = sa.select(trace.c.number, trace.c.told).where(trace.c.project == project, trace.c.id == trace_id)
    row = conn.execute(found).first()
    return None if row is None else Place(*row)


def numbers_of(conn: Connection, project: str, trace_ids: Sequence[str]) -> dict[str, int]:
    """The numbers that those of the traces that there are are interned as, by id."""
    found = sa.select(trace.c.id, trace.c.number).where(trace.c.project == project, trace.c.id.in_(trace_ids))
    return {row.id: row.number for row in conn.execute(found)}


def put(conn: Connection, project: str, owner: int, made: Trace) -> int:
    """Insert or replace what is known of a trace of the experiment interned as `owner`; its number.

    Its tags and metadata are added to those that are there; its assessments replace those of the same id.
    """
    row = {name: getattr(made, name) for name in _OWN}
    added = insert_into(conn, trace).values(project=project, experiment=owner, **row)
    changed = {name: added.excluded[name] for name in ("experiment", *_OWN[1:])}
    added = added.on_conflict_do_update(index_elements=["project", "id"], set_=changed)
    number = cast(int, conn.execute(added.returning(trace.c.number)).scalar_one())
    for table, texts in ((trace_tag, made.tags), (trace_metadata, made.metadata)):
        if texts:
            add_texts(conn, table, number, texts, replace=True)
    for entry in made.assessments:
        put_assessment(conn, number, entry)
    return number


def add_spans(conn: Connection, number: int, spans: Iterable[Span]) -> None:
    """Insert spans of a trace; one that is there already is replaced by what came of it later."""
    rows = [{"trace": number, **{name: getattr(one, name) for name in _OF_SPAN}} for one in spans]
    added = insert_into(conn, span)
    changed = {name: added.excluded[name] for name in _OF_SPAN[1:]}
    conn.execute(added.on_conflict_do_update(index_elements=["trace", "id"], set_=changed), rows)


def spans_of(conn: Connection, trace_ids: Sequence[str], project: str) -> dict[str, list[str]]:
    """The contents of spans of traces by trace, in the order in which they started."""
    found: dict[str, list[str]] = {trace_id: [] for trace_id in trace_ids}
    wanted = sa.select(trace.c.id, span.c.content).join(span, span.c.trace == trace.c.number)
    wanted = wanted.where(trace.c.project == project, trace.c.id.in_(trace_ids))
    for trace_id, content in conn.execute(wanted.order_by(span.c.started_ns, span.c.id)):
        found[trace_id].append(content)
    return found


def load(conn: Connection, numbers: Sequence[int]) -> list[Trace]:
    """Traces without their spans by what they are interned as, in that order; those that are gone are left out."""
    spanned = sa.exists().where(span.c.trace == trace.c.number).label("spanned")
    shown = [trace.c[name] for name in _OWN]
    found = sa.select(trace.c.number, *shown, experiment.c.id.label("experiment_id"), spanned)
    found = found.join(experiment, experiment.c.number == trace.c.experiment).where(trace.c.number.in_(numbers))
    tags, metadata = texts_of(conn, trace_tag, numbers), texts_of(conn, trace_metadata, numbers)
    thought = _assessments(conn, numbers)
    kept = {
        row.number: Trace(
            **{name: getattr(row, name) for name in (*_OWN, "experiment_id", "spanned")},
            tags=tags[row.number],
            metadata=metadata[row.number],
            assessments=tuple(thought.get(row.number, ())),
        )
        for row in conn.execute(found)
    }
    return [kept[number] for number in numbers if number in kept]


def chosen(
    conn: Connection, owner: int, *, ids: Sequence[str] = (), until: int | None = None, limit: int | None = None
) -> dict[int, str]:
    """Numbers and ids of traces of an experiment, oldest first: of these ids, or that started by a time."""
    found = sa.select(trace.c.number, trace.c.id).where(trace.c.experiment == owner)
    if ids:
        found = found.where(trace.c.id.in_(ids))
    if until is not None:
        found = found.where(trace.c.started_at <= until)
    found = found.order_by(trace.c.started_at, trace.c.id).limit(limit)
    return {row.number: row.id for row in conn.execute(found)}


def delete(conn: Connection, numbers: Sequence[int]) -> None:
    """Delete traces with all that belongs to them."""
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        for table in _PARTS:
            conn.execute(sa.delete(table).where(table.c.trace.in_(some)))
        conn.execute(sa.delete(trace).where(trace.c.number.in_(some)))


def link(conn: Connection, numbers: Iterable[int], kind: str, targets: Iterable[str]) -> None:
    """Tie traces to each of these; once is enough.

    Args:
        kind: run or prompt.
    """
    rows = [{"trace": number, "kind": kind, "target": target} for number in numbers for target in sorted(set(targets))]
    if rows:
        conn.execute(insert_into(conn, trace_link).on_conflict_do_nothing(), rows)


def put_assessment(conn: Connection, number: int, made: Assessment) -> None:
    """Insert or replace an assessment."""
    kind, value = opinion(made.content)
    plain = value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    number_only = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    row = {"trace": number, "id": made.id, "name": made.name, "content": dict(made.content)}
    row |= {"kind": kind, "value": plain, "number": cast(float, value) if number_only else None}
    added = insert_into(conn, assessment).values(**row)
    changed = {name: added.excluded[name] for name in ("name", "content", "kind", "value", "number")}
    conn.execute(added.on_conflict_do_update(index_elements=["trace", "id"], set_=changed))


def delete_assessment(conn: Connection, number: int, assessment_id: str) -> bool:
    """Delete an assessment; False when there is none."""
    gone = sa.delete(assessment).where(assessment.c.trace == number, assessment.c.id == assessment_id)
    return conn.execute(gone).rowcount > 0


def _assessments(conn: Connection, numbers: Sequence[int]) -> Mapping[int, list[Assessment]]:
    found: dict[int, list[Assessment]] = {}
    wanted = sa.select(assessment).where(assessment.c.trace.in_(numbers)).order_by(assessment.c.id)
    for row in conn.execute(wanted):
        found.setdefault(row.trace, []).append(Assessment(row.id, row.name, row.content))
    return found
