"""Counting predictions and labels exactly once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, HOUR_US, day_of
from mainspring.core.errors import NotFound
from mainspring.data.sketch import Sketch
from mainspring.monitoring import intake, records
from mainspring.monitoring.model import HOURS_KEPT_US, Monitor
from mainspring.monitoring.references import References, Watched
from mainspring.monitoring.rules import performance
from mainspring.monitoring.rules.feedback import said_of
from mainspring.monitoring.rules.performance import Tally
from mainspring.monitoring.rules.usage import UsageWindow

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.monitoring.records import Answer
    from mainspring.serving import Serving
    from mainspring.serving.model import StoredFeedback
    from mainspring.serving.modelserver.usage import WorkerUsage
    from mainspring.storage.ports import Tables

LABEL_HORIZON_US = 90 * DAY_US
SERVICE_HORIZON_US = 35 * DAY_US
MOST_LEVELS = 50
"""So many levels of a declared column are counted apart."""


class Observer:
    """Counts what deployments were asked and what turned out to be true.

    What was counted and how far the logs were read are one transaction, which does nothing when somebody else moved on
    meanwhile: killed at any moment, or run by two processes at once, nothing is lost and nothing is counted twice.

    Args:
        tables: Where the counts are kept.
        serving: Gives predictions and feedback.
        references: Gives the cells that inputs are counted in.
        batch_rows: Most predictions, and most labels, that are counted in one transaction.
        segments: Columns whose levels are counted apart too.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        serving: Serving,
        references: References,
        batch_rows: int,
        segments: Sequence[str] = (),
    ) -> None:
        self._tables, self._serving, self._references = tables, serving, references
        self._batch_rows, self._segments = batch_rows, tuple(segments)

    def observe(self, monitor: Monitor) -> int:
        """Count new predictions, then new labels, and what the model server used. Returns how many of both were new."""
        self._observe_usage()
        return self._observe_predictions(monitor) + self._observe_labels(monitor)

    def _observe_usage(self) -> None:
        """Keep what workers used in windows that are over; a window that is there already stays as it is."""
        with self._tables.read() as conn:
            last = records.usage.last_usage(conn)
        fresh = usage_windows(self._serving.usage(), since=last - DAY_US)
        if any(window.start > last for window in fresh):
            with self._tables.write() as conn:
                records.usage.add_usage(conn, fresh)
                records.usage.forget_usage(conn, last - SERVICE_HORIZON_US)

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
        with self._tables.read() as conn:
            known = records.find_answers(conn, deployment, batch.rows["id"].to_list())
        rows = _without(batch.rows, known)
        watched = self._references.of(
            deployment, {int(number) for number in batch.asked["version"].unique().drop_nulls()}
        )
        rows = intake.with_segments(rows, self._levels(watched))
        fresh = intake.answers_of(rows, {number: entry.part for number, entry in watched.items()})
        grids = {number: entry.reference.profile.grid for number, entry in watched.items() if entry.reference}
        hours = list(intake.hours_of(rows, grids))
        predicted = intake.predicted_per_hour(rows)
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or json.loads(monitor.position or "{}") != before:
                return 0  # somebody else counted these rows; while nobody did, what was not known is new
            self._store_hours(conn, deployment, hours, watched)
            records.requests.add_service(conn, deployment, intake.requests_of(batch.asked))
            records.add_outcomes(conn, deployment, predicted)
            records.add_answers(conn, deployment, fresh)
            early = records.take_early_labels(conn, deployment, [answer.prediction_id for answer in fresh])
            labels = self._count_labels(conn, deployment, early, _by_id(fresh), watched)
            watermark = max(monitor.watermark, batch.watermark)
            records.forget(conn, deployment, watermark - LABEL_HORIZON_US)
            if day_of(watermark) > day_of(monitor.watermark):
                records.join_hours(conn, deployment, day_of(watermark) - HOURS_KEPT_US)
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

    def _levels(self, watched: Mapping[int, Watched]) -> dict[str, list[str]]:
        """The most frequent levels of each declared column, by the references of these versions."""
        found: dict[str, dict[str, None]] = {name: {} for name in self._segments}
        for entry in watched.values():
            for name in self._segments if entry.reference else ():
                column = entry.reference.profile.sketch.column(name) if entry.reference else None
                found[name] |= dict.fromkeys(list(column.levels())[:MOST_LEVELS] if column else [])
        return {name: list(levels) for name, levels in found.items()}

    def _store_hours(
        self,
        conn: Connection,
        deployment: str,
        hours: Iterable[tuple[int, int, Sketch]],
        watched: Mapping[int, Watched],
    ) -> None:
        known = {entry.version for entry in records.list_stateless(conn, deployment)}
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
            versions = set(records.find_answered(conn, deployment, labels).values())
        watched = self._references.of(deployment, versions)
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or monitor.feedback_seq != before:
                return 0  # somebody else counted these labels
            answers = records.find_answers(conn, deployment, labels)
            if any(answer.version not in watched for answer in answers.values()):
                return 0  # a version answered meanwhile that was not looked at yet
            counted = self._count_labels(conn, deployment, labels, answers, watched)
            records.said.add_said(conn, deployment, said_of(page))
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
        hours = defaultdict[tuple[int, int, str], Tally](Tally)
        fresh = [answer for answer in answers.values() if not answer.is_labelled]
        for answer in fresh:
            entry, label = watched[answer.version], labels[answer.prediction_id]
            version, hour = entry.version, answer.event_at - answer.event_at % HOUR_US
            for segment in ("", *answer.segments.split(intake.BETWEEN)) if answer.segments else ("",):
                tally = hours[answer.version, hour, segment]
                tally.add(version.task, answer.score, answer.answer, label, version.reference_loss)
                if answer.cells:
                    tally.add_classes(answer.cells, entry.classes, label)
        records.add_outcomes(conn, deployment, {key: tally.outcomes for key, tally in hours.items()})
        records.mark_labelled(conn, deployment, answers)
        packed = {name for name, answer in answers.items() if watched[answer.version].pack is not None}
        said = {name: performance.number_of(labels[name]) for name in packed if not answers[name].is_labelled}
        records.put_labels(conn, deployment, {name: value for name, value in said.items() if value is not None})
        return len(fresh)


def usage_windows(workers: Iterable[WorkerUsage], *, since: int) -> list[UsageWindow]:
    """The windows of workers that are over, from `since` on: of each the last one may still grow."""
    return [
        UsageWindow(one.start, worker.worker, worker.pid, one.seconds, one.cores, one.memory_mb, one.models)
        for worker in workers
        for one in worker.windows[:-1]
        if one.start >= since
    ]


def _by_id(answers: Iterable[Answer]) -> dict[str, Answer]:
    return {answer.prediction_id: answer for answer in answers}


def _without(rows: pl.DataFrame, known: Mapping[str, object]) -> pl.DataFrame:
    import polars as pl

    return rows.filter(~pl.col("id").is_in(list(known))) if known else rows
