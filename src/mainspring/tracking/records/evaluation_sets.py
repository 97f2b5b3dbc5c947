"""Rows of evaluation sets, their tags, records and experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.judging import EvaluationRecord, EvaluationSet
from mainspring.tracking.records.points import add_texts, texts_of
from mainspring.tracking.records.tables import (
    evaluation_record,
    evaluation_set,
    evaluation_set_experiment,
    evaluation_set_tag,
    experiment,
)

_OWN = ("id", "name", "created_at", "updated_at", "created_by", "updated_by", "schema", "size")
_CONTENT = ("inputs", "outputs", "expectations", "tags", "source")
_OF_RECORD = ("id", "created_at", "updated_at", "created_by", "updated_by")


def add(conn: Connection, project: str, made: EvaluationSet, owners: Iterable[int]) -> None:
    """Insert a set that is tied to experiments, by number."""
    row = {name: getattr(made, name) for name in _OWN}
    added = sa.insert(evaluation_set).values(project=project, **row).returning(evaluation_set.c.number)
    number = cast(int, conn.execute(added).scalar_one())
    if made.tags:
        add_texts(conn, evaluation_set_tag, number, made.tags, replace=True)
    tie(conn, number, owners)


def held(conn: Connection, project: str, set_id: str) -> int | None:
    """The number of a set; on Postgres its row is held until the transaction ends."""
    found = sa.select(evaluation_set.c.number).where(evaluation_set.c.project == project, evaluation_set.c.id == set_id)
    return cast("int | None", conn.execute(found.with_for_update()).scalar())


def number_of(conn: Connection, project: str, set_id: str) -> int | None:
    """The number that a set is interned as."""
    found = sa.select(evaluation_set.c.number).where(evaluation_set.c.project == project, evaluation_set.c.id == set_id)
    return cast("int | None", conn.execute(found).scalar())


def load(conn: Connection, numbers: Sequence[int]) -> list[EvaluationSet]:
    """Sets by number, in that order; those that are gone are left out."""
    columns = [evaluation_set.c.number, *(evaluation_set.c[name] for name in _OWN)]
    rows = conn.execute(sa.select(*columns).where(evaluation_set.c.number.in_(numbers))).all()
    tags, tied = texts_of(conn, evaluation_set_tag, numbers), _tied(conn, numbers)
    kept = {
        row.number: EvaluationSet(
            **dict(zip(_OWN, row[1:], strict=True)),
            tags=tags[row.number],
            experiment_ids=tuple(tied.get(row.number, ())),
        )
        for row in rows
    }
    return [kept[number] for number in numbers if number in kept]


def change(conn: Connection, number: int, **values: object) -> None:
    """Set columns of a set."""
    conn.execute(sa.update(evaluation_set).where(evaluation_set.c.number == number).values(**values))


def remove(conn: Connection, number: int) -> None:
    """Delete a set with all that hangs on it."""
    for table in (evaluation_record, evaluation_set_tag, evaluation_set_experiment):
        conn.execute(table.delete().where(table.c.evaluation_set == number))
    conn.execute(evaluation_set.delete().where(evaluation_set.c.number == number))


def set_tags(conn: Connection, number: int, tags: Mapping[str, str]) -> None:
    """Set tags of a set."""
    if tags:
        add_texts(conn, evaluation_set_tag, number, tags, replace=True)


def remove_tag(conn: Connection, number: int, key: str) -> None:
    """Delete a tag, if it is there."""
    mine = (evaluation_set_tag.c.evaluation_set == number, evaluation_set_tag.c.key == key)
    conn.execute(evaluation_set_tag.delete().where(*mine))


def tie(conn: Connection, number: int, owners: Iterable[int]) -> None:
    """Tie a set to experiments, also where it is already."""
    rows = [{"evaluation_set": number, "experiment": owner} for owner in owners]
    if rows:
        conn.execute(insert_into(conn, evaluation_set_experiment).on_conflict_do_nothing(), rows)


def untie(conn: Connection, number: int, owners: Sequence[int]) -> None:
    """Tie a set no more to experiments."""
    ties = evaluation_set_experiment
    conn.execute(ties.delete().where(ties.c.evaluation_set == number, ties.c.experiment.in_(owners)))


def records(conn: Connection, number: int, *, after: str, limit: int) -> list[EvaluationRecord]:
    """Records of a set after one, in the order they came."""
    mine = (evaluation_record.c.evaluation_set == number, evaluation_record.c.id > after)
    rows = conn.execute(sa.select(*_shown()).where(*mine).order_by(evaluation_record.c.id).limit(limit))
    return [_record(row) for row in rows]


def alike(conn: Connection, number: int, digests: Sequence[str]) -> dict[str, EvaluationRecord]:
    """The records of a set with some inputs, by their digest."""
    c = evaluation_record.c
    found = sa.select(*_shown()).where(c.evaluation_set == number, c.inputs_digest.in_(digests))
    made = (_record(row) for row in conn.execute(found))
    return {one.inputs_digest: one for one in made}


def put_records(conn: Connection, number: int, some: Iterable[EvaluationRecord]) -> None:
    """Insert records, or replace those of the same inputs."""
    rows = [
        {
            "evaluation_set": number,
            "inputs_digest": one.inputs_digest,
            "content": {name: getattr(one, name) for name in _CONTENT},
            **{name: getattr(one, name) for name in _OF_RECORD},
        }
        for one in some
    ]
    if rows:
        added = insert_into(conn, evaluation_record)
        changed = {name: added.excluded[name] for name in ("content", "updated_at", "updated_by")}
        keys = ["evaluation_set", "inputs_digest"]
        conn.execute(added.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def remove_records(conn: Connection, number: int, ids: Sequence[str]) -> int:
    """Delete records of a set; how many there were."""
    c = evaluation_record.c
    return conn.execute(evaluation_record.delete().where(c.evaluation_set == number, c.id.in_(ids))).rowcount


def _shown() -> list[sa.Column[object]]:
    return [evaluation_record.c[name] for name in ("content", *_OF_RECORD)]


def _record(row: Sequence[Any]) -> EvaluationRecord:
    return EvaluationRecord(**row[0], **dict(zip(_OF_RECORD, row[1:], strict=True)))


def _tied(conn: Connection, numbers: Sequence[int]) -> dict[int, list[str]]:
    """The ids of the experiments that sets are tied to."""
    ties = evaluation_set_experiment
    found = sa.select(ties.c.evaluation_set, experiment.c.id).select_from(
        ties.join(experiment, experiment.c.number == ties.c.experiment)
    )
    found = found.where(ties.c.evaluation_set.in_(numbers)).order_by(ties.c.evaluation_set, ties.c.experiment)
    tied: dict[int, list[str]] = {}
    for number, experiment_id in conn.execute(found):
        tied.setdefault(number, []).append(experiment_id)
    return tied
