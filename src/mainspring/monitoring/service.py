"""The verbs of monitoring: watch, observe, evaluate, status, acknowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, Clock
from mainspring.core.errors import NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.data.sketch import Sketch
from mainspring.monitoring import records
from mainspring.monitoring.events import AlarmAcknowledged, AlarmRaised, MonitorStarted
from mainspring.monitoring.model import Alarm, Judgement, Monitor, MonitorSpec, MonitorStatus, WatchedVersion
from mainspring.monitoring.observing import Observer
from mainspring.monitoring.references import References
from mainspring.monitoring.rules import performance
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
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.rules.windows import closed_inputs, closed_labels, day_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.registry import Registry
    from mainspring.serving import Serving
    from mainspring.storage.ports import Journal, Tables

_RECENT_DAYS = 30


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
        self._serving = serving
        self.spec = spec or MonitorSpec()
        self._references = References(tables=tables, serving=serving, registry=registry, data=data)
        self._observer = Observer(tables=tables, serving=serving, references=self._references, batch_rows=batch_rows)

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
        return self._observer.observe(self.get(deployment))

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

    # look

    def status(self, deployment: str, *, windows: int = 60) -> MonitorStatus:
        """All there is to see of a monitor, with at most `windows` judgements.

        Raises:
            NotFound: The deployment is not watched.
        """
        monitor = self.get(deployment)
        live = self._serving.get(deployment).champion
        with self._tables.read() as conn:
            versions = tuple(replace(entry, state={}) for entry in records.list_versions(conn, deployment))
            judged = tuple(records.list_judgements(conn, deployment, limit=windows))
            alarms = tuple(records.list_alarms(conn, deployment))
            since = day_of(monitor.watermark) - _RECENT_DAYS * DAY_US
            recent = records.list_outcomes(conn, deployment, live, since=since)
            awaiting = records.count_awaiting(conn, deployment)
        task = next((version.task for version in versions if version.version == live), "binary")
        total = Outcomes.total(outcomes for _, outcomes in recent)
        problems = tuple(f"version {v.version}: {v.problem}" for v in versions if v.problem and v.version == live)
        return MonitorStatus(
            monitor=monitor,
            state=_state(monitor, judged, alarms, live),
            version=live,
            versions=versions,
            windows=judged,
            alarms=alarms,
            measures=performance.measures(total, task),
            calibration=tuple(performance.calibration(total)),
            awaiting_labels=awaiting,
            problems=problems,
        )

    def smallest_change(self, deployment: str) -> float | None:
        """The least share of rows whose move raises an alarm within one window like the latest; None without windows.

        It is that of the column whose days differ as much as those of half of the columns.
        """
        live = self._serving.get(deployment).champion
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
