"""The verbs of histories: how metrics went, by pages and of many runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.errors import Invalid
from mainspring.tracking.grammar import Mark, fingerprint, mark_of, token_of
from mainspring.tracking.lifecycle import place_of
from mainspring.tracking.model import Curve, Metric
from mainspring.tracking.records import histories
from mainspring.tracking.rules import joined, spread

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

MOST_POINTS = 25_000
"""Most points in one answer about many runs."""


class Histories:
    """Reads how metrics went over time."""

    def __init__(self, *, tables: Tables) -> None:
        self._tables = tables

    def page(self, run_id: str, key: str, *, limit: int | None = None, page_token: str = "") -> tuple[Curve, str]:
        """Points of a metric of a run by time, step and value; none when it was never logged.

        Args:
            limit: At most so many; None for all that follow.
            page_token: From the page before.

        Returns: The points, and the token of the page that follows, "" when nothing does.
        Raises:
            NotFound: No such run.
            Invalid: The limit or the token.
        """
        if limit is not None and limit < 1:
            raise Invalid(f"a page of {limit} points", where="max_results", hint="it must be a positive integer")
        project = caller().project
        question = fingerprint("history", project, run_id, key)
        after = mark_of(page_token, question, histories.KEY_TYPES).keys if page_token else ()
        with self._tables.read() as conn:
            number, _, _ = place_of(conn, project, run_id)
            more = None if limit is None else min(limit, 2**40) + 1
            found = histories.page(conn, number, key, after=after, limit=more)
        token = ""
        if limit is not None and len(found) > limit:
            del found[limit:]
            token = token_of(question, Mark(0, found[-1]))
        values = [joined(value, sort) for _, _, sort, value in found]
        return Curve(key, [row[1] for row in found], [row[0] for row in found], values), token

    def of_runs(self, run_ids: Sequence[str], key: str, *, limit: int = MOST_POINTS) -> list[tuple[str, Metric]]:
        """Points of a metric of runs, each with the id of its run, by run, time, step and value.

        Runs that are not there have none.
        """
        with self._tables.read() as conn:
            runs = histories.numbers_of(conn, caller().project, run_ids)
            return histories.of_runs(conn, runs, key, limit=limit)

    def sampled(
        self, run_ids: Sequence[str], key: str, *, first: int, last: int, steps: int
    ) -> list[tuple[str, Metric]]:
        """Points of a metric of runs at evenly spread steps, so that a chart of them can be drawn.

        Args:
            first: The least step.
            last: The greatest step.
            steps: At so many steps, and at the first and the last of each run.
        """
        with self._tables.read() as conn:
            runs = histories.numbers_of(conn, caller().project, run_ids)
            numbers = [number for number, _ in runs]
            chosen = spread(histories.steps_of(conn, numbers, key, first, last), steps)
            ends = histories.ends_of(conn, numbers, key, first, last)
            return histories.of_runs(conn, runs, key, limit=MOST_POINTS, steps=sorted({*chosen, *ends}))
