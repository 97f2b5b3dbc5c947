"""The verbs of scorers: what clients judge answers with, kept by version. Nothing of it is ever run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import NotFound
from mainspring.core.ids import new_id
from mainspring.tracking.events import ScorerDeleted, ScorerRegistered
from mainspring.tracking.experiments import active_experiment, check_active, no_experiment
from mainspring.tracking.judging import Scorer, check_scorer, check_title
from mainspring.tracking.records import experiments, scorers
from mainspring.tracking.records.search.keys import owned
from mainspring.tracking.rules import check_ids

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables


class Scorers:
    """Keeps versions of scorers, each name in its experiment."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def register(self, experiment_id: str, name: str, content: str) -> Scorer:
        """Keep the next version of a scorer.

        Args:
            content: JSON, as the client reads it again.
        Raises:
            NotFound: There is no such experiment.
            Conflict: The experiment was deleted.
            Invalid: The name can't be used.
            TooLarge: The scorer is too long.
        """
        check_title(name, "scorer")
        check_scorer(content)
        now = self._clock.now()
        with self._tables.write() as conn:
            owner, kept = active_experiment(conn, self._journal, experiment_id, now)
            experiments.held_by_id(conn, caller().project, kept.id)  # so that nobody takes the number meanwhile
            before = scorers.versions(conn, owner, name)
            made = Scorer(new_id(), kept.id, name, 1, content, now)
            if before:
                made = replace(made, id=before[-1].id, version=before[-1].version + 1)
            scorers.add(conn, owner, made)
            self._journal.append(conn, ScorerRegistered(subject=kept.ref, name=name, version=made.version))
        return made

    def get(self, experiment_id: str, name: str, version: int | None = None) -> Scorer:
        """A version, the newest one for None.

        Raises:
            NotFound: There is no such experiment, scorer or version.
            Conflict: The experiment was deleted.
        """
        found = self.versions(experiment_id, name)
        wanted = found[-1:] if version is None else [one for one in found if one.version == version]
        if not wanted:
            raise _no_scorer(experiment_id, name, version)
        return wanted[0]

    def versions(self, experiment_id: str, name: str) -> list[Scorer]:
        """All versions of a scorer, oldest first.

        Raises:
            NotFound: There is no such experiment or scorer.
            Conflict: The experiment was deleted.
        """
        with self._tables.read() as conn:
            found = scorers.versions(conn, _owner(conn, experiment_id), name)
        if not found:
            raise _no_scorer(experiment_id, name, None)
        return found

    def newest(self, experiment_id: str) -> list[Scorer]:
        """The newest version of each scorer of an experiment.

        Raises:
            NotFound: There is no such experiment.
            Conflict: The experiment was deleted.
        """
        with self._tables.read() as conn:
            return scorers.newest(conn, [_owner(conn, experiment_id)])

    def newest_of(self, experiment_ids: Sequence[str] | None) -> list[Scorer]:
        """The newest version of each scorer of some experiments, or of all of the project; unknown ones have none."""
        scope = None if experiment_ids is None else check_ids(experiment_ids, "experiment_ids")
        with self._tables.read() as conn:
            if scope is None:
                return scorers.newest(conn, list(conn.execute(owned(caller().project)).scalars()))
            return scorers.newest(conn, experiments.numbers_of(conn, caller().project, scope))

    def delete(self, experiment_id: str, name: str, version: int | None = None) -> None:
        """Delete a version, or all for None.

        Raises:
            NotFound: There is no such experiment, scorer or version.
            Conflict: The experiment was deleted.
        """
        with self._tables.write() as conn:
            owner = _owner(conn, experiment_id)
            if not scorers.remove(conn, owner, name, version):
                raise _no_scorer(experiment_id, name, version)
            fact = ScorerDeleted(subject=f"experiments/{experiment_id}", name=name, version=version)
            self._journal.append(conn, fact)


def _owner(conn: Connection, experiment_id: str) -> int:
    found = experiments.by_id(conn, caller().project, experiment_id)
    if found is None:
        raise no_experiment(experiment_id)
    check_active(found[1])
    return found[0]


def _no_scorer(experiment_id: str, name: str, version: int | None) -> NotFound:
    which = "" if version is None else f" and version {version}"
    what = f"Scorer with name '{name[:60]}'{which} not found for experiment {experiment_id[:60]}."
    return NotFound(what, where="name", hint="list what there is with scorers/list")
