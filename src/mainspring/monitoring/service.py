"""The verbs of monitoring: watch, observe, evaluate, status, acknowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, Clock, day_of
from mainspring.core.errors import NotFound, did_you_mean
from mainspring.monitoring import records
from mainspring.monitoring.alarms import AlarmDesk
from mainspring.monitoring.calibrations import Calibrations
from mainspring.monitoring.events import AlarmAcknowledged, MonitorStarted
from mainspring.monitoring.model import UNSEEN_STATES, Alarm, Coverage, Judgement, Monitor, MonitorSpec, MonitorStatus
from mainspring.monitoring.replaying import Replayed, replay, spec_of
from mainspring.monitoring.rules import performance
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.vectors import CAUSE as VECTORS
from mainspring.monitoring.vectors import Vectors

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.gates import Gates
    from mainspring.monitoring.evaluating import Evaluator
    from mainspring.monitoring.health import ServiceHealth
    from mainspring.monitoring.histograms import HistogramPair
    from mainspring.monitoring.observing import Observer
    from mainspring.monitoring.references import References
    from mainspring.monitoring.rules.usage import UsageWindow
    from mainspring.registry import Registry
    from mainspring.registry.model import Importance
    from mainspring.serving import Serving
    from mainspring.storage.ports import Journal, Queue, Tables

_RECENT_DAYS = 30
BY_MINUTES = ("service", "resources")
"""What is judged by minutes and would crowd out the days."""


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
        gates: Know what versions said to rows they did not learn from.
        spec: The visible settings.
        batch_rows: Most predictions, and most labels, that are counted in one transaction.
        queue: Where the comparison of vectors waits that an alarm asks for; without one none is made.
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
        gates: Gates | None = None,
        spec: MonitorSpec | None = None,
        batch_rows: int = 20_000,
        queue: Queue | None = None,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._serving, self._registry, self._data = serving, registry, data
        self.spec = spec or MonitorSpec()
        self.calibrations = Calibrations(gates, self.spec)
        self._batch_rows = batch_rows
        self.desk = AlarmDesk(tables=tables, journal=journal, clock=clock, spec=self.spec)
        self.vectors = Vectors(
            tables=tables,
            journal=journal,
            clock=clock,
            serving=serving,
            data=data,
            references=lambda: self._references,
            queue=queue,
        )

    # What counts and judges brings the libraries of arrays and frames: a server that watches nothing goes without.

    @cached_property
    def _references(self) -> References:
        from mainspring.monitoring.references import References

        return References(
            tables=self._tables,
            serving=self._serving,
            registry=self._registry,
            data=self._data,
            packs=self.spec.packs,
        )

    @cached_property
    def _observer(self) -> Observer:
        from mainspring.monitoring.observing import Observer

        return Observer(
            tables=self._tables,
            serving=self._serving,
            references=self._references,
            batch_rows=self._batch_rows,
            segments=self.spec.segments,
        )

    @cached_property
    def _evaluator(self) -> Evaluator:
        from mainspring.monitoring.evaluating import Evaluator

        return Evaluator(
            tables=self._tables,
            journal=self._journal,
            clock=self._clock,
            references=self._references,
            spec=self.spec,
            gaps=self.calibrations.gaps,
            vectors=self.vectors,
        )

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
            hint = near or f"mainspring deploy MODEL --name {deployment}"
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
        raised = self._evaluator.evaluate(deployment, self._serving.get(deployment).champion)
        self.desk.mind()
        return raised

    def replay(self, deployment: str, changes: Mapping[str, str]) -> Replayed:
        """Which alarms there would have been under other settings, from all that is stored. Nothing is changed.

        Args:
            deployment: Which.
            changes: Settings of `[monitor]` as text; the others are those in force.
        Raises:
            NotFound: The deployment is not watched.
            Invalid: A setting is not known, or not right.
        """
        self.get(deployment)
        return replay(self._tables, self._references, deployment, spec_of(self.spec, changes))

    # look

    def status(self, deployment: str, *, windows: int = 60) -> MonitorStatus:
        """All there is to see of a monitor, with at most `windows` judgements.

        Raises:
            NotFound: The deployment is not watched.
        """
        monitor = self.get(deployment)
        live = self._serving.get(deployment).champion
        with self._tables.read() as conn:
            versions = tuple(records.list_stateless(conn, deployment))
            judged = tuple(records.list_judgements(conn, deployment, without=(*BY_MINUTES, VECTORS), limit=windows))
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

    def windows(self, deployment: str, cause: str, *, version: int = 0, limit: int = 60) -> list[Judgement]:
        """The newest judged windows of a cause, in order of time; of every version when none is named."""
        with self._tables.read() as conn:
            return records.list_judgements(conn, deployment, cause=cause, version=version, limit=limit)

    def histograms(self, deployment: str, window: Judgement) -> list[HistogramPair]:
        """The columns of a judged window beside the reference; none when there is no reference."""
        from mainspring.data.sketch import Sketch
        from mainspring.data.sketch.derivation import REGION
        from mainspring.monitoring.histograms import histogram_pair, region_map

        watched = self._references.of(deployment, {window.version})[window.version]
        if watched.reference is None:
            return []
        grid, span = watched.reference.profile.grid, {"since": window.window_start, "until": window.window_end}
        with self._tables.read() as conn:
            hours = records.list_windows(conn, deployment, window.version, **span)
        seen = Sketch.total(grid, (Sketch.from_bytes(data, grid) for _, _, data in hours))
        regions = {f"{one.name}: {REGION}": one for one in watched.reference.vectors}
        pairs = zip(watched.reference.profile.sketch.columns, seen.columns, strict=True)
        return [
            region_map(regions[name], *pair) if (name := pair[0].cells.name) in regions else histogram_pair(*pair)
            for pair in pairs
        ]

    def health(self, deployment: str) -> ServiceHealth:
        """How a deployment answered over the last day of requests, and what the model server used meanwhile.

        Raises:
            NotFound: The deployment is not watched.
        """
        from mainspring.monitoring.health import health_of

        self.get(deployment)
        with self._tables.read() as conn:
            return health_of(conn, deployment)

    def usage(self) -> list[UsageWindow]:
        """What each worker of the model server used in the newest five minutes that were counted."""
        from mainspring.monitoring.health import newest_usage

        with self._tables.read() as conn:
            return newest_usage(records.usage.list_usage(conn, since=records.usage.last_usage(conn)))

    def importance(self, deployment: str) -> Importance | None:
        """How much each input matters to the live version, None when it was registered without."""
        live = self._serving.get(deployment).champion
        return self._references.of(deployment, {live})[live].importance

    def coverage(self, deployment: str) -> list[Coverage]:
        """How well the intervals of predictions held, by version; empty without intervals or labels.

        Raises:
            NotFound: The deployment is not watched.
        """
        monitor = self.get(deployment)
        if self._serving.get(deployment).options.interval is None:
            return []
        counts = self._serving.covered(deployment, day_of(monitor.watermark) - _RECENT_DAYS * DAY_US)
        return [performance.coverage_of(version, *counts[version]) for version in sorted(counts)]

    def smallest_change(self, deployment: str) -> float | None:
        """The least share of rows whose move is found within a week of windows like the latest; None without windows.

        It is that of the column in the middle.
        """
        return self._evaluator.smallest_change(deployment, self._serving.get(deployment).champion)

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
                state = "acknowledged" if alarm.state in (*UNSEEN_STATES, "silenced") else alarm.state
                records.change_alarm(conn, alarm.id, state=state, **seen)
                self._journal.append(
                    conn,
                    AlarmAcknowledged(subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, note=note),
                )
        return self.alarm(alarm.id)


def _found(alarm: Alarm | None, alarm_id: str) -> Alarm:
    if alarm is None:
        raise NotFound(f"no alarm {alarm_id!r}", where="alarms", hint="mainspring monitor alarms")
    return alarm


def _state(monitor: Monitor, windows: Sequence[Judgement], alarms: Sequence[Alarm], live: int) -> str:
    if not monitor.watermark:
        return "waiting"
    if any(alarm.state in UNSEEN_STATES for alarm in alarms):
        return "alarm"
    latest = {window.cause: window for window in windows if window.version == live}
    return "watch" if any(window.state != "ok" for window in latest.values()) else "ok"
