"""Judging closed windows, and raising alarms about what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.clock import Clock, day_of
from mainspring.core.ids import new_id
from mainspring.data.sketch import Sketch
from mainspring.monitoring import records
from mainspring.monitoring.events import AlarmRaised
from mainspring.monitoring.model import Alarm, MonitorSpec, WatchedVersion
from mainspring.monitoring.references import References
from mainspring.monitoring.rules.drift import smallest_change
from mainspring.monitoring.rules.judging import (
    INDEPENDENT_ROWS,
    Draft,
    Finding,
    Reference,
    drift_level,
    drift_text,
    judge_inputs,
    judge_loss,
)
from mainspring.monitoring.rules.windows import closed_inputs, closed_labels

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables


class Evaluator:
    """Judges what was counted.

    Args:
        tables: Where windows, evidence and alarms are kept.
        journal: The event log.
        clock: Tells when an alarm was raised.
        references: Gives what windows are compared with.
        spec: The visible settings.
    """

    def __init__(
        self, *, tables: Tables, journal: Journal, clock: Clock, references: References, spec: MonitorSpec
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._references = references
        self.spec = spec

    def evaluate(self, deployment: str, live: int) -> list[Alarm]:
        """Judge every window the stream has passed, and raise alarms about the live version. Returns the new ones."""
        with self._tables.read() as conn:
            numbers = [entry.version for entry in records.list_versions(conn, deployment)]
        watched = self._references.of(deployment, numbers)
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
                columns = _joined(same[0].evidence, draft.evidence)
                changed = {"evidence": {**draft.evidence, "columns": columns}, "text": drift_text(columns)}
                records.change_alarm(conn, same[0].id, **changed, window_end=draft.window_end)
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

    def smallest_change(self, deployment: str, live: int) -> float | None:
        """See `Monitoring.smallest_change`."""
        watched = self._references.of(deployment, {live})[live]
        with self._tables.read() as conn:
            latest = records.list_judgements(conn, deployment, cause="drift", version=live, limit=1)
        if watched.reference is None or not latest:
            return None
        columns = len(watched.reference.profile.grid.columns)
        dispersion = sorted(watched.reference.dispersions)[columns // 2]
        found = smallest_change(
            reference_rows=watched.reference.profile.sketch.rows,
            rows=max(latest[0].rows, round(INDEPENDENT_ROWS * dispersion)),
            dispersion=dispersion,
            columns=columns,
            level=drift_level(columns, self.spec),
        )
        return found if found < 1 else None


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


def _joined(before: Mapping[str, object], after: Mapping[str, object]) -> list[dict[str, object]]:
    """The columns of an alarm with those that joined it; a column that is in both is as it is now."""
    columns: dict[object, dict[str, object]] = {}
    for evidence in (before, after):
        entries = evidence.get("columns")
        columns |= {entry["column"]: entry for entry in entries} if isinstance(entries, list) else {}
    return list(columns.values())
