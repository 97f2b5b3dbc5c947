"""The verbs of monitoring: watch, observe, evaluate, status, acknowledge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, Clock
from mainspring.core.errors import MainspringError, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.data.sketch import Sketch
from mainspring.monitoring import intake, records
from mainspring.monitoring.events import AlarmAcknowledged, AlarmRaised, MonitorStarted
from mainspring.monitoring.model import Alarm, Judgement, Monitor, MonitorSpec, MonitorStatus, WatchedVersion
from mainspring.monitoring.rules import performance
from mainspring.monitoring.rules.judging import Draft, Finding, Reference, judge_inputs, judge_loss
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.rules.windows import closed_inputs, closed_labels, day_of

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.registry import ModelVersion, Registry
    from mainspring.serving import Serving
    from mainspring.serving.model import StoredFeedback
    from mainspring.storage.ports import Journal, Tables

log = logging.getLogger(__name__)
LABEL_HORIZON_US = 90 * DAY_US
_RECENT_DAYS = 30


@dataclass(frozen=True)
class _Watched:
    """A version and what it is compared with; no reference when its training data are not known."""

    version: WatchedVersion
    reference: Reference | None


class Monitoring:
    """Watches what deployments are asked, what they answer and what turns out to be true.

    Everything runs on event time: the stream time is the latest event time seen, never the clock on the wall, so a year
    can be replayed. Counting is exactly once: what was counted and how far the logs were read are one transaction.

    Args:
        tables: Where windows, evidence and alarms are kept.
        journal: The event log.
        clock: Tells when an alarm was raised.
        serving: Gives predictions and feedback.
        registry: Knows versions and their validation loss.
        data: Knows the profiles of training data.
        spec: The visible settings.
        batch_rows: Most predictions, and most labels, that are counted in one transaction.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        clock: Clock,
        serving: Serving,
        registry: Registry,
        data: Data,
        spec: MonitorSpec | None = None,
        batch_rows: int = 20_000,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._serving, self._registry, self._data = serving, registry, data
        self.spec = spec or MonitorSpec()
        self._batch_rows = batch_rows
        self._references: dict[tuple[str, str, int], Reference | None] = {}

    # watch

    def watch(self, deployment: str) -> Monitor:
        """Watch a deployment from now on. Asked twice, it is done once.

        Raises:
            NotFound: No such deployment.
        """
        found = self._find(deployment)
        if found is None:
            self._serving.get(deployment)
            with self._tables.write() as conn:
                if records.add_monitor(conn, deployment, self._clock.now()):
                    fact = MonitorStarted(subject=f"monitors/{deployment}", deployment=deployment)
                    self._journal.append(conn, fact)
        return self.get(deployment)

    def get(self, deployment: str) -> Monitor:
        """One monitor.

        Raises:
            NotFound: The deployment is not watched.
        """
        found = self._find(deployment)
        if found is None:
            near = did_you_mean(deployment, [monitor.deployment for monitor in self.monitors()])
            hint = near or "mainspring deploy MODEL VERSION"
            raise NotFound(f"{deployment!r} is not watched", where="monitors", hint=hint)
        return found

    def monitors(self) -> list[Monitor]:
        """Every monitor of the project by name."""
        with self._tables.read() as conn:
            return records.list_monitors(conn)

    def _find(self, deployment: str) -> Monitor | None:
        with self._tables.read() as conn:
            return records.find_monitor(conn, deployment)

    # observe

    def observe(self, deployment: str) -> int:
        """Count new predictions and labels.

        Killed at any moment it loses nothing and counts nothing twice. Labels may come before their prediction or more
        than once.

        Returns: How many predictions and labels were new.
        Raises:
            NotFound: The deployment is not watched.
        """
        monitor = self.get(deployment)
        return self._observe_predictions(monitor) + self._observe_labels(monitor)

    def _observe_predictions(self, monitor: Monitor) -> int:
        try:
            rows = self._serving.predictions(monitor.deployment)
        except NotFound:
            return 0
        counted = 0
        position: intake.Position = json.loads(monitor.position or "{}")
        while batch := intake.next_batch(rows, position, self._batch_rows):
            fresh = self._count_predictions(monitor.deployment, batch, before=json.dumps(position, sort_keys=True))
            if fresh is None:  # somebody else counted these rows
                return counted + self._observe_predictions(self.get(monitor.deployment))
            counted, position = counted + fresh, batch.position
        return counted

    def _count_predictions(self, deployment: str, batch: intake.Batch, *, before: str) -> int | None:
        answers = intake.answers_of(batch.rows)
        with self._tables.read() as conn:
            known = records.find_answers(conn, deployment, [answer.prediction_id for answer in answers])
        rows = _without(batch.rows, known)
        watched = self._watched(deployment, {int(number) for number in rows["version"].unique()})
        grids = {number: entry.reference.profile.grid for number, entry in watched.items() if entry.reference}
        hours = list(intake.hours_of(rows, grids))
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or json.loads(monitor.position or "{}") != json.loads(before):
                return None
            self._store_hours(conn, deployment, hours, watched)
            for (number, day), count in intake.predictions_per_day(rows).items():
                records.add_outcomes(conn, deployment, number, day, Outcomes(predictions=count))
            fresh = records.add_answers(conn, deployment, [a for a in answers if a.prediction_id not in known])
            early = records.take_early_labels(conn, deployment, fresh)
            labels = self._count_labels(conn, deployment, early, watched)
            watermark = max(monitor.watermark, batch.watermark)
            records.forget(conn, deployment, watermark - LABEL_HORIZON_US)
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
        watched: Mapping[int, _Watched],
    ) -> None:
        known = {entry.version for entry in records.list_versions(conn, deployment)}
        for number, entry in watched.items():
            if number not in known:
                records.put_version(conn, entry.version)
        for number, hour, counted in hours:
            there = records.find_window(conn, deployment, number, hour)
            whole = counted if there is None else counted.merge(Sketch.from_bytes(there, counted.grid))
            records.put_window(conn, deployment, number, hour, rows=whole.rows, sketch=whole.to_bytes())

    def _observe_labels(self, monitor: Monitor) -> int:
        counted, last = 0, monitor.feedback_seq
        while page := self._serving.feedback_after(monitor.deployment, last, self._batch_rows):
            counted += self._count_feedback(monitor.deployment, page, before=last)
            last = page[-1].seq
        return counted

    def _count_feedback(self, deployment: str, page: Sequence[StoredFeedback], *, before: int) -> int:
        labels: dict[str, object] = {item.prediction_id: item.value for item in page if item.kind == "label"}
        with self._tables.read() as conn:
            answers = records.find_answers(conn, deployment, labels)
        watched = self._watched(deployment, {answer.version for answer in answers.values()})
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            if monitor is None or monitor.feedback_seq != before:
                return 0  # somebody else counted these labels
            counted = self._count_labels(conn, deployment, labels, watched)
            records.change_monitor(conn, deployment, feedback_seq=page[-1].seq, labels=monitor.labels + counted)
        return counted

    def _count_labels(
        self, conn: Connection, deployment: str, labels: Mapping[str, object], watched: Mapping[int, _Watched]
    ) -> int:
        """Count labels whose prediction was counted, once each, and keep the others until it is."""
        answers = records.find_answers(conn, deployment, labels)
        early = {name: value for name, value in labels.items() if name not in answers}
        monitor = records.find_monitor(conn, deployment)
        records.add_early_labels(conn, deployment, early, monitor.watermark if monitor else 0)
        days: dict[tuple[int, int], Outcomes] = {}
        for name, answer in answers.items():
            if not answer.is_labelled and answer.version in watched:
                version = watched[answer.version].version
                one = performance.outcome(
                    version.task, answer.score, answer.answer, labels[name], version.reference_loss
                )
                key = answer.version, day_of(answer.event_at)
                days[key] = days.get(key, Outcomes()).merge(one)
        for (number, day), more in days.items():
            records.add_outcomes(conn, deployment, number, day, more)
        records.mark_labelled(conn, deployment, [n for n, a in answers.items() if a.version in watched])
        return sum(more.rows + more.unread for more in days.values())

    # what versions are compared with

    def _watched(self, deployment: str, numbers: Iterable[int]) -> dict[int, _Watched]:
        wanted = set(numbers)
        if not wanted:
            return {}
        with self._tables.read() as conn:
            known = {entry.version: entry for entry in records.list_versions(conn, deployment)}
        model = self._serving.get(deployment).model
        found = {}
        for number in sorted(wanted):
            version = known.get(number) or self._first_look(deployment, model, number)
            found[number] = _Watched(version, self._reference(version))
        return found

    def _first_look(self, deployment: str, model: str, number: int) -> WatchedVersion:
        blank = WatchedVersion(deployment, number, model, "binary")
        try:
            made = self._registry.get(model, number)
        except NotFound:
            return replace(blank, problem=f"version {number} is not in the registry")
        blank = replace(blank, task=made.task)
        loss = performance.reference_loss(made.task, made.metrics)
        problems = []
        if loss is None:
            problems.append("no validation loss: realized performance is shown but not judged")
        else:
            blank = replace(blank, loss=loss[0], reference_loss=loss[1])
        try:
            reference = self._load_reference(made)
            if reference is None:
                problems.append("no reference dataset: drift is not judged")
            elif not reference.profile.grid.columns:
                problems.append(f"{made.reference} has none of the model's inputs: drift is not judged")
            else:
                blank = replace(blank, reference=made.reference)
        except MainspringError as reason:
            problems.append(f"the reference cannot be read: {reason.what}")
        return replace(blank, problem="; ".join(problems))

    def _reference(self, version: WatchedVersion) -> Reference | None:
        if not version.reference:
            return None
        key = (caller().project, version.model, version.version)
        if key not in self._references:
            self._references[key] = self._load_reference(self._registry.get(version.model, version.version))
        return self._references[key]

    def _load_reference(self, made: ModelVersion) -> Reference | None:
        if not made.reference:
            return None
        dataset = self._data.resolve(made.reference)
        profile = self._data.profile(dataset.dataset, dataset.number)
        return Reference.of(profile, [entry.name for entry in made.signature.inputs])

    # evaluate

    def evaluate(self, deployment: str) -> list[Alarm]:
        """Judge every window the stream has passed, and raise alarms about the live version.

        Returns: The alarms that are new.
        Raises:
            NotFound: The deployment is not watched.
        """
        self.get(deployment)
        live = self._serving.get(deployment).champion
        with self._tables.read() as conn:
            numbers = [entry.version for entry in records.list_versions(conn, deployment)]
        watched = self._watched(deployment, numbers)
        raised: list[Alarm] = []
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            watermark = monitor.watermark if monitor else 0
            for version in records.list_versions(conn, deployment):
                entry = watched.get(version.version)
                reference = entry.reference if entry else None
                raised += self._judge(conn, version, reference, watermark, is_live=version.version == live)
            self._close_old(conn, deployment, live)
            for alarm in raised:
                self._journal.append(conn, _raised(alarm, next(e.version.model for e in watched.values())))
        return raised

    def _judge(
        self, conn: Connection, version: WatchedVersion, reference: Reference | None, watermark: int, *, is_live: bool
    ) -> list[Alarm]:
        drafts: list[Draft] = []
        before = version
        if reference is not None:
            grid = reference.profile.grid
            rows = records.list_windows(
                conn, version.deployment, version.version, since=version.drift_until, until=day_of(watermark)
            )
            hours = [(start, Sketch.from_bytes(data, grid)) for start, _, data in rows]
            windows = closed_inputs(hours, grid, watermark)
            if windows:
                found = judge_inputs(version, reference, windows, self.spec)
                version, more = self._keep(conn, version, found)
                version, drafts = replace(version, drift_until=windows[-1].end), drafts + more
        if version.loss:
            days = records.list_outcomes(conn, version.deployment, version.version, since=version.loss_until)
            labelled, until = closed_labels(days, watermark, self.spec)
            found = judge_loss(version, labelled, self.spec)
            version, more = self._keep(conn, version, found)
            version, drafts = replace(version, loss_until=max(until, version.loss_until)), drafts + more
        if version != before:
            records.put_version(conn, version)
        return self._raise(conn, version, drafts) if is_live else []

    def _keep(self, conn: Connection, version: WatchedVersion, found: Finding) -> tuple[WatchedVersion, list[Draft]]:
        for judgement in found.judgements:
            records.put_judgement(conn, judgement)
        return replace(version, state=found.state), found.drafts

    def _raise(self, conn: Connection, version: WatchedVersion, drafts: Sequence[Draft]) -> list[Alarm]:
        """Raise alarms. Drift joins an open alarm of its kind; about performance the newer alarm replaces the older."""
        raised: list[Alarm] = []
        for draft in drafts:
            open_ones = records.list_alarms(conn, version.deployment, states=("open",))
            same = [a for a in open_ones if a.version == version.version and a.cause == draft.cause]
            if same and draft.cause != "performance":
                evidence = {**draft.evidence, "columns": _joined(same[0].evidence, draft.evidence)}
                records.change_alarm(conn, same[0].id, evidence=evidence, window_end=draft.window_end)
                continue
            for older in same:
                records.change_alarm(conn, older.id, state="repeated")
            alarm = Alarm(
                id=new_id(),
                deployment=version.deployment,
                version=version.version,
                cause=draft.cause,
                state="open",
                text=draft.text,
                evidence=draft.evidence,
                window_start=draft.window_start,
                window_end=draft.window_end,
                raised_at=self._clock.now(),
            )
            records.add_alarm(conn, alarm)
            raised.append(alarm)
        return raised

    def _close_old(self, conn: Connection, deployment: str, live: int) -> None:
        for alarm in records.list_alarms(conn, deployment, states=("open",)):
            if alarm.version != live:
                records.change_alarm(conn, alarm.id, state="closed")

    # look

    def status(self, deployment: str) -> MonitorStatus:
        """All there is to see of a monitor.

        Raises:
            NotFound: The deployment is not watched.
        """
        monitor = self.get(deployment)
        live = self._serving.get(deployment).champion
        with self._tables.read() as conn:
            versions = tuple(records.list_versions(conn, deployment))
            windows = tuple(records.list_judgements(conn, deployment))
            alarms = tuple(records.list_alarms(conn, deployment))
            since = day_of(monitor.watermark) - _RECENT_DAYS * DAY_US
            recent = records.list_outcomes(conn, deployment, live, since=since)
            awaiting = records.count_awaiting(conn, deployment)
        task = next((version.task for version in versions if version.version == live), "binary")
        total = Outcomes()
        for _, outcomes in recent:
            total = total.merge(outcomes)
        problems = tuple(f"version {v.version}: {v.problem}" for v in versions if v.problem and v.version == live)
        return MonitorStatus(
            monitor=monitor,
            state=_state(monitor, windows, alarms, live),
            version=live,
            versions=versions,
            windows=windows,
            alarms=alarms,
            measures=performance.measures(total, task),
            awaiting_labels=awaiting,
            problems=problems,
        )

    def alarms(
        self, deployment: str = "", *, states: Sequence[str] = (), before: str = "", limit: int = 100
    ) -> list[Alarm]:
        """Alarms, newest first; of every deployment when none is named."""
        with self._tables.read() as conn:
            return records.list_alarms(conn, deployment, states=states, before=before, limit=limit)

    def alarm(self, alarm_id: str) -> Alarm:
        """One alarm, by its id or the beginning of it.

        Raises:
            NotFound: No such alarm.
        """
        with self._tables.read() as conn:
            return _found(records.find_alarm(conn, alarm_id), alarm_id)

    def acknowledge(self, alarm_id: str, note: str = "") -> Alarm:
        """Note that a person has seen the alarm. Done twice, the first one stays.

        Raises:
            NotFound: No such alarm.
        """
        with self._tables.write() as conn:
            alarm = _found(records.find_alarm(conn, alarm_id, lock=True), alarm_id)
            if not alarm.acknowledged_at:
                seen = {"acknowledged_at": self._clock.now(), "acknowledged_by": caller().actor, "note": note}
                state = "acknowledged" if alarm.state == "open" else alarm.state
                records.change_alarm(conn, alarm.id, state=state, **seen)
                self._journal.append(
                    conn,
                    AlarmAcknowledged(subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, note=note),
                )
        return self.alarm(alarm.id)


def _without(rows: pl.DataFrame, known: Mapping[str, object]) -> pl.DataFrame:
    import polars as pl

    return rows.filter(~pl.col("id").is_in(list(known))) if known else rows


def _raised(alarm: Alarm, model: str) -> AlarmRaised:
    return AlarmRaised(
        subject=alarm.ref,
        deployment=alarm.deployment,
        model=model,
        version=alarm.version,
        cause=alarm.cause,
        text=alarm.text,
        window_start=alarm.window_start,
        window_end=alarm.window_end,
        performance_evidence=alarm.cause == "performance",
        evidence=alarm.evidence,
    )


def _joined(before: Mapping[str, object], after: Mapping[str, object]) -> list[object]:
    """The columns of an alarm with those that joined it; a column that is in both is as it is now."""
    columns: dict[object, object] = {}
    for evidence in (before, after):
        entries = evidence.get("columns")
        columns |= {entry["column"]: entry for entry in entries} if isinstance(entries, list) else {}
    return list(columns.values())


def _found(alarm: Alarm | None, alarm_id: str) -> Alarm:
    if alarm is None:
        raise NotFound(f"no alarm {alarm_id!r}", where="alarms", hint="mainspring monitor alarms")
    return alarm


def _state(monitor: Monitor, windows: Sequence[Judgement], alarms: Sequence[Alarm], live: int) -> str:
    if not monitor.watermark:
        return "waiting"
    if any(alarm.state == "open" for alarm in alarms):
        return "alarm"
    latest = {window.cause: window for window in windows if window.version == live}
    return "watch" if any(window.state != "ok" for window in latest.values()) else "ok"
