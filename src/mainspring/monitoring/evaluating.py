"""Judging closed windows, and raising alarms about what is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, HOUR_US, SECOND_US, Clock, day_of
from mainspring.core.ids import new_id
from mainspring.data.sketch import Sketch
from mainspring.monitoring import records
from mainspring.monitoring.events import AlarmClosed, AlarmRaised
from mainspring.monitoring.model import Alarm, MonitorSpec, Silence, WatchedVersion
from mainspring.monitoring.references import References
from mainspring.monitoring.rules.drift import smallest_change
from mainspring.monitoring.rules.gap import GapWindow, judge_gap
from mainspring.monitoring.rules.impact import impact_text, in_order, weigh
from mainspring.monitoring.rules.judging import (
    Draft,
    Finding,
    drift_level,
    judge_inputs,
    judge_loss,
)
from mainspring.monitoring.rules.packs import Pack
from mainspring.monitoring.rules.packwindows import closed_windows, judge_pack
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.resources import judge_resources, resource_drafts, resource_judgement
from mainspring.monitoring.rules.service import closed_service, judge_service, service_drafts, service_judgement
from mainspring.monitoring.rules.silencing import silence_of
from mainspring.monitoring.rules.stale import HORIZON_US, judge_stale, stale_draft
from mainspring.monitoring.rules.windows import closed_inputs, closed_labels
from mainspring.monitoring.vectors import CAUSE as VECTORS
from mainspring.monitoring.vectors import Vectors

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables


_LIVE_STATES = ("open", "escalated", "silenced", "acknowledged")
_WEEK = 7
_LATE_US = 30 * SECOND_US
"""So long after it was answered a request is in the log and counted."""
Gaps = Callable[["Connection", WatchedVersion], Sequence[GapWindow]]
"""Gives the closed windows of a version that have both a realized and an estimated loss, in order of time."""


class Evaluator:
    """Judges what was counted.

    Args:
        tables: Where windows, evidence and alarms are kept.
        journal: The event log.
        clock: Tells when an alarm was raised.
        references: Gives what windows are compared with.
        spec: The visible settings.
        gaps: Gives realized and estimated losses side by side.
        vectors: Compares those that alarms are about; nobody does without.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        clock: Clock,
        references: References,
        spec: MonitorSpec,
        gaps: Gaps = lambda conn, version: (),
        vectors: Vectors | None = None,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._references, self._gaps, self._vectors = references, gaps, vectors
        self.spec = spec

    def evaluate(self, deployment: str, live: int) -> list[Alarm]:
        """Judge every window the stream has passed, and raise alarms about the live version. Returns the new ones."""
        with self._tables.read() as conn:
            numbers = [entry.version for entry in records.list_stateless(conn, deployment)]
        watched = self._references.of(deployment, numbers)
        raised: list[Alarm] = []
        with self._tables.write() as conn:
            monitor = records.find_monitor(conn, deployment, lock=True)
            watermark = monitor.watermark if monitor else 0
            for version in records.list_versions(conn, deployment):
                entry = watched.get(version.version)
                pack = entry.pack if entry else None
                reference = entry.reference if entry else None
                importance = entry.importance if entry else None
                is_live = version.version == live
                drafts = self._judge(conn, version, reference, pack, watermark=watermark, is_live=is_live)
                raised += self._raise(conn, version, [weigh(draft, importance) for draft in drafts], reference)
            closed = self._close_old(conn, deployment, live)
            facts = [_raised(alarm, next(e.version.model for e in watched.values())) for alarm in raised]
            if facts or closed:
                self._journal.append(conn, *closed, *facts)
        return raised

    def _judge(
        self,
        conn: Connection,
        version: WatchedVersion,
        reference: Reference | None,
        pack: Pack | None,
        *,
        watermark: int,
        is_live: bool,
    ) -> list[Draft]:
        """Judge what is new of a version. Returns the alarms it asks for: none when it is not live."""
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
        if pack is not None:
            version, more = self._judge_pack(conn, version, pack, watermark)
            drafts = drafts + more
        if version.loss and (pack is None or pack.kind == "forecasting"):
            days = records.list_outcomes(conn, version.deployment, version.version, since=version.loss_until)
            labelled, until = closed_labels(days, watermark, self.spec)
            found = judge_loss(version, labelled, self.spec)
            version, more = self._keep(conn, version, found)
            version, drafts = replace(version, loss_until=max(until, version.loss_until)), drafts + more
        version, more = self._judge_requests(conn, version, is_live=is_live)
        found = judge_gap(version, self._gaps(conn, version), self.spec)
        version, yet_more = self._keep(conn, version, found) if found.judgements else (version, [])
        if version != before:
            records.put_version(conn, version)
        return [*drafts, *more, *yet_more] if is_live else []

    def _judge_pack(
        self, conn: Connection, version: WatchedVersion, pack: Pack, watermark: int
    ) -> tuple[WatchedVersion, list[Draft]]:
        """Judge a ranking, forecasts or risks by the answers and labels of days that are over."""
        state = version.state.get("pack", {})
        since = int(state.get("until", 0)) if isinstance(state, dict) else 0
        if since + DAY_US > watermark:
            return version, []
        span = {"since": since, "until": day_of(watermark)}
        rows = records.list_answers(conn, version.deployment, version.version, **span)
        windows = closed_windows(pack, rows, watermark, self.spec)
        if not windows:
            return version, []
        after, found = judge_pack(version, pack, windows, self.spec)
        version, drafts = self._keep(conn, version, found)
        return replace(version, state={**version.state, "pack": after}), drafts

    def _judge_requests(
        self, conn: Connection, version: WatchedVersion, *, is_live: bool
    ) -> tuple[WatchedVersion, list[Draft]]:
        """Judge how a version answers, and of the live one whether it is still asked. This is of wall time."""
        before = version.state.get("service", {})
        state = dict(before) if isinstance(before, dict) else {}
        deployment, since = version.deployment, state.get("until", 0)
        now = max(self._clock.now() - _LATE_US, records.requests.last_service(conn, deployment))
        counted = records.requests.list_service(conn, deployment, version=version.version, since=since)
        after, findings = judge_service(state, closed_service(counted, now), self.spec)
        drafts = [draft for found in findings for draft in service_drafts(found)]
        for found in findings:
            records.put_judgement(conn, service_judgement(version, found))
        version = replace(version, state={**version.state, "service": after}) if findings else version
        if not is_live:
            return version, drafts
        version, more = self._judge_resources(conn, version, now)
        return self._judge_stillness(conn, version, now, [*drafts, *more])

    def _judge_resources(
        self, conn: Connection, version: WatchedVersion, now: int
    ) -> tuple[WatchedVersion, list[Draft]]:
        """Judge what the model server uses, for every deployment that it answers for; the first one says so for all."""
        before = version.state.get("resources", {})
        state = dict(before) if isinstance(before, dict) else {}
        windows = records.usage.list_usage(conn, since=state.get("until", 0))
        until = max(now, records.usage.last_usage(conn))
        after, findings = judge_resources(state, windows, until, self.spec)
        for found in findings:
            records.put_judgement(conn, resource_judgement(version, found))
        drafts = [draft for found in findings for draft in resource_drafts(found)]
        return (replace(version, state={**version.state, "resources": after}) if findings else version), drafts

    def _judge_stillness(
        self, conn: Connection, version: WatchedVersion, now: int, drafts: list[Draft]
    ) -> tuple[WatchedVersion, list[Draft]]:
        before = version.state.get("stale", {})
        state = before if isinstance(before, dict) else {}
        if state.get("until", 0) + HOUR_US > now:
            return version, drafts
        hours = records.requests.hourly_requests(conn, version.deployment, since=now - now % HOUR_US - HORIZON_US)
        after, stillness = judge_stale(state, hours, now, self.spec)
        drafts = drafts if stillness is None else [*drafts, stale_draft(stillness)]
        return replace(version, state={**version.state, "stale": after}) if after else version, drafts

    def _keep(self, conn: Connection, version: WatchedVersion, found: Finding) -> tuple[WatchedVersion, list[Draft]]:
        for judgement in found.judgements:
            records.put_judgement(conn, judgement)
        return replace(version, state=found.state), found.drafts

    def _raise(
        self, conn: Connection, version: WatchedVersion, drafts: Sequence[Draft], reference: Reference | None
    ) -> list[Alarm]:
        """Raise alarms, one for each cause of a version, and have the vectors compared that they are about.

        What is said again while nobody has looked joins the alarm that says so already. About performance, and once
        somebody has looked, the newer alarm replaces the older. Alarms that fall under a silence are silenced.
        """
        raised: list[Alarm] = []
        silences = records.silences.list_silences(conn, holding_at=self._clock.now()) if drafts else []
        for draft in drafts:
            known = records.list_alarms(conn, version.deployment, states=_LIVE_STATES)
            same = [a for a in known if a.version == version.version and a.cause == draft.cause]
            unseen = [alarm for alarm in same if alarm.state != "acknowledged"]
            if unseen and draft.cause != "performance":
                self._compare_vectors(conn, self._join(conn, unseen[0], draft, silences), reference)
                continue
            if draft.cause == "resources" and self._is_told(conn, version.deployment, draft):
                continue
            for older in same:
                records.change_alarm(conn, older.id, state="repeated")
            now = self._clock.now()
            silence = silence_of(silences, version.deployment, draft.cause, draft.evidence, now)
            alarm = Alarm(
                id=new_id(),
                deployment=version.deployment,
                version=version.version,
                cause=draft.cause,
                state="silenced" if silence else "open",
                text=draft.text,
                evidence=draft.evidence,
                window_start=draft.window_start,
                window_end=draft.window_end,
                raised_at=now,
                silence=silence.id if silence else "",
            )
            records.add_alarm(conn, alarm)
            self._compare_vectors(conn, alarm, reference)
            raised.append(alarm)
        return raised

    def _compare_vectors(self, conn: Connection, alarm: Alarm, reference: Reference | None) -> None:
        if self._vectors is not None and reference is not None:
            self._vectors.ask_about(conn, alarm, [one.name for one in reference.vectors])

    def _is_told(self, conn: Connection, deployment: str, draft: Draft) -> bool:
        """Whether another deployment has told of the model server, which is the same for all, about this time."""
        told = records.list_alarms(conn, states=("open", "escalated", "acknowledged"))
        others = [alarm for alarm in told if alarm.cause == draft.cause and alarm.deployment != deployment]
        return any(alarm.window_end + DAY_US > draft.window_start for alarm in others)

    def _join(self, conn: Connection, alarm: Alarm, draft: Draft, silences: Sequence[Silence]) -> Alarm:
        """Bring what an alarm says up to date; one more column may end the silence it falls under.

        What was found of its vectors, which is done after it was raised, stays.
        """
        columns = _joined(alarm.evidence, draft.evidence)
        found = {VECTORS: alarm.evidence[VECTORS]} if VECTORS in alarm.evidence else {}
        evidence = {**found, **draft.evidence, **({"columns": columns} if columns else {})}
        text = impact_text(columns) if columns else draft.text
        records.change_alarm(conn, alarm.id, evidence=evidence, text=text, window_end=draft.window_end)
        still = silence_of(silences, alarm.deployment, alarm.cause, evidence, self._clock.now())
        if alarm.state == "silenced" and still is None:
            records.change_alarm(conn, alarm.id, silence="")  # the desk opens it, and says so
        return replace(alarm, evidence=evidence, text=text, window_end=draft.window_end)

    def _close_old(self, conn: Connection, deployment: str, live: int) -> list[AlarmClosed]:
        closed = []
        for alarm in records.list_alarms(conn, deployment, states=("open", "escalated", "silenced")):
            if alarm.version != live:
                records.change_alarm(conn, alarm.id, state="closed", closed_at=self._clock.now())
                note = f"version {live} is live"
                closed.append(AlarmClosed(subject=alarm.ref, deployment=deployment, cause=alarm.cause, note=note))
        return closed

    def smallest_change(self, deployment: str, live: int) -> float | None:
        """See `Monitoring.smallest_change`."""
        watched = self._references.of(deployment, {live})[live]
        with self._tables.read() as conn:
            latest = records.list_judgements(conn, deployment, cause="drift", version=live, limit=1)
        if watched.reference is None or not latest:
            return None
        columns = len(watched.reference.profile.grid.columns)
        found = smallest_change(
            watched.reference.usual,
            reference_rows=watched.reference.profile.sketch.rows,
            rows=latest[0].rows,
            windows=_WEEK,
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
        silenced=alarm.state == "silenced",
        evidence=alarm.evidence,
    )


def _joined(before: Mapping[str, object], after: Mapping[str, object]) -> list[dict[str, object]]:
    """The columns of an alarm with those that joined it; a column that is in both is as it is now."""
    columns: dict[object, dict[str, object]] = {}
    for evidence in (before, after):
        entries = evidence.get("columns")
        columns |= {entry["column"]: entry for entry in entries} if isinstance(entries, list) else {}
    return in_order(list(columns.values()))
