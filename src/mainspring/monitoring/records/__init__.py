"""The tables of monitoring and the statements over them. Every statement is of the caller's project."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import chain, groupby
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, day_of
from mainspring.monitoring.model import Alarm, Judgement, Monitor, WatchedVersion
from mainspring.monitoring.records import requests as requests
from mainspring.monitoring.records import said as said
from mainspring.monitoring.records import silences as silences
from mainspring.monitoring.records import usage as usage
from mainspring.monitoring.rules.packs import PackRow
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.storage import bare
from mainspring.storage.prepared import Prepared, given
from mainspring.storage.schema import Flag, Id, Json, Micros, Real, metadata
from mainspring.storage.upsert import insert_into
from mainspring.storage.values import json_text

monitor = sa.Table(
    "monitor",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("watermark", Micros, nullable=False),
    sa.Column("predictions", Micros, nullable=False),
    sa.Column("labels", Micros, nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("feedback_seq", Micros, nullable=False),
    sqlite_strict=True,
)
"""What is watched; `position` and `feedback_seq` are how far predictions and feedback were counted."""

monitor_version = sa.Table(
    "monitor_version",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("model", Id, nullable=False),
    sa.Column("task", Id, nullable=False),
    sa.Column("reference", Id, nullable=False),
    sa.Column("loss", Id, nullable=False),
    sa.Column("reference_loss", Real, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("drift_until", Micros, nullable=False),
    sa.Column("loss_until", Micros, nullable=False),
    sa.Column("state", Json, nullable=False),
    sqlite_strict=True,
)
"""Each version that answered, what it is compared with, and the evidence gathered so far."""

monitor_window = sa.Table(
    "monitor_window",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("start", Micros, primary_key=True, autoincrement=False),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("sketch", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""One sketch per version and hour of event time."""

performance_window = sa.Table(
    "performance_window",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("segment", Id, primary_key=True),
    sa.Column("start", Micros, primary_key=True, autoincrement=False),
    sa.Column("outcomes", Json, nullable=False),
    sqlite_strict=True,
)
"""Predictions and labelled rows per version, segment and hour of event time; segment "" is all of them. Hours of days
long ago are joined: their start is that of the day."""

awaiting_label = sa.Table(
    "awaiting_label",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("prediction_id", Id, primary_key=True),
    sa.Column("version", Micros, nullable=False),
    sa.Column("event_at", Micros, nullable=False),
    sa.Column("score", Real),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("is_labelled", Flag, nullable=False),
    sa.Column("segments", sa.Text, nullable=False),
    sa.Column("part", sa.Text, nullable=False),
    sa.Column("low", Real),
    sa.Column("high", Real),
    sa.Column("label", Real),
    sa.Column("cells", sa.Text, nullable=False),
    sa.Index("ix_awaiting_label_event_at", "project", "deployment", "event_at"),
    sqlite_strict=True,
)
"""Answers whose label may still come, for 90 days of event time; what is a pack's has its part, interval and label,
and what is of many classes the cell of the probability of each."""

early_label = sa.Table(
    "early_label",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("prediction_id", Id, primary_key=True),
    sa.Column("value", Json, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Labels whose prediction was not counted yet."""

monitor_judgement = sa.Table(
    "monitor_judgement",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("cause", Id, primary_key=True),
    sa.Column("window_end", Micros, primary_key=True, autoincrement=False),
    sa.Column("window_start", Micros, nullable=False),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("evidence", Real, nullable=False),
    sa.Column("level", Real, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("details", Json, nullable=False),
    sqlite_strict=True,
)
"""Every decision about a window, with the figures it was taken on."""

alarm = sa.Table(
    "alarm",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("cause", Id, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("window_start", Micros, nullable=False),
    sa.Column("window_end", Micros, nullable=False),
    sa.Column("raised_at", Micros, nullable=False),
    sa.Column("acknowledged_at", Micros, nullable=False),
    sa.Column("acknowledged_by", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("escalated_at", Micros, nullable=False),
    sa.Column("closed_at", Micros, nullable=False),
    sa.Column("closed_by", sa.Text, nullable=False),
    sa.Column("silence", Id, nullable=False),
    sa.Index("ix_alarm_deployment", "project", "deployment", "id"),
    sqlite_strict=True,
)

_CHUNK = 400
_FIND_ANSWERS = (
    "select prediction_id, version, event_at, score, answer, is_labelled, segments, part, low, high, label, cells "
    "from awaiting_label where project = ? and deployment = ? and prediction_id in (*)"
)
_FIND_ANSWERED = (
    "select prediction_id, version from awaiting_label where project = ? and deployment = ? and prediction_id in (*)"
)
_MARK_LABELLED = (
    "update awaiting_label set is_labelled = 1 where project = ? and deployment = ? and prediction_id in (*)"
)
_ANY_EARLY = "select 1 from early_label where project = ? and deployment = ? limit 1"
_FIND_EARLY = (
    "select prediction_id, value from early_label where project = ? and deployment = ? and prediction_id in (*)"
)
_DROP_EARLY = "delete from early_label where project = ? and deployment = ? and prediction_id in (*)"
_FORGET_ANSWERS = "delete from awaiting_label where project = ? and deployment = ? and event_at < ?"
_FORGET_EARLY = "delete from early_label where project = ? and deployment = ? and at < ?"
_FIND_WINDOWS = (
    "select start, sketch from monitor_window where project = ? and deployment = ? and version = ? and start in (*)"
)
_PUT_WINDOW = (
    "insert into monitor_window (project, deployment, version, start, rows, sketch) values (?, ?, ?, ?, ?, ?) "
    "on conflict (project, deployment, version, start) do update set rows = excluded.rows, sketch = excluded.sketch"
)
_LIST_WINDOWS = (
    "select start, rows, sketch from monitor_window "
    "where project = ? and deployment = ? and version = ? and start >= ? and start < ? order by start"
)
_ADD_ANSWER = (
    "insert into awaiting_label (project, deployment, prediction_id, version, event_at, score, answer, is_labelled, "
    "segments, part, low, high, label, cells) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND_OUTCOMES = (
    "select version, start, segment, outcomes from performance_window "
    "where project = ? and deployment = ? and start in (*)"
)
_OF_OLD_HOURS = (
    "from performance_window where project = ? and deployment = ? and start < ? "
    f"and start - start / {DAY_US} * {DAY_US} > 0"
)
_OLD_HOURS = f"select version, segment, start, outcomes {_OF_OLD_HOURS}"
_DROP_OLD_HOURS = f"delete {_OF_OLD_HOURS}"
_PUT_OUTCOMES = (
    "insert into performance_window (project, deployment, version, start, segment, outcomes) values (?, ?, ?, ?, ?, ?) "
    "on conflict (project, deployment, version, segment, start) do update set outcomes = excluded.outcomes"
)
_LIST_OUTCOMES = (
    "select start, outcomes from performance_window "
    "where project = ? and deployment = ? and version = ? and start >= ? and segment = ? order by start"
)


def _replacing(table: sa.Table, keys: Sequence[str]) -> Prepared:
    """A row in place of the one with the same project, deployment and keys."""
    found = ["project", "deployment", *keys]

    def make(conn: Connection) -> sa.Executable:
        insert = insert_into(conn, table).values({column.key: given(column) for column in table.c})
        changed = {column.key: insert.excluded[column.key] for column in table.c if column.key not in found}
        return insert.on_conflict_do_update(index_elements=found, set_=changed)

    return Prepared(make)


def _chosen(table: sa.Table, names: Sequence[str]) -> sa.Select[Any]:
    """These columns of the rows of a project and deployment."""
    c = table.c
    return sa.select(*(c[name] for name in names)).where(
        c.project == given(c.project), c.deployment == given(c.deployment)
    )


_MONITOR = [one.name for one in fields(Monitor)]
_VERSION = [one.name for one in fields(WatchedVersion)]
"""The last one is the evidence."""
_FIND_MONITOR = Prepared(lambda _: _chosen(monitor, _MONITOR))
_LOCK_MONITOR = Prepared(lambda _: _chosen(monitor, _MONITOR).with_for_update())
_LIST_VERSIONS = Prepared(lambda _: _chosen(monitor_version, _VERSION).order_by(monitor_version.c.version))
_LIST_STATELESS = Prepared(lambda _: _chosen(monitor_version, _VERSION[:-1]).order_by(monitor_version.c.version))
_PUT_VERSION = _replacing(monitor_version, ["version"])
_PUT_JUDGEMENT = _replacing(monitor_judgement, ["version", "cause", "window_end"])
_read_outcomes = msgspec.json.Decoder(Outcomes, strict=False).decode
Stretch = tuple[int, int, str]
"""A version, the first microsecond of an hour or a day, and a segment; "" is all of them."""
_Key = TypeVar("_Key", str, int)
T = TypeVar("T")


class Answer(NamedTuple):
    """What was answered to a prediction, as much as a label needs."""

    prediction_id: str
    version: int
    event_at: int
    score: float | None
    answer: str
    is_labelled: bool = False
    segments: str = ""
    part: str = ""
    low: float | None = None
    high: float | None = None
    label: float | None = None
    cells: str = ""


def add_monitor(conn: Connection, deployment: str, at: int) -> bool:
    """Begin to watch; False when it is watched already."""
    values = {"project": caller().project, **_plain(Monitor(deployment, at))}
    return conn.execute(insert_into(conn, monitor).values(values).on_conflict_do_nothing()).rowcount == 1


def find_monitor(conn: Connection, deployment: str, *, lock: bool = False) -> Monitor | None:
    """One monitor; with `lock` nobody else changes it before the transaction ends."""
    rows = (_LOCK_MONITOR if lock else _FIND_MONITOR).rows(conn, _of(deployment))
    return Monitor(*rows[0]) if rows else None


def list_monitors(conn: Connection) -> list[Monitor]:
    """Every monitor of the project by name."""
    query = sa.select(monitor).where(monitor.c.project == caller().project).order_by(monitor.c.deployment)
    return [_convert(row, Monitor) for row in conn.execute(query)]


def change_monitor(conn: Connection, deployment: str, **values: object) -> None:
    """Move a monitor on."""
    _change_of(tuple(values)).run(conn, {**values, "at_project": caller().project, "at_deployment": deployment})


@cache
def _change_of(names: tuple[str, ...]) -> Prepared:
    c = monitor.c
    here = c.project == given(c.project, "at_project"), c.deployment == given(c.deployment, "at_deployment")
    return Prepared(lambda _: sa.update(monitor).where(*here).values({name: given(c[name]) for name in names}))


def put_version(conn: Connection, made: WatchedVersion) -> None:
    """Store a watched version in place of what was known of it."""
    _PUT_VERSION.run(conn, {"project": caller().project, **_plain(made)})


def list_versions(conn: Connection, deployment: str) -> list[WatchedVersion]:
    """The versions that answered for a deployment, in order."""
    return [WatchedVersion(*row) for row in _LIST_VERSIONS.rows(conn, _of(deployment))]


def list_stateless(conn: Connection, deployment: str) -> list[WatchedVersion]:
    """The same without the evidence, which is by far the most of them."""
    return [WatchedVersion(*row) for row in _LIST_STATELESS.rows(conn, _of(deployment))]


def find_windows(conn: Connection, deployment: str, version: int, starts: Iterable[int]) -> dict[int, bytes]:
    """The sketches that there are of these hours, by the start of the hour."""
    keys = caller().project, deployment, version
    found = (bare.rows(conn, _in(_FIND_WINDOWS, part), [*keys, *part]) for part in _chunks(starts))
    return dict(chain.from_iterable(found))


def put_windows(conn: Connection, deployment: str, version: int, hours: Mapping[int, tuple[int, bytes]]) -> None:
    """Store the rows and the sketch of each hour, by its start, in place of what was there."""
    keys = caller().project, deployment, version
    bare.run_all(conn, _PUT_WINDOW, [(*keys, at, rows, kept) for at, (rows, kept) in hours.items()])


def list_windows(
    conn: Connection, deployment: str, version: int, *, since: int, until: int
) -> list[tuple[int, int, bytes]]:
    """The hours of a version that begin in [since, until): (start, rows, sketch), in order."""
    keys = caller().project, deployment, version
    return [tuple(row) for row in bare.binary_rows(conn, _LIST_WINDOWS, (*keys, since, until))]


def list_outcomes(
    conn: Connection, deployment: str, version: int, *, since: int = 0, segment: str = "", by_us: int = DAY_US
) -> list[tuple[int, Outcomes]]:
    """The days of a version and segment, or its hours: (start, outcomes), in order; of what begins at `since` or later.

    Hours that were joined to their day are in the first one of that day.
    """
    return list(outcomes_after(conn, deployment, version, since=since, segment=segment, by_us=by_us))


def outcomes_after(
    conn: Connection, deployment: str, version: int, *, since: int = 0, segment: str = "", by_us: int = DAY_US
) -> Iterator[tuple[int, Outcomes]]:
    """The same one by one, for who needs the first ones only."""
    rows = bare.rows(conn, _LIST_OUTCOMES, (caller().project, deployment, version, since, segment))
    for start, part in groupby(rows, lambda row: row[0] - row[0] % by_us):
        found = [_outcomes(outcomes) for _, outcomes in part]
        yield start, found[0] if len(found) == 1 else Outcomes.total(found)


def join_hours(conn: Connection, deployment: str, before: int) -> None:
    """Join the outcomes of hours that begin before a day to those of their days."""
    keys = caller().project, deployment, before
    days: dict[Stretch, list[Outcomes]] = {}
    for version, segment, start, outcomes in bare.rows(conn, _OLD_HOURS, keys):
        days.setdefault((version, day_of(start), segment), []).append(_outcomes(outcomes))
    if days:
        bare.run(conn, _DROP_OLD_HOURS, keys)
        add_outcomes(conn, deployment, {key: Outcomes.total(found) for key, found in days.items()})


def list_segments(conn: Connection, deployment: str, version: int, *, since: int = 0) -> list[tuple[str, Outcomes]]:
    """The segments of a version with their outcomes since then, by name."""
    c = performance_window.c
    where = c.project == caller().project, c.deployment == deployment, c.version == version, c.start >= since
    query = sa.select(c.segment, c.outcomes).where(*where, c.segment != "").order_by(c.segment, c.start)
    parts: dict[str, list[Outcomes]] = {}
    for row in conn.execute(query):
        parts.setdefault(row.segment, []).append(_outcomes(row.outcomes))
    return [(name, Outcomes.total(found)) for name, found in parts.items()]


def add_outcomes(conn: Connection, deployment: str, more: Mapping[Stretch, Outcomes]) -> None:
    """Add outcomes to hours, or to days whose hours are joined: all of them read at once and written at once."""
    keys = caller().project, deployment
    before: dict[Stretch, Outcomes] = {}
    for part in _chunks({start for _, start, _ in more}):
        for version, start, segment, outcomes in bare.rows(conn, _in(_FIND_OUTCOMES, part), [*keys, *part]):
            if (version, start, segment) in more:
                before[version, start, segment] = _outcomes(outcomes)
    rows = []
    for (version, start, segment), found in more.items():
        known = before.get((version, start, segment))
        plain = msgspec.to_builtins(found if known is None else known.merge(found), str_keys=True)
        rows.append((*keys, version, start, segment, json_text(plain)))
    bare.run_all(conn, _PUT_OUTCOMES, rows)


def add_answers(conn: Connection, deployment: str, answers: Sequence[Answer]) -> None:
    """Keep answers that were not counted before, for their labels."""
    project = caller().project
    rows = [(project, deployment, *answer[:5], int(answer.is_labelled), *answer[6:]) for answer in answers]
    bare.run_all(conn, _ADD_ANSWER, rows)


def find_answers(conn: Connection, deployment: str, ids: Iterable[str]) -> dict[str, Answer]:
    """The answers of these predictions that were counted."""
    rows = _rows_of(conn, _FIND_ANSWERS, deployment, ids)
    return {row[0]: Answer._make((*row[:5], bool(row[5]), *row[6:])) for row in rows}


def find_answered(conn: Connection, deployment: str, ids: Iterable[str]) -> dict[str, int]:
    """The versions that answered these predictions, of those that were counted."""
    return dict(_rows_of(conn, _FIND_ANSWERED, deployment, ids))


def mark_labelled(conn: Connection, deployment: str, ids: Iterable[str]) -> None:
    """Note that the label of these predictions is counted."""
    for part in _chunks(ids):
        bare.run(conn, _in(_MARK_LABELLED, part), [caller().project, deployment, *part])


def put_labels(conn: Connection, deployment: str, labels: Mapping[str, float]) -> None:
    """Keep the labels of predictions of a pack."""
    c = awaiting_label.c
    known = c.project == caller().project, c.deployment == deployment, c.prediction_id == sa.bindparam("of")
    if labels:
        change = sa.update(awaiting_label).where(*known).values(label=sa.bindparam("said"))
        conn.execute(change, [{"of": name, "said": label} for name, label in labels.items()])


def list_answers(conn: Connection, deployment: str, version: int, *, since: int, until: int) -> list[PackRow]:
    """What a version answered to predictions of [since, until), in order of event time, with what became known."""
    c = awaiting_label.c
    where = c.project == caller().project, c.deployment == deployment, c.version == version
    query = sa.select(c.event_at, c.part, c.score, c.low, c.high, c.label).where(
        *where, c.event_at >= since, c.event_at < until
    )
    return [PackRow(*row) for row in conn.execute(query.order_by(c.event_at, c.prediction_id))]


def count_awaiting(conn: Connection, deployment: str) -> int:
    """How many answers have no label yet."""
    c = awaiting_label.c
    where = c.project == caller().project, c.deployment == deployment, c.is_labelled == False  # noqa: E712
    return conn.execute(sa.select(sa.func.count()).where(*where)).scalar_one()


def add_early_labels(conn: Connection, deployment: str, labels: Mapping[str, object], at: int) -> None:
    """Keep labels whose prediction was not counted yet; the first one stays."""
    keys = {"project": caller().project, "deployment": deployment, "at": at}
    rows = [{**keys, "prediction_id": name, "value": value} for name, value in labels.items()]
    if rows:
        conn.execute(insert_into(conn, early_label).on_conflict_do_nothing(), rows)


def take_early_labels(conn: Connection, deployment: str, ids: Iterable[str]) -> dict[str, object]:
    """Take out the labels that came before these predictions."""
    keys = caller().project, deployment
    if not bare.rows(conn, _ANY_EARLY, keys):  # as good as always: labels come later than predictions
        return {}
    found = dict(_rows_of(conn, _FIND_EARLY, deployment, ids))
    for part in _chunks(found):
        bare.run(conn, _in(_DROP_EARLY, part), [*keys, *part])
    return {name: json.loads(value) if conn.dialect.name == "sqlite" else value for name, value in found.items()}


def forget(conn: Connection, deployment: str, before: int) -> None:
    """Let go of answers and early labels from before an event time."""
    for statement in (_FORGET_ANSWERS, _FORGET_EARLY):
        bare.run(conn, statement, (caller().project, deployment, before))


def put_judgement(conn: Connection, made: Judgement) -> None:
    """Store a decision; the same window judged again replaces it."""
    _PUT_JUDGEMENT.run(conn, {"project": caller().project, **_plain(made)})


def list_judgements(
    conn: Connection,
    deployment: str,
    *,
    cause: str = "",
    without: Sequence[str] = (),
    version: int = 0,
    limit: int = 400,
) -> list[Judgement]:
    """The newest decisions, in order of time; `without` those of some causes."""
    c = monitor_judgement.c
    query = sa.select(monitor_judgement).where(c.project == caller().project, c.deployment == deployment)
    query = query.where(c.cause == cause) if cause else query
    query = query.where(c.cause.not_in(without)) if without else query
    query = query.where(c.version == version) if version else query
    rows = conn.execute(query.order_by(c.window_end.desc(), c.version.desc(), c.cause.desc()).limit(limit)).all()
    return [_convert(row, Judgement) for row in reversed(rows)]


def add_alarm(conn: Connection, made: Alarm) -> None:
    """Store an alarm."""
    conn.execute(sa.insert(alarm).values(project=caller().project, **_plain(made)))


def change_alarm(conn: Connection, alarm_id: str, **values: object) -> None:
    """Change an alarm."""
    conn.execute(sa.update(alarm).where(alarm.c.project == caller().project, alarm.c.id == alarm_id).values(**values))


def find_alarm(conn: Connection, alarm_id: str, *, lock: bool = False) -> Alarm | None:
    """One alarm by its id, or by 8 or more characters that only its id begins or ends with."""
    c = alarm.c
    if len(alarm_id) < 8:
        return None
    same = sa.or_(c.id.startswith(alarm_id, autoescape=True), c.id.endswith(alarm_id, autoescape=True))
    query = sa.select(alarm).where(c.project == caller().project, same).limit(2)
    rows = conn.execute(query.with_for_update() if lock else query).all()
    return _convert(rows[0], Alarm) if len(rows) == 1 else None


def list_alarms(
    conn: Connection, deployment: str = "", *, states: Sequence[str] = (), before: str = "", limit: int = 100
) -> list[Alarm]:
    """Alarms, newest first; "" = of every deployment."""
    named = {f"state{at}": state for at, state in enumerate(states)}
    values = {**_of(deployment), "before": before, **named, "limit": limit}
    query = _alarms_of(bool(deployment), tuple(named), bool(before))
    return [Alarm(*row) for row in query.rows(conn, values)]


@cache
def _alarms_of(one: bool, states: tuple[str, ...], before: bool) -> Prepared:
    c = alarm.c
    query = sa.select(*(c[field.name] for field in fields(Alarm))).where(c.project == given(c.project))
    query = query.where(c.deployment == given(c.deployment)) if one else query
    query = query.where(sa.or_(*(c.state == given(c.state, name) for name in states))) if states else query
    query = query.where(c.id < given(c.id, "before")) if before else query
    return Prepared(lambda _: query.order_by(c.id.desc()).limit(sa.bindparam("limit", type_=sa.Integer)))


def _rows_of(conn: Connection, statement: str, deployment: str, ids: Iterable[str]) -> Iterator[Any]:
    """The rows of a statement about predictions, `*` being their ids, some hundreds at a time."""
    keys = caller().project, deployment
    return (row for part in _chunks(ids) for row in bare.rows(conn, _in(statement, part), [*keys, *part]))


def _in(statement: str, values: Sequence[object]) -> str:
    return statement.replace("*", ", ".join("?" * len(values)))


def _of(deployment: str) -> dict[str, object]:
    return {"project": caller().project, "deployment": deployment}


def _chunks(ids: Iterable[_Key]) -> Iterable[list[_Key]]:
    every = list(ids)
    return (every[at : at + _CHUNK] for at in range(0, len(every), _CHUNK))


def _plain(value: Monitor | WatchedVersion | Judgement | Alarm) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _convert(row: sa.Row[tuple[object, ...]], kind: type[T]) -> T:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    return msgspec.convert({name: row._mapping[name] for name in names}, kind, strict=False)


def _outcomes(stored: object) -> Outcomes:
    """From JSON: text as SQLite has it, values as Postgres gives them."""
    return _read_outcomes(stored) if isinstance(stored, str) else msgspec.convert(stored, Outcomes, strict=False)
