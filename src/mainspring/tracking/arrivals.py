"""The verbs for what comes from another tracker: it keeps the ids and times it had there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict
from mainspring.tracking.events import RunArrived
from mainspring.tracking.experiments import add_experiment, new_experiment, no_experiment
from mainspring.tracking.model import Experiment, InputDataset, LoggedModel, Metric, Run, RunModel
from mainspring.tracking.records import arrivals, experiments, inputs, logged_models, points, runs, tables
from mainspring.tracking.rules import changed_params, rows_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

_FIELDS = ("name", "parent", "status", "started_at", "ended_at", "deleted_at", "user_id")
Reading = tuple[InputDataset, Mapping[str, str]]
"""A dataset that a run read, and the tags of the reading."""


class Arrivals:
    """Keeps what another tracker kept. Every verb may be called again: what is there already stays or is brought up to
    date."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def experiment(self, made: Experiment) -> Experiment:
        """Keep an experiment under its name, with its own id where that is free.

        Returns: The experiment as it is kept.
        """
        project = caller().project
        with self._tables.write() as conn:
            found = experiments.by_name(conn, project, made.name)
            if found is None and not add_experiment(conn, self._journal, made):
                add_experiment(conn, self._journal, new_experiment(made.name, made.created_at))
            found = experiments.by_name(conn, project, made.name)
            assert found is not None
            if made.tags:
                points.add_texts(conn, tables.experiment_tag, found[0], made.tags, replace=True)
            return found[1]

    def run(self, made: Run, readings: Sequence[Reading], models: Sequence[RunModel], *, source: str) -> None:
        """Keep a run with its params, tags and what it read and made; its points come after it.

        Raises:
            NotFound: Its experiment is not there.
            Conflict: The id belongs to a run of another project, or a param has another value here.
        """
        project = caller().project
        with self._tables.write() as conn:
            kept = self._experiment(conn, made.experiment_id)
            added = runs.add_run(conn, project, kept[0], made)
            number, _ = self._place(conn, made.id)
            if not added:
                runs.change(conn, number, {name: getattr(made, name) for name in _FIELDS})
            self._texts(conn, number, made)
            for dataset, tags in readings:
                inputs.add(conn, number, kept[0], dataset, tags.get("mlflow.data.context", ""), tags)
            logged_models.link(conn, number, models)
            self._journal.append(conn, RunArrived(subject=made.ref, source=source, experiment=kept[1].name))

    def points(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Keep points of a run; those that are there already stay as they are."""
        if not metrics:
            return
        with self._tables.write() as conn:
            number, owner = self._place(conn, run_id)
            keys = points.key_numbers(conn, owner, {metric.key for metric in metrics})
            points.add_points(conn, [(number, rows_of(metrics), keys)])

    def model(self, made: LoggedModel) -> None:
        """Keep a logged model; what was measured of it is kept where the run is known here."""
        project = caller().project
        with self._tables.write() as conn:
            kept = self._experiment(conn, made.experiment_id)
            number = logged_models.number_of(conn, project, made.id, with_deleted=True)
            if number is None:
                number = logged_models.add(conn, project, kept[0], made)
            else:
                logged_models.change(conn, number, status=made.status, updated_at=made.updated_at)
            if made.params:
                points.add_texts(conn, tables.logged_model_param, number, made.params, replace=False)
            if made.tags:
                points.add_texts(conn, tables.logged_model_tag, number, made.tags, replace=True)
            for one in made.metrics:
                place = runs.place(conn, project, one.run_id)
                if place is not None:
                    keys = points.key_numbers(conn, kept[0], {one.key})
                    point = Metric(one.key, one.value, one.step, one.at)
                    dataset = (one.dataset_name, one.dataset_digest)
                    logged_models.measure(conn, number, place[0], [point], keys, dataset=dataset)

    def came(self, source: str, subject: str) -> str:
        """What a subject of a source looked like when it came whole, "" when it has not."""
        with self._tables.read() as conn:
            return arrivals.stamp_of(conn, caller().project, source, subject)

    def note(self, source: str, subject: str, stamp: str) -> None:
        """Note that a subject has come whole, and what it looked like."""
        with self._tables.write() as conn:
            arrivals.note(conn, caller().project, source, subject, stamp=stamp, at=self._clock.now())

    def _experiment(self, conn: Connection, experiment_id: str) -> tuple[int, Experiment]:
        found = experiments.by_id(conn, caller().project, experiment_id)
        if found is None:
            raise no_experiment(experiment_id)
        return found

    def _texts(self, conn: Connection, number: int, made: Run) -> None:
        if made.params:
            points.add_texts(conn, tables.param, number, made.params, replace=False)
            changed_params(points.texts_of(conn, tables.param, [number])[number], made.params)
        if made.tags:
            points.add_texts(conn, tables.tag, number, made.tags, replace=True)

    def _place(self, conn: Connection, run_id: str) -> tuple[int, int]:
        """The numbers of a run and of its experiment."""
        place = runs.place(conn, caller().project, run_id)
        if place is None:
            hint = "import into the project that has it"
            raise Conflict("the run id belongs to another project", where=f"runs/{run_id}", hint=hint)
        return place[:2]
