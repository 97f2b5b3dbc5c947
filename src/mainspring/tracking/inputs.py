"""The verbs of what runs read and made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.tracking.lifecycle import writable
from mainspring.tracking.model import DatasetRead, DatasetUse, InputDataset, RunLinks, RunModel
from mainspring.tracking.records import histories, inputs, logged_models
from mainspring.tracking.rules import check_dataset

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

MOST_USES = 1000
"""Most uses of datasets in one answer."""


class Inputs:
    """Keeps what runs read: datasets and models."""

    def __init__(self, *, tables: Tables) -> None:
        self._tables = tables

    def log(self, run_id: str, datasets: Iterable[DatasetRead] = (), models: Iterable[RunModel] = ()) -> None:
        """Note what a run read, all or nothing. What is noted already stays as it is.

        Raises:
            Invalid: A dataset without a name or digest.
            TooLarge: A description of a dataset is too long.
            NotFound: No such run.
            Conflict: The run was deleted.
        """
        reads = list(datasets)
        for read in reads:
            check_dataset(read)
        with self._tables.write() as conn:
            number, owner = writable(conn, caller().project, run_id)
            for read in reads:
                inputs.add(conn, number, owner, read.dataset, read.context, read.tags)
            logged_models.link(conn, number, models)

    def links(self, run_ids: Sequence[str]) -> dict[str, RunLinks]:
        """What runs read and made, by id; runs that are not there are left out."""
        found: dict[str, RunLinks] = {}
        with self._tables.read() as conn:
            for first in range(0, len(run_ids), 1000):
                runs = histories.numbers_of(conn, caller().project, run_ids[first : first + 1000])
                numbers = [number for number, _ in runs]
                reads, models = inputs.read_by(conn, numbers), logged_models.links(conn, numbers)
                found |= {run_id: RunLinks(tuple(reads[n]), tuple(models[n])) for n, run_id in runs}
        return found

    def readers(self, dataset_ref: str, *, limit: int = 500) -> list[tuple[str, str]]:
        """Id and name of the runs that read a dataset version, newest first, deleted ones left out."""
        with self._tables.read() as conn:
            return inputs.readers(conn, caller().project, InputDataset.of(dataset_ref), limit)

    def uses(self, experiment_ids: Sequence[str]) -> list[DatasetUse]:
        """Which datasets the runs of experiments read, and what for."""
        with self._tables.read() as conn:
            return inputs.used_in(conn, caller().project, experiment_ids, MOST_USES)
