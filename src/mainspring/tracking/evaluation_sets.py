"""The verbs of evaluation sets: questions with what is expected of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, NotFound, TooLarge
from mainspring.core.ids import new_id
from mainspring.tracking.events import EvaluationSetChanged, EvaluationSetCreated, EvaluationSetDeleted
from mainspring.tracking.experiments import no_experiment
from mainspring.tracking.grammar import (
    EVALUATION_SETS,
    Mark,
    Page,
    fingerprint,
    mark_of,
    read_filter,
    read_order,
    token_of,
)
from mainspring.tracking.grammar.tree import EVERYTHING
from mainspring.tracking.judging import EvaluationRecord, EvaluationSet, check_title, merged, record_of, widened
from mainspring.tracking.records import evaluation_sets, experiments
from mainspring.tracking.records.search.evaluation_sets import question
from mainspring.tracking.rules import MAX_TAG, check_ids, check_texts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

MAX_RECORDS = 10_000
"""How many records come at once."""
MAX_PAGE = 50_001
"""How many sets or records are asked for at most."""
USER = "mlflow.user"
"""The tag that says who a client works for."""


class EvaluationSets:
    """Keeps evaluation sets: their records, told apart by their inputs, their tags and their experiments."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def create(self, name: str, *, tags: Mapping[str, str], experiment_ids: Sequence[str] = ()) -> EvaluationSet:
        """Make an empty set; others may have the same name.

        Raises:
            NotFound: There is no such experiment.
            Invalid: The name or a tag can't be used.
        """
        check_title(name, "dataset")
        check_texts(tags, "tag", MAX_TAG)
        now, by = self._clock.now(), tags.get(USER, "")
        made = EvaluationSet("d-" + new_id(), name, now, now, by, by, tags=dict(tags))
        with self._tables.write() as conn:
            evaluation_sets.add(conn, caller().project, made, _owners(conn, experiment_ids))
            self._journal.append(conn, EvaluationSetCreated(subject=made.ref, name=name))
        return replace(made, experiment_ids=tuple(dict.fromkeys(experiment_ids)))

    def get(self, set_id: str) -> EvaluationSet:
        """A set without its records.

        Raises:
            NotFound: There is none of this id.
        """
        with self._tables.read() as conn:
            return evaluation_sets.load(conn, [_number(conn, set_id)])[0]

    def delete(self, set_id: str) -> None:
        """Delete a set with its records for good; when there is none, that is fine."""
        with self._tables.write() as conn:
            number = evaluation_sets.held(conn, caller().project, set_id)
            if number is not None:
                kept = evaluation_sets.load(conn, [number])[0]
                evaluation_sets.remove(conn, number)
                self._journal.append(conn, EvaluationSetDeleted(subject=kept.ref, name=kept.name))

    def search(
        self,
        experiment_ids: Sequence[str] | None,
        filter: str = "",
        *,
        order_by: Sequence[str] = (),
        limit: int = 1000,
        page_token: str = "",
    ) -> Page[EvaluationSet]:
        """Sets in MLflow's language; without an order the newest first.

        Raises:
            Invalid: The filter, order, limit or token, or too many experiments.
        """
        _check_limit(limit)
        order = read_order(order_by, EVALUATION_SETS, strict=True)
        project = caller().project
        scope = None if experiment_ids is None else check_ids(experiment_ids, "experiment_ids")
        asked = fingerprint("evaluation sets", project, scope, filter, list(order_by))
        types = question(project, None, EVERYTHING, order, "sqlite").types
        mark = mark_of(page_token, asked, types) if page_token else Mark(self._clock.now(), ())
        tree = read_filter(filter, EVALUATION_SETS, strict=True, now=mark.now)
        with self._tables.read() as conn:
            numbers = None if scope is None else experiments.numbers_of(conn, project, scope)
            wanted = question(project, numbers, tree, order, self._tables.dialect)
            hits = wanted.sort(conn, after=mark.keys, limit=limit + 1)
            found = evaluation_sets.load(conn, [hit.number for hit in hits[:limit]])
        following = token_of(asked, Mark(mark.now, hits[limit - 1].keys)) if len(hits) > limit else ""
        return Page(tuple(found), following)

    def set_tags(self, set_id: str, tags: Mapping[str, str]) -> None:
        """Set tags; they may change.

        Raises:
            NotFound: There is no such set.
        """
        check_texts(tags, "tag", MAX_TAG)
        with self._tables.write() as conn:
            evaluation_sets.set_tags(conn, _held(conn, set_id), tags)

    def delete_tag(self, set_id: str, key: str) -> None:
        """Delete a tag; when there is none, that is fine."""
        with self._tables.write() as conn:
            number = evaluation_sets.held(conn, caller().project, set_id)
            if number is not None:
                evaluation_sets.remove_tag(conn, number, key)

    def tie(self, set_id: str, experiment_ids: Sequence[str]) -> EvaluationSet:
        """Tie a set to experiments, too.

        Raises:
            NotFound: There is no such set or experiment.
        """
        with self._tables.write() as conn:
            number = _held(conn, set_id)
            evaluation_sets.tie(conn, number, _owners(conn, experiment_ids))
            evaluation_sets.change(conn, number, updated_at=self._clock.now())
            return evaluation_sets.load(conn, [number])[0]

    def untie(self, set_id: str, experiment_ids: Sequence[str]) -> EvaluationSet:
        """Tie a set no more to experiments; those that it is not tied to are fine.

        Raises:
            NotFound: There is no such set.
        """
        scope = check_ids(experiment_ids, "experiment_ids")
        with self._tables.write() as conn:
            number = _held(conn, set_id)
            evaluation_sets.untie(conn, number, experiments.numbers_of(conn, caller().project, scope))
            evaluation_sets.change(conn, number, updated_at=self._clock.now())
            return evaluation_sets.load(conn, [number])[0]

    def put(self, set_id: str, records: Sequence[object]) -> tuple[int, int]:
        """Add records, or merge them into those with the same inputs: all of them or none.

        Returns: How many are new, and how many were there.
        Raises:
            NotFound: There is no such set.
            Invalid: One of them is no record.
            TooLarge: They are too many.
        """
        if len(records) > MAX_RECORDS:
            raise TooLarge(f"{len(records)} records at once", where="records", hint=f"send at most {MAX_RECORDS}")
        now = self._clock.now()
        came = [record_of(plain, "dr-" + new_id(), now) for plain in records]
        with self._tables.write() as conn:
            number = _held(conn, set_id)
            kept = evaluation_sets.load(conn, [number])[0]
            known = evaluation_sets.alike(conn, number, [one.inputs_digest for one in came])
            before, schema = len(known), kept.schema
            for plain, one in zip(records, came, strict=True):
                assert isinstance(plain, dict)
                same = known.get(one.inputs_digest)
                known[one.inputs_digest] = one if same is None else merged(same, plain, one)
                schema = widened(schema, one)
            added = len(known) - before
            evaluation_sets.put_records(conn, number, known.values())
            by = next((one.updated_by for one in reversed(came) if one.updated_by), kept.updated_by)
            values = {"schema": schema, "size": kept.size + added, "updated_at": now, "updated_by": by}
            evaluation_sets.change(conn, number, **values)
            changed = len(came) - added
            fact = EvaluationSetChanged(subject=kept.ref, added=added, changed=changed, deleted=0)
            self._journal.append(conn, fact)
        return added, changed

    def records(self, set_id: str, *, limit: int = 1000, after: str = "") -> list[EvaluationRecord]:
        """Records after one, by id, in the order they came.

        Raises:
            NotFound: There is no such set.
            Invalid: The limit.
        """
        _check_limit(limit)
        with self._tables.read() as conn:
            return evaluation_sets.records(conn, _number(conn, set_id), after=after, limit=limit)

    def remove(self, set_id: str, record_ids: Sequence[str]) -> int:
        """Delete records; how many there were.

        Raises:
            NotFound: There is no such set.
            Invalid: Too many ids.
        """
        ids = check_ids(record_ids, "dataset_record_ids")
        with self._tables.write() as conn:
            number = _held(conn, set_id)
            kept = evaluation_sets.load(conn, [number])[0]
            gone = evaluation_sets.remove_records(conn, number, ids)
            if gone:
                evaluation_sets.change(conn, number, size=kept.size - gone, updated_at=self._clock.now())
                fact = EvaluationSetChanged(subject=kept.ref, added=0, changed=0, deleted=gone)
                self._journal.append(conn, fact)
        return gone


def _owners(conn: Connection, experiment_ids: Sequence[str]) -> list[int]:
    """The numbers of experiments that are all there."""
    found = []
    for experiment_id in check_ids(experiment_ids, "experiment_ids"):
        kept = experiments.by_id(conn, caller().project, experiment_id)
        if kept is None:
            raise no_experiment(experiment_id)
        found.append(kept[0])
    return found


def _number(conn: Connection, set_id: str) -> int:
    return _known(evaluation_sets.number_of(conn, caller().project, set_id), set_id)


def _held(conn: Connection, set_id: str) -> int:
    return _known(evaluation_sets.held(conn, caller().project, set_id), set_id)


def _known(number: int | None, set_id: str) -> int:
    if number is None:
        what = f"Evaluation dataset with id '{set_id[:60]}' not found"
        raise NotFound(what, where="dataset_id", hint="search for it with datasets/search")
    return number


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise Invalid(f"a page of {limit}", where="max_results", hint=f"use 1 to {MAX_PAGE}")
