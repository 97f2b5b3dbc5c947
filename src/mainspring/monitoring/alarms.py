"""What people and time do to alarms: close, silence, escalate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, HOUR_US, Clock
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.monitoring import records
from mainspring.monitoring.events import (
    AlarmClosed,
    AlarmEscalated,
    AlarmReopened,
    AlarmSilenced,
    SilenceAdded,
    SilenceEnded,
)
from mainspring.monitoring.model import CAUSES, UNSEEN_STATES, Alarm, AlarmStep, MonitorSpec, Silence
from mainspring.monitoring.rules.silencing import silence_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.core.events import Event
    from mainspring.storage.ports import Journal, Tables

_LONGEST_US = 366 * DAY_US


class AlarmDesk:
    """Where alarms are closed and silenced, and where those that nobody looks at go on to the next.

    Args:
        tables: Where alarms and silences are kept.
        journal: The event log.
        clock: Tells the time on the wall.
        spec: Says how long an alarm may stay unseen.
    """

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock, spec: MonitorSpec | None = None) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self.spec = spec or MonitorSpec()

    def close(self, alarm_id: str, note: str = "") -> Alarm:
        """Note that an alarm is over. Done twice, the first one stays.

        Raises:
            NotFound: No such alarm.
        """
        with self._tables.write() as conn:
            alarm = self._found(conn, alarm_id)
            if alarm.state != "closed":
                now = self._clock.now()
                said = {"closed_at": now, "closed_by": caller().actor, "note": note or alarm.note}
                records.change_alarm(conn, alarm.id, state="closed", **said)
                self._journal.append(
                    conn, AlarmClosed(subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, note=note)
                )
            return self._found(conn, alarm.id)

    def silence(self, *, until: int, why: str, deployment: str = "", cause: str = "", column: str = "") -> Silence:
        """Tell nobody of alarms for a while; those that are open and fall under it are silenced at once.

        Alarms are still raised, kept and shown, and policies of the loop still act on them.

        Args:
            until: Wall time, microseconds.
            why: For those who wonder.
            deployment: Only of this one.
            cause: Only of this cause.
            column: Only about this column.
        Raises:
            Invalid: It is over already, lasts longer than a year, has no reason or names a cause that is none.
        """
        now = self._clock.now()
        if not now < until <= now + _LONGEST_US:
            raise Invalid("a silence ends within a year from now", where="until", hint="such as 8h or 7d")
        if not why.strip():
            raise Invalid("a silence without a reason", where="why", hint="say why nobody should be told")
        if cause and cause not in CAUSES:
            raise Invalid(f"{cause[:60]!r} is no cause", where="cause", hint="use one of " + ", ".join(CAUSES))
        made = Silence(new_id(), deployment, cause, column, until, why.strip(), now, caller().actor)
        with self._tables.write() as conn:
            records.silences.add(conn, made)
            facts: list[AlarmSilenced] = []
            for alarm in records.list_alarms(conn, deployment, states=UNSEEN_STATES, limit=500):
                if silence_of([made], alarm.deployment, alarm.cause, alarm.evidence, now):
                    records.change_alarm(conn, alarm.id, state="silenced", silence=made.id)
                    facts.append(_silenced(alarm, made))
            added = SilenceAdded(
                subject=made.ref, deployment=deployment, cause=cause, column=column, until=until, why=made.why
            )
            self._journal.append(conn, added, *facts)
        return made

    def after(self, micros: int) -> int:
        """The wall time so many microseconds from now."""
        return self._clock.now() + micros

    def unsilence(self, silence_id: str) -> Silence:
        """End a silence now. Alarms that fell under it are open again. Done twice, the first one stays.

        Raises:
            NotFound: No such silence.
        """
        with self._tables.write() as conn:
            found = records.silences.find(conn, silence_id)
            if found is None:
                raise NotFound(f"no silence {silence_id[:60]!r}", where="silences", hint="mainspring monitor silences")
            if not found.ended_at:
                records.silences.end(conn, found.id, at=self._clock.now(), by=caller().actor)
                self._journal.append(conn, SilenceEnded(subject=found.ref, deployment=found.deployment))
                self._reopen(conn)
            return records.silences.find(conn, found.id) or found

    def silences(self, *, ended: bool = False) -> list[Silence]:
        """Silences that hold, newest first; with `ended` those that are over too."""
        with self._tables.read() as conn:
            return records.silences.list_silences(conn, holding_at=None if ended else self._clock.now())

    def history(self, alarm_id: str) -> list[AlarmStep]:
        """What became of an alarm, in order, from the event log.

        Raises:
            NotFound: No such alarm.
        """
        with self._tables.read() as conn:
            alarm = self._found(conn, alarm_id)
        return [_step(event) for event in self._journal.read(subject=alarm.ref, project=caller().project)]

    def mind(self) -> int:
        """Open again what is no longer silenced, and escalate what nobody looked at. Returns how many alarms changed.

        An alarm is escalated once, `escalate_hours` after it was raised.
        """
        now, limit_us = self._clock.now(), int(self.spec.escalate_hours * HOUR_US)
        with self._tables.read() as conn:
            waiting = records.list_alarms(conn, states=("open", "silenced"), limit=500)
            silenced = [alarm for alarm in waiting if alarm.state == "silenced"]
            late = [a for a in waiting if a.state == "open" and limit_us and a.raised_at + limit_us <= now]
            held = {silence.id for silence in records.silences.list_silences(conn, holding_at=now)}
        if not late and all(alarm.silence in held for alarm in silenced):
            return 0
        with self._tables.write() as conn:
            changed = self._reopen(conn)
            facts = []
            for alarm in late:
                if self._found(conn, alarm.id).state == "open":
                    records.change_alarm(conn, alarm.id, state="escalated", escalated_at=now)
                    facts.append(_escalated(alarm))
            if facts:
                self._journal.append(conn, *facts)
        return changed + len(facts)

    def _reopen(self, conn: Connection) -> int:
        """Silenced alarms that fall under no silence any more are open."""
        now = self._clock.now()
        held = records.silences.list_silences(conn, holding_at=now)
        facts = []
        for alarm in records.list_alarms(conn, states=("silenced",), limit=500):
            still = silence_of(held, alarm.deployment, alarm.cause, alarm.evidence, now)
            records.change_alarm(
                conn, alarm.id, state="silenced" if still else "open", silence=still.id if still else ""
            )
            facts += [] if still else [_reopened(alarm)]
        if facts:
            self._journal.append(conn, *facts)
        return len(facts)

    @staticmethod
    def _found(conn: Connection, alarm_id: str) -> Alarm:
        found = records.find_alarm(conn, alarm_id)
        if found is None:
            raise NotFound(f"no alarm {alarm_id[:60]!r}", where="alarms", hint="mainspring monitor alarms")
        return found


def _silenced(alarm: Alarm, by: Silence) -> AlarmSilenced:
    return AlarmSilenced(
        subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, silence=by.id, until=by.until, why=by.why
    )


def _escalated(alarm: Alarm) -> AlarmEscalated:
    return AlarmEscalated(subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, text=alarm.text)


def _reopened(alarm: Alarm) -> AlarmReopened:
    return AlarmReopened(subject=alarm.ref, deployment=alarm.deployment, cause=alarm.cause, text=alarm.text)


def _step(event: Event) -> AlarmStep:
    said = event.payload
    text = str(said.get("note") or said.get("why") or "")
    return AlarmStep(event.at, event.kind.rpartition("alarm_")[2], event.actor, text)
