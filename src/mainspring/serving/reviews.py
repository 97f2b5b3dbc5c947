"""Predictions that wait for a person: put on the queue as the log is read, decided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Conflict, NotFound
from mainspring.core.ids import new_id
from mainspring.serving import records
from mainspring.serving.events import ReviewDecided, ReviewsFull
from mainspring.serving.feedback import FeedbackDesk
from mainspring.serving.model import DECISION, Feedback, Label, Review
from mainspring.serving.rules.humility import queued

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection


class ReviewDesk(FeedbackDesk):
    """The part of serving that brings predictions before people."""

    def reviews(self, deployment: str = "", *, state: str = "open", before: str = "", limit: int = 100) -> list[Review]:
        """Reviews, newest first.

        Args:
            deployment: Of this endpoint; "" = of all.
            state: "open", "decided", or "" for both.
            before: The id of the last one of the page before.
            limit: At most so many.
        Raises:
            NotFound: No such deployment.
        """
        if deployment:
            self.get(deployment)
        self.compact()
        with self._tables.read() as conn:
            return records.list_reviews(conn, deployment=deployment, state=state, before=before, limit=limit)

    def open_reviews(self) -> dict[str, int]:
        """How many predictions wait for a person, by deployment."""
        with self._tables.read() as conn:
            return records.count_reviews(conn, state="open")

    def review(self, review_id: str) -> Review:
        """One review.

        Raises:
            NotFound: There is none of that id.
        """
        with self._tables.read() as conn:
            return _found(records.find_review(conn, review_id), review_id)

    def decide(self, review_id: str, value: Label, note: str = "") -> Review:
        """Say what the answer should be. It becomes feedback of the kind "decision"; said twice, it is said once.

        Raises:
            NotFound: There is no such review.
            Conflict: It was decided otherwise.
        """
        with self._tables.write() as conn:
            found = _found(records.find_review(conn, review_id, lock=True), review_id)
            given = Feedback(found.prediction_id, value, DECISION)
            if found.state == "decided":
                if found.decision == value:
                    return found
                raise Conflict(
                    f"{found.decided_by} decided {found.decision!r} already, not {value!r}",
                    where=found.ref,
                    hint='send another opinion as feedback of the kind "correction"',
                )
            who, now = caller().actor, self._clock.now()
            made = replace(found, state="decided", decision=value, decided_by=who, decided_at=now, note=note)
            records.change_review(conn, made)
            self._store_feedback(conn, found.deployment, [given])
            fact = ReviewDecided(
                subject=made.ref, deployment=made.deployment, prediction=made.prediction_id, marks=made.marks, note=note
            )
            self._journal.append(conn, fact)
        return made

    def _on_rows(self, endpoint: str, rows: pl.DataFrame) -> None:
        import polars as pl

        marked = rows.filter(pl.col("marks").list.len() > 0, pl.col("status") < 400)
        waiting = [row for row in marked.iter_rows(named=True) if queued(row["marks"])]
        if not waiting:
            return
        with self._tables.write() as conn:
            place = records.find_endpoint(conn, endpoint)
            if place is None:
                return
            project, deployment = place
            with calling(Caller(caller().actor, project)):
                self._queue(conn, deployment, [_review(deployment, row) for row in waiting])

    def _queue(self, conn: Connection, deployment: str, found: Sequence[Review]) -> None:
        """Put predictions before people as far as there is room; who comes first waits, who comes later does not.

        A queue without an end would only hide that nobody looks at it.
        """
        live = self._find(conn, deployment, lock=True)
        known = records.known_reviews(conn, deployment, [review.prediction_id for review in found])
        new = [review for review in found if review.prediction_id not in known]
        waiting, most = records.count_reviews(conn, state="open").get(deployment, 0), live.options.max_open_reviews
        taken = new[: max(0, most - waiting)]
        records.add_reviews(conn, taken)
        if taken and waiting + len(taken) >= most:
            self._journal.append(conn, ReviewsFull(subject=live.ref, waiting=waiting + len(taken)))

    def full_queues(self) -> dict[str, int]:
        """Endpoints whose queue of people has no room, with how many wait."""
        with self._tables.read() as conn:
            most = {entry.name: entry.options.max_open_reviews for entry in records.list_deployments(conn)}
            open_ = records.count_reviews(conn, state="open")
        return {name: open_[name] for name in sorted(open_) if open_[name] >= most.get(name, 0)}


def _review(deployment: str, row: Mapping[str, object]) -> Review:
    answer = next((row[name] for name in ("label_out", "prediction", "probability") if row[name] is not None), "")
    version, at, marks = row["version"], row["at"], row["marks"]
    return Review(
        id=new_id(),
        deployment=deployment,
        prediction_id=str(row["id"]),
        version=version if isinstance(version, int) else 0,
        marks=tuple(map(str, marks)) if isinstance(marks, list) else (),
        answer=answer if isinstance(answer, (float, str)) else str(answer),
        asked_at=at if isinstance(at, int) else 0,
    )


def _found(review: Review | None, review_id: str) -> Review:
    if review is None:
        raise NotFound(f"no review {review_id!r}", where="reviews", hint="mainspring reviews ls")
    return review
