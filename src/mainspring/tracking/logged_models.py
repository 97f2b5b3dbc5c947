"""The verbs of logged models: models that runs made, before or without a name in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.tracking.events import LoggedModelDeleted, ModelLogged
from mainspring.tracking.experiments import active_experiment
from mainspring.tracking.lifecycle import place_of
from mainspring.tracking.model import MODEL_STATUSES, LoggedModel, Metric, ModelUse
from mainspring.tracking.records import logged_models, points, tables
from mainspring.tracking.rules import (
    MAX_TAG,
    MAX_VALUE,
    changed_params,
    check_model_name,
    check_rows,
    check_texts,
    latest,
    rows_of,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

PREFIX = "m-"
"""What the ids of logged models start with; 32 hex digits follow."""


class LoggedModels:
    """Keeps models that runs made: what they are, what was measured of them, and which runs read or made them."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def create(
        self,
        experiment_id: str,
        *,
        name: str = "",
        kind: str = "",
        run_id: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModel:
        """Start a model: it is pending until its files have arrived and `finalize` says so.

        Args:
            experiment_id: Where it belongs.
            name: What people call it; made up when absent.
            kind: The client's word for its type.
            run_id: The run that makes it.
            params: What it was made with.
            tags: Texts that may change.
        Raises:
            NotFound: There is no such experiment or run.
            Conflict: The experiment was deleted.
            Invalid: The name can't be used.
        """
        params, tags = params or {}, tags or {}
        check_texts(params, "param", MAX_VALUE)
        check_texts(tags, "tag", MAX_TAG)
        project, now, stamp = caller().project, self._clock.now(), new_id()
        with self._tables.write() as conn:
            owner, kept = active_experiment(conn, self._journal, experiment_id, now)
            if run_id:
                place_of(conn, project, run_id)
            made = LoggedModel(
                id=PREFIX + stamp,
                experiment_id=kept.id,
                location=kept.location,
                name=check_model_name(name or f"model-{stamp[-6:]}"),
                kind=kind,
                status="pending",
                run_id=run_id,
                created_at=now,
                updated_at=now,
                params=dict(sorted(params.items())),
                tags=dict(sorted(tags.items())),
            )
            number = logged_models.add(conn, project, owner, made)
            if params:
                points.add_texts(conn, tables.logged_model_param, number, params, replace=False)
            if tags:
                points.add_texts(conn, tables.logged_model_tag, number, tags, replace=True)
        return made

    def finalize(self, model_id: str, status: str) -> LoggedModel:
        """Say that the files of a model have arrived ("ready") or did not ("failed").

        Raises:
            NotFound: No such model.
            Invalid: No such status.
        """
        if status not in MODEL_STATUSES:
            hint = did_you_mean(status, MODEL_STATUSES) or "use ready or failed"
            raise Invalid(f"a model can't be {status!r}", where="status", hint=hint)
        with self._tables.write() as conn:
            before = self._found(conn, model_id)
            number = _number_of(conn, caller().project, model_id)
            logged_models.change(conn, number, status=status, updated_at=self._clock.now())
            if status == "ready" != before.status:
                self._journal.append(
                    conn,
                    ModelLogged(subject=before.ref, name=before.name, run_id=before.run_id, model_kind=before.kind),
                )
        return self.get(model_id)

    def add_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Keep what a model was made with. The same value again changes nothing.

        Raises:
            NotFound: No such model.
            Conflict: A param has another value already.
        """
        check_texts(params, "param", MAX_VALUE)
        if not params:
            return
        with self._tables.write() as conn:
            number = _number_of(conn, caller().project, model_id)
            points.add_texts(conn, tables.logged_model_param, number, params, replace=False)
            changed_params(points.texts_of(conn, tables.logged_model_param, [number])[number], params)

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a model; they may change.

        Raises:
            NotFound: No such model.
        """
        check_texts(tags, "tag", MAX_TAG)
        with self._tables.write() as conn:
            number = _number_of(conn, caller().project, model_id)
            if tags:
                points.add_texts(conn, tables.logged_model_tag, number, tags, replace=True)
                logged_models.change(conn, number, updated_at=self._clock.now())

    def remove_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model.

        Raises:
            NotFound: No such model or tag.
        """
        with self._tables.write() as conn:
            number = _number_of(conn, caller().project, model_id)
            if not points.delete_text(conn, tables.logged_model_tag, number, key):
                raise NotFound(f"the model has no tag {key[:60]!r}", where=f"logged-models/{model_id}")

    def delete(self, model_id: str) -> None:
        """Put a model away: it is found no more, but its row and files stay until they are collected.

        Raises:
            NotFound: No such model, or it was deleted already.
        """
        with self._tables.write() as conn:
            found = self._found(conn, model_id)
            number = _number_of(conn, caller().project, model_id)
            now = self._clock.now()
            logged_models.change(conn, number, deleted_at=now, updated_at=now)
            self._journal.append(conn, LoggedModelDeleted(subject=found.ref, name=found.name))

    def get(self, model_id: str, *, with_deleted: bool = False) -> LoggedModel:
        """One model with its params, tags and metrics.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            return self._found(conn, model_id, with_deleted=with_deleted)

    def of_run(self, run_id: str) -> list[LoggedModel]:
        """The models that a run made, oldest first."""
        with self._tables.read() as conn:
            return logged_models.of_run(conn, caller().project, run_id)

    def measure(
        self, model_id: str, run_id: str, metrics: Iterable[Metric], *, dataset: tuple[str, str] = ("", "")
    ) -> None:
        """Keep what a run measured of a model. Of each metric and dataset the latest value stays.

        Args:
            model_id: The model.
            run_id: The run that measured.
            metrics: Points; those without a time happened now.
            dataset: Name and digest of what it was measured on.
        Raises:
            NotFound: No such model or run.
        """
        taken = list(metrics)
        check_rows(rows_of(taken))
        project, now = caller().project, self._clock.now()
        timed = [m if m.at else Metric(m.key, m.value, m.step, now) for m in taken]
        with self._tables.write() as conn:
            measure(conn, project, ModelUse(model_id, *dataset), place_of(conn, project, run_id)[0], timed)

    def _found(self, conn: Connection, model_id: str, *, with_deleted: bool = False) -> LoggedModel:
        found = logged_models.find(conn, caller().project, model_id)
        if found is None or (found.deleted_at is not None and not with_deleted):
            raise no_model(model_id)
        return found


def measure(conn: Connection, project: str, use: ModelUse, run_number: int, metrics: Iterable[Metric]) -> None:
    """Keep what a run measured of a model, in a transaction that is open.

    Raises:
        NotFound: No such model.
    """
    last = latest(metrics)
    number = _number_of(conn, project, use.model_id)
    keys = points.key_numbers(conn, logged_models.owner_of(conn, number), last)
    dataset = (use.dataset_name, use.dataset_digest)
    logged_models.measure(conn, number, run_number, last.values(), keys, dataset=dataset)


def _number_of(conn: Connection, project: str, model_id: str) -> int:
    number = logged_models.number_of(conn, project, model_id)
    if number is None:
        raise no_model(model_id)
    return number


def no_model(model_id: str) -> NotFound:
    """The error for a logged model that is not there."""
    return NotFound(f"there is no logged model {model_id[:60]!r}", where="logged-models", hint="its id starts with m-")
