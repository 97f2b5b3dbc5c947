"""Models that runs made: their rows, texts and metrics, and which run read or made which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import LoggedModel, Metric, ModelMetric, RunModel, model_folder
from mainspring.tracking.records.points import texts_of
from mainspring.tracking.records.tables import (
    experiment,
    logged_model,
    logged_model_metric,
    logged_model_param,
    logged_model_tag,
    metric_key,
    run,
    run_model,
)
from mainspring.tracking.rules import joined, split

_OWN = ("id", "name", "kind", "status", "run_id", "created_at", "updated_at", "deleted_at")
_MEASURED = ("step", "at", "sort", "value")
SHOWN = [
    logged_model.c.number,
    *(logged_model.c[name] for name in _OWN),
    experiment.c.id.label("experiment_id"),
    experiment.c.location.label("location"),
]
"""The columns of which `models_of` makes models."""
FROM = logged_model.join(experiment, experiment.c.number == logged_model.c.experiment)
"""Where `SHOWN` is selected from."""


def add(conn: Connection, project: str, owner: int, made: LoggedModel) -> int:
    """Insert a model of the experiment that is interned as `owner`; its number."""
    row = {name: getattr(made, name) for name in _OWN}
    added = sa.insert(logged_model).values(project=project, experiment=owner, **row)
    return cast(int, conn.execute(added.returning(logged_model.c.number)).scalar_one())


def number_of(conn: Connection, project: str, model_id: str, *, with_deleted: bool = False) -> int | None:
    """The number that a model is interned as."""
    found = sa.select(logged_model.c.number).where(logged_model.c.project == project, logged_model.c.id == model_id)
    if not with_deleted:
        found = found.where(logged_model.c.deleted_at.is_(None))
    return cast("int | None", conn.execute(found).scalar())


def owner_of(conn: Connection, number: int) -> int:
    """The number of a model's experiment, whose metric names its measurements have."""
    return cast(int, conn.execute(sa.select(logged_model.c.experiment).where(logged_model.c.number == number)).scalar())


def find(conn: Connection, project: str, model_id: str) -> LoggedModel | None:
    """One model with all that is known of it, also when it was deleted."""
    found = sa.select(*SHOWN).select_from(FROM).where(logged_model.c.project == project, logged_model.c.id == model_id)
    return next(iter(models_of(conn, conn.execute(found).all())), None)


def folder(conn: Connection, project: str, model_id: str) -> str | None:
    """Where a model that is not deleted keeps its files, below the project's artifact root; ends with a slash."""
    found = sa.select(experiment.c.location, experiment.c.id).select_from(FROM)
    found = found.where(logged_model.c.project == project, logged_model.c.id == model_id)
    row = conn.execute(found.where(logged_model.c.deleted_at.is_(None))).first()
    return None if row is None else model_folder(row.location, row.id, model_id)


def of_run(conn: Connection, project: str, run_id: str) -> list[LoggedModel]:
    """Models that a run made and that are not deleted, oldest first."""
    found = sa.select(*SHOWN).select_from(FROM)
    found = found.where(logged_model.c.project == project, logged_model.c.run_id == run_id)
    found = found.where(logged_model.c.deleted_at.is_(None))
    return models_of(conn, conn.execute(found.order_by(logged_model.c.created_at, logged_model.c.id)).all())


def load(conn: Connection, numbers: Sequence[int]) -> list[LoggedModel]:
    """Models by what they are interned as, in that order; those that are gone are left out."""
    rows = conn.execute(sa.select(*SHOWN).select_from(FROM).where(logged_model.c.number.in_(numbers))).all()
    kept = dict(zip([row.number for row in rows], models_of(conn, rows), strict=True))
    return [kept[number] for number in numbers if number in kept]


def models_of(conn: Connection, rows: Sequence[sa.Row[tuple[object, ...]]]) -> list[LoggedModel]:
    """Models from rows with the columns `SHOWN`, in their order."""
    numbers = [row.number for row in rows]
    if not numbers:
        return []
    params = texts_of(conn, logged_model_param, numbers)
    tags = texts_of(conn, logged_model_tag, numbers)
    metrics = _metrics(conn, numbers)
    return [
        LoggedModel(
            **{name: getattr(row, name) for name in (*_OWN, "experiment_id", "location")},
            params=params[row.number],
            tags=tags[row.number],
            metrics=tuple(metrics.get(row.number, ())),
        )
        for row in rows
    ]


def change(conn: Connection, number: int, **values: object) -> None:
    """Set columns of a model."""
    conn.execute(sa.update(logged_model).where(logged_model.c.number == number).values(**values))


def measure(
    conn: Connection,
    number: int,
    run_number: int,
    points: Iterable[Metric],
    keys: Mapping[str, int],
    *,
    dataset: tuple[str, str] = ("", ""),
) -> None:
    """Make each point the latest value that a run measured of a model on a dataset, unless a later one is there.

    Args:
        number: The model, as it is interned.
        run_number: The run, as it is interned.
        points: At most one for each key: see `rules.latest`.
        keys: The numbers of the metric names in the model's experiment.
        dataset: Name and digest; empty when none was named.
    """
    own = {"model": number, "run": run_number, "dataset_name": dataset[0], "dataset_digest": dataset[1]}
    rows = []
    for point in points:
        value, sort = split(point.value)
        rows.append({**own, "key": keys[point.key], "step": point.step, "at": point.at, "sort": sort, "value": value})
    if not rows:
        return
    added = insert_into(conn, logged_model_metric)
    later = sa.tuple_(*(added.excluded[n] for n in _MEASURED)) > sa.tuple_(
        *(logged_model_metric.c[n] for n in _MEASURED)
    )
    changed = {name: added.excluded[name] for name in _MEASURED}
    index = ["model", "key", "run", "dataset_name", "dataset_digest"]
    conn.execute(
        added.on_conflict_do_update(index_elements=index, set_=changed, where=later),
        sorted(rows, key=lambda row: cast(int, row["key"])),
    )


def link(conn: Connection, run_number: int, models: Iterable[RunModel]) -> None:
    """Note models that a run read or made; of one that is noted already, the step changes."""
    rows = [
        {"run": run_number, "side": side, "model_id": model_id, "step": step}
        for (side, model_id), step in sorted({(entry.side, entry.model_id): entry.step for entry in models}.items())
    ]
    if rows:
        added = insert_into(conn, run_model)
        changed = {"step": added.excluded.step}
        conn.execute(added.on_conflict_do_update(index_elements=["run", "side", "model_id"], set_=changed), rows)


def links(conn: Connection, run_numbers: Sequence[int]) -> dict[int, list[RunModel]]:
    """The models that runs read and made, by the number of the run."""
    found: dict[int, list[RunModel]] = {number: [] for number in run_numbers}
    wanted = sa.select(run_model).where(run_model.c.run.in_(run_numbers))
    for row in conn.execute(wanted.order_by(run_model.c.side, run_model.c.step, run_model.c.model_id)):
        found[row.run].append(RunModel(row.model_id, row.side, row.step))
    return found


def _metrics(conn: Connection, numbers: Sequence[int]) -> dict[int, list[ModelMetric]]:
    measured = logged_model_metric.c
    shown = [measured[name] for name in ("model", "dataset_name", "dataset_digest", *_MEASURED)]
    found = sa.select(*shown, metric_key.c.name, run.c.id.label("run_id"))
    found = found.join(metric_key, metric_key.c.number == measured.key).join(run, run.c.number == measured.run)
    found = found.where(measured.model.in_(numbers))
    points: dict[int, list[ModelMetric]] = {}
    for row in conn.execute(found.order_by(metric_key.c.name, measured.at, run.c.id)):
        value = joined(row.value, row.sort)
        made = ModelMetric(row.name, value, row.step, row.at, row.run_id, row.dataset_name, row.dataset_digest)
        points.setdefault(row.model, []).append(made)
    return points
