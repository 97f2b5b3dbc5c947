"""The verbs of traces: what a traced function was asked, did and answered, span by span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock, iso
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.tracking.events import TracesDeleted
from mainspring.tracking.experiments import active_experiment
from mainspring.tracking.grammar import TRACES, Mark, Page, fingerprint, mark_of, read_filter, read_order, token_of
from mainspring.tracking.grammar.tree import EVERYTHING
from mainspring.tracking.model import Assessment, Span, Trace, trace_folder
from mainspring.tracking.records import experiments, files, points, runs, tables, traces
from mainspring.tracking.records.search.traces import question
from mainspring.tracking.rules import MAX_TAG, check_ids, check_texts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

MAX_LIMIT = 500
"""How many traces a page has at most."""
MAX_LINKS = 100
"""How many traces are tied to a run at once."""


class Traces:
    """Keeps traces: their spans, tags, metadata and what was thought of them.

    Spans and what a client says of a trace may come in any order, and both may come twice.
    """

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def start(self, made: Trace) -> Trace:
        """Keep what a client says of a trace, in place of what its spans said.

        Raises:
            NotFound: There is no such experiment.
            Conflict: The experiment was deleted.
        """
        check_texts(made.tags, "tag", MAX_TAG)
        with self._tables.write() as conn:
            owner = self._owner(conn, made.experiment_id)
            number = traces.put(conn, caller().project, owner, replace(made, told=True))
            return traces.load(conn, [number])[0]

    def end(self, trace_id: str, *, at: int, state: str, tags: Mapping[str, str], metadata: Mapping[str, str]) -> Trace:
        """Say when and how a trace ended; its tags and metadata are added to those that are there.

        Raises:
            NotFound: No such trace.
        """
        check_texts(tags, "tag", MAX_TAG)
        with self._tables.write() as conn:
            (before,) = traces.load(conn, [self._number(conn, trace_id)])
            owner = self._owner(conn, before.experiment_id)
            length = max(0, at - before.started_at)
            made = replace(before, duration_us=length, state=state, tags=tags, metadata=metadata, assessments=())
            number = traces.put(conn, caller().project, owner, replace(made, told=True))
            return traces.load(conn, [number])[0]

    def link_to_run(self, trace_ids: Sequence[str], run_id: str) -> None:
        """Tie traces to a run, beside the one they were made in; those that there are not are left out.

        Raises:
            Invalid: Too many.
            NotFound: There is no such run.
        """
        if len(trace_ids) > MAX_LINKS:
            raise Invalid(f"{len(trace_ids)} traces at once", where="trace_ids", hint=f"use at most {MAX_LINKS}")
        project = caller().project
        with self._tables.write() as conn:
            if runs.place(conn, project, run_id) is None:
                raise NotFound(f"Run with id={run_id[:80]} not found", where="run_id", hint="mainspring runs ls")
            traces.link(conn, traces.numbers_of(conn, project, trace_ids).values(), "run", [run_id])

    def link_prompts(self, trace_id: str, prompts: Sequence[str]) -> None:
        """Tie a trace to versions of prompts, each as NAME/VERSION.

        Raises:
            Invalid: Too many.
            NotFound: No such trace.
        """
        check_ids(prompts, "prompts")
        with self._tables.write() as conn:
            traces.link(conn, [self._number(conn, trace_id)], "prompt", prompts)

    def add_spans(self, found: Sequence[tuple[Trace, Sequence[Span]]]) -> None:
        """Keep spans: those of all traces or none.

        Args:
            found: Each trace as its spans say it is, with these spans.
        Raises:
            NotFound: There is no such experiment.
            Conflict: The experiment was deleted.
        """
        project = caller().project
        with self._tables.write() as conn:
            for said, spans in found:
                known = traces.place(conn, project, said.id)
                if known is None or (said.name and not known.told):
                    owner = self._owner(conn, said.experiment_id)
                    number = traces.put(conn, project, owner, replace(said, told=False))
                else:
                    number = known.number
                traces.add_spans(conn, number, spans)

    def get(self, trace_id: str) -> Trace:
        """One trace without its spans.

        Raises:
            NotFound: No such trace.
        """
        found = self.some([trace_id])
        if not found:
            raise _absent(trace_id)
        return found[0]

    def some(self, trace_ids: Sequence[str]) -> list[Trace]:
        """Those of the traces that there are, without their spans.

        Raises:
            Invalid: Too many.
        """
        check_ids(trace_ids, "traces")
        with self._tables.read() as conn:
            numbers = traces.numbers_of(conn, caller().project, trace_ids)
            found = [numbers[trace_id] for trace_id in dict.fromkeys(trace_ids) if trace_id in numbers]
            return traces.load(conn, found)

    def spans(self, trace_ids: Sequence[str]) -> dict[str, list[str]]:
        """The contents of the spans of traces, by trace, in the order in which they started.

        Raises:
            Invalid: Too many.
        """
        check_ids(trace_ids, "traces")
        with self._tables.read() as conn:
            return traces.spans_of(conn, trace_ids, caller().project)

    def search(
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        *,
        order_by: Sequence[str] = (),
        limit: int = 100,
        page_token: str = "",
        strict: bool = False,
    ) -> Page[Trace]:
        """Traces without their spans; without an order the newest first.

        Raises:
            Invalid: The filter, order, limit or token, or too many experiments.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise Invalid(f"a page of {limit} traces", where="max_results", hint=f"use 1 to {MAX_LIMIT}")
        order, scope = read_order(order_by, TRACES, strict=strict), check_ids(experiment_ids, "experiments")
        asked = fingerprint("traces", caller().project, scope, filter, list(order_by), strict)
        types = question((), EVERYTHING, order, "sqlite").types
        mark = mark_of(page_token, asked, types) if page_token else Mark(self._clock.now(), ())
        tree = read_filter(filter, TRACES, strict=strict, now=mark.now)
        with self._tables.read() as conn:
            numbers = experiments.numbers_of(conn, caller().project, scope)
            wanted = question(numbers, tree, order, self._tables.dialect)
            hits = wanted.sort(conn, after=mark.keys, limit=limit + 1)
            found = traces.load(conn, [hit.number for hit in hits[:limit]])
        following = token_of(asked, Mark(mark.now, hits[limit - 1].keys)) if len(hits) > limit else ""
        return Page(tuple(found), following)

    def set_tag(self, trace_id: str, key: str, value: str) -> None:
        """Set a tag.

        Raises:
            NotFound: No such trace.
        """
        check_texts({key: value}, "tag", MAX_TAG)
        with self._tables.write() as conn:
            points.add_texts(conn, tables.trace_tag, self._number(conn, trace_id), {key: value}, replace=True)

    def delete_tag(self, trace_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            NotFound: No such trace or tag.
        """
        with self._tables.write() as conn:
            if not points.delete_text(conn, tables.trace_tag, self._number(conn, trace_id), key):
                raise NotFound(f"the trace has no tag {key[:60]!r}", where=f"traces/{trace_id}")

    def delete(
        self, experiment_id: str, *, trace_ids: Sequence[str] = (), until: int | None = None, limit: int | None = None
    ) -> int:
        """Delete traces of an experiment with all that belongs to them, files too; says how many there were.

        Args:
            trace_ids: These.
            until: Those that started by then, in microseconds.
            limit: At most so many of them, the oldest.
        Raises:
            Invalid: Neither ids nor a time is given, or both, or too many ids.
        """
        if bool(trace_ids) == (until is not None):
            raise Invalid("either ids of traces or a time is needed", where="max_timestamp_millis", hint="give one")
        check_ids(trace_ids, "traces")
        project = caller().project
        with self._tables.write() as conn:
            found = experiments.by_id(conn, project, experiment_id)
            doomed = {} if found is None else traces.chosen(conn, found[0], ids=trace_ids, until=until, limit=limit)
            for trace_id in doomed.values():
                files.remove(conn, project, trace_folder(experiment_id, trace_id).rstrip("/"))
            if doomed:
                traces.delete(conn, list(doomed))
                self._journal.append(conn, TracesDeleted(subject=f"experiments/{experiment_id}", count=len(doomed)))
        return len(doomed)

    def assess(self, trace_id: str, content: Mapping[str, object], *, name: str, assessment_id: str = "") -> Assessment:
        """Keep what somebody thought of a trace; one of the same id is replaced.

        Raises:
            NotFound: No such trace.
        """
        made = Assessment(assessment_id or f"a-{new_id()}", name, content)
        with self._tables.write() as conn:
            traces.put_assessment(conn, self._number(conn, trace_id), made)
        return made

    def assessment(self, trace_id: str, assessment_id: str) -> Assessment:
        """One assessment.

        Raises:
            NotFound: No such trace or assessment.
        """
        return _among(self.get(trace_id), assessment_id)

    def revise(self, trace_id: str, assessment_id: str, given: Mapping[str, object]) -> Assessment:
        """Change some fields of an assessment.

        Raises:
            NotFound: No such trace or assessment.
        """
        with self._tables.write() as conn:
            number = self._number(conn, trace_id)
            (found,) = traces.load(conn, [number])
            before = _among(found, assessment_id)
            changed = {**before.content, **given, "last_update_time": iso(self._clock.now()).replace("+00:00", "Z")}
            made = Assessment(before.id, str(changed.get("assessment_name") or before.name), changed)
            traces.put_assessment(conn, number, made)
        return made

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Delete an assessment. Deleting it again changes nothing.

        Raises:
            NotFound: No such trace.
        """
        with self._tables.write() as conn:
            traces.delete_assessment(conn, self._number(conn, trace_id), assessment_id)

    def _owner(self, conn: Connection, experiment_id: str) -> int:
        return active_experiment(conn, self._journal, experiment_id, self._clock.now())[0]

    def _number(self, conn: Connection, trace_id: str) -> int:
        found = traces.place(conn, caller().project, trace_id)
        if found is None:
            raise _absent(trace_id)
        return found.number


def _among(found: Trace, assessment_id: str) -> Assessment:
    for one in found.assessments:
        if one.id == assessment_id:
            return one
    raise NotFound(f"there is no assessment {assessment_id[:60]!r}", where=f"traces/{found.id}")


def _absent(trace_id: str) -> NotFound:
    return NotFound(f"Trace with ID '{trace_id[:80]}' not found.", where="trace_id")
