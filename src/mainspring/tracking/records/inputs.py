"""What runs read and made, in full: datasets as clients describe them, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import DatasetRead, DatasetUse, InputDataset
from mainspring.tracking.records.tables import experiment, input_dataset, run, run_input

_SHOWN = [input_dataset.c[name] for name in InputDataset.__slots__]


def add(
    conn: Connection, number: int, owner: int, made: InputDataset, context: str, tags: Mapping[str, str] | None = None
) -> None:
    """Insert a dataset that a run read, once.

    Args:
        number: The run.
        owner: Its experiment.
        made: The dataset.
        context: What it was read for.
        tags: All tags that a client gave it.
    """
    conn.execute(insert_into(conn, input_dataset).values(experiment=owner, **asdict(made)).on_conflict_do_nothing())
    found = sa.select(input_dataset.c.number).where(
        input_dataset.c.experiment == owner,
        input_dataset.c.name == made.name,
        input_dataset.c.digest == made.digest,
    )
    read = {"run": number, "dataset": conn.execute(found).scalar_one(), "context": context, "tags": dict(tags or {})}
    conn.execute(insert_into(conn, run_input).values(read).on_conflict_do_nothing())


def read_by(conn: Connection, numbers: Sequence[int]) -> dict[int, list[DatasetRead]]:
    """The datasets that runs read, by the number of the run."""
    found = sa.select(run_input.c.run, run_input.c.context, run_input.c.tags, *_SHOWN)
    found = found.join(input_dataset, input_dataset.c.number == run_input.c.dataset).where(run_input.c.run.in_(numbers))
    found = found.order_by(input_dataset.c.name, input_dataset.c.digest, run_input.c.context)
    reads: dict[int, list[DatasetRead]] = {number: [] for number in numbers}
    for number, context, tags, *dataset in conn.execute(found):
        reads[number].append(DatasetRead(InputDataset(*dataset), context, tags))
    return reads


def readers(conn: Connection, project: str, dataset: InputDataset, limit: int) -> list[tuple[str, str]]:
    """Id and name of the runs that read a dataset, newest first."""
    found = sa.select(run.c.id, run.c.name, run.c.started_at).distinct().select_from(run)
    found = found.join(run_input, run_input.c.run == run.c.number)
    found = found.join(input_dataset, input_dataset.c.number == run_input.c.dataset)
    same = (input_dataset.c.name == dataset.name, input_dataset.c.digest == dataset.digest)
    where = (input_dataset.c.source == dataset.source,) if dataset.source else same
    found = found.where(*where, run.c.project == project, run.c.deleted_at.is_(None))
    return [(row.id, row.name) for row in conn.execute(found.order_by(run.c.started_at.desc(), run.c.id).limit(limit))]


def used_in(conn: Connection, project: str, experiment_ids: Sequence[str], limit: int) -> list[DatasetUse]:
    """Which datasets the runs of experiments read, and what for."""
    shown = (experiment.c.id, input_dataset.c.name, input_dataset.c.digest, run_input.c.context)
    found = sa.select(*shown).distinct().select_from(run_input)
    found = found.join(input_dataset, input_dataset.c.number == run_input.c.dataset)
    found = found.join(experiment, experiment.c.number == input_dataset.c.experiment)
    found = found.where(experiment.c.project == project, experiment.c.id.in_(experiment_ids))
    return [DatasetUse(*row) for row in conn.execute(found.order_by(*shown[1:], shown[0]).limit(limit))]
