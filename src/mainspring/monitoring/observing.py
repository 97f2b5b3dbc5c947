"""Counting predictions and labels exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, day_of
from mainspring.core.errors import NotFound
from mainspring.data.sketch import Sketch
from mainspring.monitoring import intake, records
from mainspring.monitoring.model import Monitor
from mainspring.monitoring.references import References, Watched
from mainspring.monitoring.rules import performance
from mainspring.monitoring.rules.performance import Outcomes

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.monitoring.records import Answer
    from mainspring.serving import Serving
    from mainspring.serving.model import StoredFeedback
    from mainspring.storage.ports import Tables

LABEL_HORIZON_US = 90 * DAY_US
SERVICE_HORIZON_US = 35 * DAY_US


class Observer:
    """Counts what deployments were asked and what turned out to be true.

    What was counted and how far the logs were read are one transaction, which does nothing when somebody else moved on
    meanwhile: killed at any moment, or run by two processes at once, nothing is lost and nothing is counted twice.

    Args:
        tables: Where the counts are kept.
        serving: Gives predictions and feedback.
        references: Gives the cells that inputs are counted in.
        batch_rows: Most predictions, and most labels, that are counted in one transaction.
    """

    def __init__(self, *, tables: Tables, serving: Serving, references: References, batch_rows: int) -> None:
        self._tables, self._serving, self._references = tables, serving, references
        self._batch_rows = batch_rows

    def observe(self, monitor: Monitor) -> int:
        """Count new predictions, then new labels. Returns how many were new."""
        return self._observe_predictions(monitor) + self._observe_labels(monitor)

    def _now(self, monitor: Monitor) -> Monitor:
        with self._tables.read() as conn:
            return records.find_monitor(conn, monitor.deployment) or monitor

    def _observe_predictions(self, monitor: Monitor) -> int:
        try:
            rows = self._serving.predictions(monitor.deployment)
        except NotFound:
            return 0
        counted = 0
        while True:
            position: intake.Position = json.loads(self._now(monitor).position or "{}")
            batch = intake.next_batch(rows, position, self._batch_rows)
            if batch is None:
                return counted
            counted += self._count_predictions(monitor.deployment, batch, before=position)
            if batch.is_last:
                return counted

    def _count_predictions(self, deployment: str, batch: intake.Batch, *, before: intake.Position) -> int:
        answers = intake.answers_of(batch.rows)
        with self._tables.read() as conn:
            known = records.find_answers(conn, deployment, [answer.prediction_id for answer in answers])
        rows = _without(batch.rows, known)
        fresh = [answer for answer in answers if answer.prediction_id not in known]
        watched = self._references.of(
            deployment, {int(number) for number in batch.asked["version"].unique().drop_nulls()}
        )
        grids = {number: entry.reference.profile.grid for number, entry in watched.items() if entry.reference}
        hours = list(intake.hours_of(rows, grids))
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or json.loads(monitor.position or "{}") != before:
                return 0  # somebody else counted these rows; while nobody did, what was not known is new
            self._store_hours(conn, deployment, hours, watched)
            for (number, day), count in intake.predictions_per_day(rows).items():
                records.add_outcomes(conn, deployment, number, day, Outcomes(predictions=count))
            records.requests.add_service(conn, deployment, intake.requests_of(batch.asked))
            records.add_answers(conn, deployment, fresh)
            early = records.take_early_labels(conn, deployment, [answer.prediction_id for answer in fresh])
            labels = self._count_labels(conn, deployment, early, _by_id(fresh), watched)
            watermark = max(monitor.watermark, batch.watermark)
            records.forget(conn, deployment, watermark - LABEL_HORIZON_US)
            last = records.requests.last_service(conn, deployment)
            records.requests.forget_service(conn, deployment, last - SERVICE_HORIZON_US)
            records.change_monitor(
                conn,
                deployment,
                watermark=watermark,
                predictions=monitor.predictions + rows.height,
                labels=monitor.labels + labels,
                position=json.dumps(batch.position, sort_keys=True),
            )
        return rows.height + labels

    def _store_hours(
        self,
        conn: Connection,
        deployment: str,
        hours: Iterable[tuple[int, int, Sketch]],
        watched: Mapping[int, Watched],
    ) -> None:
        known = {entry.version for entry in records.list_versions(conn, deployment)}
        for number, entry in watched.items():
            if number not in known:
                records.put_version(conn, entry.version)
        fresh: dict[int, dict[int, Sketch]] = {}
        for number, hour, counted in hours:
            fresh.setdefault(number, {})[hour] = counted
        for number, sketches in fresh.items():
            there = records.find_windows(conn, deployment, number, sketches)
            whole = {
                hour: counted.merge(Sketch.from_bytes(there[hour], counted.grid)) if hour in there else counted
                for hour, counted in sketches.items()
            }
            kept = {hour: (counted.rows, counted.to_bytes()) for hour, counted in whole.items()}
            records.put_windows(conn, deployment, number, kept)

    def _observe_labels(self, monitor: Monitor) -> int:
        counted = 0
        while True:
            last = self._now(monitor).feedback_seq
            page = self._serving.feedback_after(monitor.deployment, last, self._batch_rows)
            if not page:
                return counted
            counted += self._count_feedback(monitor.deployment, page, before=last)
            if len(page) < self._batch_rows:
                return counted

    def _count_feedback(self, deployment: str, page: Sequence[StoredFeedback], *, before: int) -> int:
        labels: dict[str, object] = {item.prediction_id: item.value for item in page if item.kind == "label"}
        with self._tables.read() as conn:
            answers = records.find_answers(conn, deployment, labels)
        watched = self._references.of(deployment, {answer.version for answer in answers.values()})
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or monitor.feedback_seq != before:
                return 0  # somebody else counted these labels
            answers = records.find_answers(conn, deployment, labels)
            if any(answer.version not in watched for answer in answers.values()):
                return 0  # a version answered meanwhile that was not looked at yet
            counted = self._count_labels(conn, deployment, labels, answers, watched)
            records.change_monitor(conn, deployment, feedback_seq=page[-1].seq, labels=monitor.labels + counted)
        return counted

    def _count_labels(
        self,
        conn: Connection,
        deployment: str,
        labels: Mapping[str, object],
        counted: Mapping[str, Answer],
        watched: Mapping[int, Watched],
    ) -> int:
        """Count labels whose prediction was counted, once each, and keep the others until it is."""
        answers = {name: counted[name] for name in labels if name in counted}
        early = {name: value for name, value in labels.items() if name not in answers}
        monitor = records.find_monitor(conn, deployment)
        records.add_early_labels(conn, deployment, early, monitor.watermark if monitor else 0)
        days: dict[tuple[int, int], list[Outcomes]] = {}
        for name, answer in answers.items():
            if not answer.is_labelled:
                version = watched[answer.version].version
                one = performance.outcome(
                    version.task, answer.score, answer.answer, labels[name], version.reference_loss
                )
                days.setdefault((answer.version, day_of(answer.event_at)), []).append(one)
        for (number, day), outcomes in days.items():
            records.add_outcomes(conn, deployment, number, day, Outcomes.total(outcomes))
        records.mark_labelled(conn, deployment, answers)
        return sum(map(len, days.values()))


def _by_id(answers: Iterable[Answer]) -> dict[str, Answer]:
    return {answer.prediction_id: answer for answer in answers}


def _without(rows: pl.DataFrame, known: Mapping[str, object]) -> pl.DataFrame:
    import polars as pl

    return rows.filter(~pl.col("id").is_in(list(known))) if known else rows
