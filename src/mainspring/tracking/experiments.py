"""The verbs of experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, NotFound
from mainspring.core.ids import new_id
from mainspring.tracking.events import ExperimentCreated, ExperimentDeleted, ExperimentRenamed, ExperimentRestored
from mainspring.tracking.model import DEFAULT, PROXIED, Experiment
from mainspring.tracking.records import experiments, points, tables
from mainspring.tracking.rules import MAX_EXPERIMENT_TAG, check_experiment, check_location, check_texts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

DEFAULT_ID = "0"
"""The id of the project's `DEFAULT` experiment, as clients of MLflow expect."""


class Experiments:
    """Keeps the names that runs are kept under. What is deleted keeps its name and can be restored."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock
        self._begun: set[str] = set()

    def begin(self) -> None:
        """Make the project's `DEFAULT` experiment when it is not there; cheap when it is."""
        project = caller().project
        if project in self._begun:
            return
        with self._tables.read() as conn:
            known = experiments.by_id(conn, project, DEFAULT_ID) is not None
        if not known:
            with self._tables.write() as conn:
                add_experiment(conn, self._journal, new_experiment(DEFAULT, self._clock.now(), made=DEFAULT_ID))
        self._begun.add(project)

    def create(self, name: str, *, location: str = "", tags: Mapping[str, str] | None = None) -> Experiment:
        """Make an experiment.

        Args:
            location: Where its runs keep their files; "": below the project's artifact root, by its id.

        Raises:
            Invalid: The name, the location or a tag.
            Conflict: The name is taken, maybe by a deleted experiment.
        """
        check_experiment(name)
        check_location(location)
        check_texts(tags or {}, "tag", MAX_EXPERIMENT_TAG)
        self.begin()
        made = replace(new_experiment(name, self._clock.now(), location), tags=dict(sorted((tags or {}).items())))
        with self._tables.write() as conn:
            if not add_experiment(conn, self._journal, made):
                raise self._taken(conn, name)
            found = experiments.by_id(conn, caller().project, made.id)
            if tags and found:
                points.add_texts(conn, tables.experiment_tag, found[0], tags, replace=True)
        return made

    def get(self, experiment_id: str) -> Experiment:
        """An experiment, also a deleted one, by id.

        Raises:
            NotFound: No such experiment.
        """
        if experiment_id == DEFAULT_ID:
            self.begin()
        with self._tables.read() as conn:
            found = experiments.by_id(conn, caller().project, experiment_id)
        if found is None:
            raise no_experiment(experiment_id)
        return found[1]

    def named(self, name: str) -> Experiment:
        """An experiment, also a deleted one, by name.

        Raises:
            NotFound: No such experiment.
        """
        if name == DEFAULT:
            self.begin()
        with self._tables.read() as conn:
            found = experiments.by_name(conn, caller().project, name)
        if found is None:
            known = f"Could not find experiment with name '{name[:100]}'"
            raise NotFound(known, where="experiments", hint="mainspring experiments ls")
        return found[1]

    def list(self, *, deleted: bool = False) -> list[Experiment]:
        """Experiments that are there, or those that are deleted, by name, with how many runs they have."""
        with self._tables.read() as conn:
            return experiments.list_all(conn, caller().project, deleted=deleted)

    def rename(self, experiment_id: str, name: str) -> Experiment:
        """Give an experiment another name.

        Raises:
            Invalid: The name.
            NotFound: No such experiment.
            Conflict: The name is taken, or the experiment was deleted.
        """
        check_experiment(name)
        with self._tables.write() as conn:
            number, found = self._active(conn, experiment_id)
            if found.name == name:
                return found
            if experiments.by_name(conn, caller().project, name) is not None:
                raise self._taken(conn, name)
            now = self._clock.now()
            experiments.change(conn, number, name=name, updated_at=now)
            self._journal.append(conn, ExperimentRenamed(subject=found.ref, name=name, before=found.name))
        return replace(found, name=name, updated_at=now)

    def delete(self, experiment_id: str) -> None:
        """Delete an experiment and its runs; `restore` brings them back.

        Raises:
            NotFound: No such experiment.
            Conflict: It was deleted already.
        """
        if experiment_id == DEFAULT_ID:
            self.begin()
        with self._tables.write() as conn:
            number, found = self._active(conn, experiment_id)
            now = self._clock.now()
            experiments.change(conn, number, deleted_at=now, updated_at=now)
            gone = experiments.delete_runs(conn, number, now)
            self._journal.append(conn, ExperimentDeleted(subject=found.ref, name=found.name, runs=gone))

    def restore(self, experiment_id: str) -> Experiment:
        """Bring back a deleted experiment, and the runs that were deleted with it.

        Raises:
            NotFound: No such experiment.
            Conflict: It was not deleted.
        """
        with self._tables.write() as conn:
            number, found = self._held(conn, experiment_id)
            if found.deleted_at is None:
                raise Conflict(f"the experiment {found.name!r} is not deleted", where=found.ref)
            now = self._clock.now()
            experiments.change(conn, number, deleted_at=None, updated_at=now)
            back = experiments.restore_runs(conn, number, found.deleted_at)
            self._journal.append(conn, ExperimentRestored(subject=found.ref, name=found.name, runs=back))
        return replace(found, deleted_at=None, updated_at=now)

    def set_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment.

        Raises:
            Invalid: The name of the tag.
            TooLarge: The text is too long.
            NotFound: No such experiment.
            Conflict: The experiment was deleted.
        """
        check_texts({key: value}, "tag", MAX_EXPERIMENT_TAG)
        with self._tables.write() as conn:
            number, _ = self._active(conn, experiment_id)
            points.add_texts(conn, tables.experiment_tag, number, {key: value}, replace=True)

    def delete_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an experiment.

        Raises:
            NotFound: No such experiment or tag.
            Conflict: The experiment was deleted.
        """
        with self._tables.write() as conn:
            number, found = self._active(conn, experiment_id)
            if not points.delete_text(conn, tables.experiment_tag, number, key):
                raise NotFound(f"No tag with name: {key[:100]}", where=found.ref)

    def _held(self, conn: Connection, experiment_id: str) -> tuple[int, Experiment]:
        found = experiments.held_by_id(conn, caller().project, experiment_id)
        if found is None:
            raise no_experiment(experiment_id)
        return found

    def _active(self, conn: Connection, experiment_id: str) -> tuple[int, Experiment]:
        number, found = self._held(conn, experiment_id)
        check_active(found)
        return number, found

    def _taken(self, conn: Connection, name: str) -> Conflict:
        found = experiments.by_name(conn, caller().project, name)
        gone = " in deleted state" if found and found[1].deleted_at is not None else ""
        hint = "restore it, or take another name" if gone else "take another name"
        return Conflict(f"Experiment '{name[:100]}' already exists{gone}.", where="experiments", hint=hint)


def new_experiment(name: str, at: int, location: str = "", *, made: str = "") -> Experiment:
    """An experiment, with an id of its own unless one is given."""
    stamp = new_id()
    made = made or str(int(stamp[:12] + stamp[13:16], 16))  # milliseconds, then a count: 16 digits
    return Experiment(made, name, location or f"{PROXIED}:/{made}", created_at=at, updated_at=at)


def experiment_of_run(conn: Connection, journal: Journal, name: str, at: int) -> tuple[int, Experiment]:
    """The number of the experiment of a new run and the experiment, made now when there is none of this name.

    Raises:
        Conflict: It was deleted.
    """
    project = caller().project
    found = experiments.by_name(conn, project, name)
    if found is None:
        first = name == DEFAULT and experiments.by_id(conn, project, DEFAULT_ID) is None
        add_experiment(conn, journal, new_experiment(name, at, made=DEFAULT_ID if first else ""))
        found = experiments.by_name(conn, project, name)
        assert found is not None
    check_active(found[1])
    return found


def active_experiment(conn: Connection, journal: Journal, experiment_id: str, at: int) -> tuple[int, Experiment]:
    """The number of an experiment that takes writes and the experiment; the project's `DEFAULT` is made when needed.

    Raises:
        NotFound: No such experiment.
        Conflict: It was deleted.
    """
    found = experiments.by_id(conn, caller().project, experiment_id)
    if found is None and experiment_id == DEFAULT_ID:
        return experiment_of_run(conn, journal, DEFAULT, at)
    if found is None:
        raise no_experiment(experiment_id)
    check_active(found[1])
    return found


def add_experiment(conn: Connection, journal: Journal, made: Experiment) -> bool:
    """Insert an experiment and note that it was made; False when its name or id is taken."""
    added = experiments.add(conn, caller().project, made)
    if added:
        journal.append(conn, ExperimentCreated(subject=made.ref, name=made.name))
    return added


def check_active(found: Experiment) -> Experiment:
    """Return an experiment that is not deleted.

    Raises:
        Conflict: It was deleted.
    """
    if found.deleted_at is None:
        return found
    what = f"The experiment {found.id} ({found.name!r}) must be in the 'active' state; it was deleted"
    raise Conflict(what, where=found.ref, hint="restore it first")


def no_experiment(experiment_id: str) -> NotFound:
    """Nothing has this id."""
    what = f"No Experiment with id={experiment_id[:100]} exists"
    return NotFound(what, where="experiments", hint="mainspring experiments ls")
