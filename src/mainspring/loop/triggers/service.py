"""Triggers at work: they look at events, times and counts, decide, and start what is to be started, each once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import HOUR_US, SECOND_US, Clock
from mainspring.core.errors import Invalid, MainspringError, NotFound, Overloaded, Refused, Unavailable, did_you_mean
from mainspring.core.events import Event
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.loop.events import HookReceived, TriggerFired, TriggerPaused
from mainspring.loop.records import triggers as records
from mainspring.loop.triggers import rules
from mainspring.loop.triggers.hooks import read_delivery
from mainspring.loop.triggers.model import Fire, Occurrence, Trigger, TriggerState

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.loop.service import Loop
    from mainspring.storage.ports import Journal, Tables

log = logging.getLogger("mainspring.triggers")
CONSUMER = "triggers"
MOST_DELIVERIES = 60
"""Deliveries that a trigger takes in a minute."""
_BEHIND = 1_000
_NEXT = 5


@dataclass(frozen=True, slots=True)
class TriggerView:
    """A trigger with what it did last and what it does next. `why_not`: why it would not fire now, "" when it would."""

    name: str
    on: str
    starts: str
    state: TriggerState
    next: tuple[int, ...]
    last: Fire | None
    why_not: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What a trigger would do now. `problem` is what is wrong with what it starts, "" when nothing is."""

    trigger: str
    outcome: str
    reason: str
    starts: str
    params: Mapping[str, object]
    next: tuple[int, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that was taken: the number of the event that tells of it, and whether it had come before."""

    event: int
    is_repeated: bool


class Triggers:
    """Triggers of every project. Safe to share between threads, and between servers on one database.

    Args:
        tables: Where they are kept.
        journal: The event log they look at, and what they tell of.
        clock: Tells the time; cool-downs, budgets and schedules go by it.
        loop: Starts cycles, and has the rooms that triggers look into.
        secret: Gives the value of an environment variable.
        dry_run: Start nothing, whatever the trigger says.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        clock: Clock,
        loop: Loop,
        secret: Callable[[str], str | None],
        dry_run: bool = False,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._loop, self._secret, self._dry_run = loop, secret, dry_run

    # what people ask

    def get(self, name: str) -> TriggerState:
        """One trigger.

        Raises:
            NotFound: There is none of that name in the project.
        """
        with self._tables.read() as conn:
            found = records.find_trigger(conn, name)
            known = [] if found else [state.trigger.name for state in records.list_triggers(conn)]
        if found is None:
            hint = (
                did_you_mean(name, known) or f"write [trigger.{name[:40]}] in mainspring.toml, then: mainspring apply"
            )
            raise NotFound(f"no trigger {name[:60]!r}", where="triggers", hint=hint)
        return found

    def triggers(self) -> list[TriggerView]:
        """Triggers of the project by name."""
        with self._tables.read() as conn:
            states, last = records.list_triggers(conn), records.last_fires(conn)
        return [self._view(state, last.get(state.trigger.name)) for state in states]

    def view(self, name: str) -> TriggerView:
        """One trigger with what it did last and does next.

        Raises:
            NotFound: There is none.
        """
        state = self.get(name)
        return self._view(state, next(iter(self.fires(name, limit=1)), None))

    def fires(self, name: str, *, before: str = "", limit: int = 100) -> list[Fire]:
        """What a trigger did, newest first; also one that is no more. For the next page pass the last id."""
        with self._tables.read() as conn:
            return records.list_fires(conn, name, before=before, limit=max(1, min(limit, 1000)))

    def pause(self, name: str, *, reason: str = "") -> TriggerState:
        """Let a trigger fire nothing until it is resumed. What occurs meanwhile is noted and not caught up with.

        Raises:
            NotFound: There is none.
        """
        return self._pause(name, at=self._clock.now(), reason=reason)

    def resume(self, name: str, *, reason: str = "") -> TriggerState:
        """Let a paused trigger fire again.

        Raises:
            NotFound: There is none.
        """
        return self._pause(name, at=0, reason=reason)

    def fire(self, name: str, *, key: str = "", reason: str = "", force: bool = False) -> Fire:
        """Start what a trigger starts, by hand.

        Args:
            name: The trigger.
            key: The same key fires once.
            reason: Kept with the fire.
            force: Also when it is paused, cooling down or over its budget.
        Raises:
            NotFound: There is none.
        """
        state, at = self.get(name), self._clock.now()
        facts = {"at": at, "subject": state.trigger.ref}
        found = Occurrence(f"hand/{key or new_id()}", reason or f"{caller().actor} asked for it", at, facts)
        took = self._cpu_hours(state.trigger, at)
        with self._tables.write() as conn:
            known = records.find_fire(conn, name, found.key)
            if known is not None and known.outcome != "not_fired":
                return known
            made = self._settle(conn, name, found, took, force=force)
        if made is None:
            raise NotFound(f"no trigger {name[:60]!r}", where="triggers", hint="mainspring triggers ls")
        return made

    def test(self, name: str, *, deep: bool = False) -> Tested:
        """What a trigger would do if what it watches for occurred now. Nothing is stored or started.

        Args:
            name: The trigger.
            deep: Import the pipeline here and draw it.
        Raises:
            NotFound: There is none.
        """
        state, now = self.get(name), self._clock.now()
        trigger = state.trigger
        code, why = self._now(state, now)
        outcome = "not_fired" if code else "dry_run" if self._dry_run or trigger.dry_run else "fired"
        params = rules.params_of(trigger, _example(trigger, now))
        problem = self._problem(trigger, deep=deep)
        return Tested(name, outcome, why, trigger.starts, params, self._next(state, now), problem)

    # what `mainspring apply` does

    def check(self, trigger: Trigger, *, deep: bool = True) -> None:
        """Return when what a trigger starts is there.

        Args:
            trigger: As declared.
            deep: Import the pipeline here and draw it, beyond looking for its file.
        Raises:
            NotFound: There is no such pipeline or policy.
            Invalid: The pipeline cannot be drawn with these parameters.
        """
        if trigger.policy:
            self._loop.policy(trigger.policy)
        elif deep:
            params = rules.params_of(trigger, _example(trigger, self._clock.now()))
            self._loop.pipelines.load(trigger.pipeline).draw(params)
        else:
            self._loop.pipelines.find(trigger.pipeline)

    def declare(self, conn: Connection, trigger: Trigger) -> None:
        """Let a trigger live as declared from now on, in the caller's transaction."""
        now = self._clock.now()
        mark = self._loop.serving.feedback_count(trigger.deployment) if trigger.on == "feedback" else now
        records.put_trigger(conn, trigger, since=self._journal.last(), mark=mark, at=now)

    def withdraw(self, conn: Connection, name: str) -> None:
        """Let a trigger live no more, in the caller's transaction. What it did is kept."""
        records.drop_trigger(conn, name)

    # what comes from outside

    def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> Taken:
        """Take a delivery. The same one, sent again, is taken once.

        Args:
            name: The trigger that watches for it.
            headers: By name in lower case.
            body: As it came.
        Raises:
            NotFound: No trigger of that name takes deliveries.
            Unavailable: The server was not given the secret.
            Forbidden: It is not signed as it should be, or too old.
            TooLarge, Invalid: It is too long, or signed and no JSON object.
            Overloaded: Too many came within a minute.
        """
        trigger = self.get(name).trigger
        if trigger.on != "webhook":
            raise NotFound(f"trigger {name!r} takes no deliveries", where=trigger.ref, hint='on = "webhook"')
        secret = self._secret(trigger.secret)
        if not secret:
            hint = f"set {trigger.secret} where `mainspring up` is started"
            raise Unavailable("the secret of the trigger is not set here", where=trigger.ref, hint=hint)
        now = self._clock.now()
        made = read_delivery(trigger.format, secret, headers, body, now)
        told = HookReceived(
            subject=trigger.ref, delivery=made.key[:12], ref=made.ref, commit=made.commit, repository=made.repository
        )
        with self._tables.write() as conn:
            if not records.add_delivery(conn, name, made.key, at=now):
                return Taken(records.delivery_seq(conn, name, made.key), is_repeated=True)
            if records.deliveries_since(conn, name, now - 60 * SECOND_US) > MOST_DELIVERIES:
                hint = "send it again in a minute"
                raise Overloaded(f"more than {MOST_DELIVERIES} deliveries in a minute", where=trigger.ref, hint=hint)
            seq = self._journal.append(conn, told)
            records.number_delivery(conn, name, made.key, seq)
        return Taken(seq, is_repeated=False)

    # one turn

    def prune_deliveries(self, before: int, *, dry_run: bool = False) -> int:
        """Forget deliveries that were taken before a time, in every project, and say how many there are.

        Those of GitHub are kept: nothing else keeps a recorded one from being taken again.
        """
        if dry_run:
            with self._tables.read() as conn:
                return records.drop_deliveries(conn, before, dry_run=True)
        with self._tables.write() as conn:
            return records.drop_deliveries(conn, before)

    def turn(self) -> list[Fire]:
        """Look at everything that happened since the last turn, in every project. Returns what was done about it."""
        done: list[Fire] = []
        for look in (self._look_at_events, self._look_at_times, self._look_at_counts):
            try:
                done += look()
            except MainspringError as error:
                log.warning("triggers.turn_failed code=%s what=%s where=%s", error.code, error.what, error.where)
        return done

    def _look_at_events(self) -> list[Fire]:
        done: list[Fire] = []
        while True:
            last, offset = self._journal.last(), self._journal.offset(CONSUMER)
            events = self._journal.read(offset, kinds=tuple(rules.WATCHED), limit=200)
            if not events:
                if last - offset > _BEHIND:  # the next look begins there, and not at the first event of all
                    with self._tables.write() as conn:
                        self._journal.advance(conn, CONSUMER, last)
                return done
            for event in events:
                with calling(Caller("triggers", event.project, event.request_id)):
                    done += self._look_at(event)

    def _look_at(self, event: Event) -> list[Fire]:
        with self._tables.read() as conn:
            states = [
                state for kind in rules.WATCHED[event.kind] for state in records.list_triggers(conn, watches=kind)
            ]
        found = [(state.trigger, rules.occurrence(event, state.trigger)) for state in states if state.since < event.seq]
        ready = [(trigger, self._measured(trigger, one)) for trigger, one in found if one is not None]
        took = [self._cpu_hours(trigger, self._clock.now()) for trigger, _ in ready]
        with self._tables.write() as conn:
            if not self._journal.advance(conn, CONSUMER, event.seq):
                return []  # another server was faster
            done = [
                self._settle(conn, trigger.name, one, hours) for (trigger, one), hours in zip(ready, took, strict=True)
            ]
        return [fire for fire in done if fire is not None]

    def _measured(self, trigger: Trigger, found: Occurrence) -> Occurrence:
        """With the metric that the trigger looks at, and whether it crosses."""
        if trigger.on != "metric" or found.why_not:
            return found
        try:
            metric = self._loop.tracking.get(str(found.facts["run"])).metrics.get(trigger.metric)
        except NotFound as gone:
            return replace(found, why_not=gone.what, code="filter")
        value = None if metric is None else metric.value
        why = rules.crosses(trigger, value)
        return replace(found, facts={**found.facts, "value": value}, why_not=why, code="filter" if why else "")

    def _look_at_times(self) -> list[Fire]:
        return self._in_every_project("cron", self._look_at_time)

    def _look_at_time(self, state: TriggerState, now: int) -> list[Fire]:
        due = rules.due_times(state.trigger, state.mark, now)
        if not due:
            return []
        rest = due[rules.MOST_DUE :]
        found = rules.scheduled(state.trigger, due, now)[: rules.MOST_DUE]
        missed = [one for one in found if one.why_not]
        took, name = self._cpu_hours(state.trigger, now), state.trigger.name
        with self._tables.write() as conn:
            if not records.move_mark(conn, name, state.mark, due[-1 - len(rest)]):
                return []  # another server was faster, or the trigger is another one now
            made = [self._settle(conn, name, missed[-1], took, times=len(missed))] if missed else []
            made += [self._settle(conn, name, one, took) for one in found if not one.why_not]
        return [fire for fire in made if fire is not None]

    def _look_at_counts(self) -> list[Fire]:
        return self._in_every_project("feedback", self._look_at_count)

    def _look_at_count(self, state: TriggerState, now: int) -> list[Fire]:
        trigger, name = state.trigger, state.trigger.name
        came = self._loop.serving.feedback_count(trigger.deployment) - state.mark
        if came < trigger.count:
            return []
        subject = f"deployments/{trigger.deployment}"
        text = f"{came} pieces of feedback for {trigger.deployment}"
        found = Occurrence(f"feedback/{state.mark}", text, now, {"at": now, "subject": subject, "count": came})
        took = self._cpu_hours(trigger, now)
        with self._tables.write() as conn:
            code, _ = self._why_not(conn, state, found, took, now)
            last = records.find_fire(conn, name, found.key)
            if code and last is not None and last.code == code:
                return []  # it is noted already that they wait
            if not code and not records.move_mark(conn, name, state.mark, state.mark + came):
                return []
            made = self._settle(conn, name, found, took)
        return [made] if made is not None else []

    def _in_every_project(self, watches: str, look: Callable[[TriggerState, int], list[Fire]]) -> list[Fire]:
        with self._tables.read() as conn:
            projects = records.projects(conn, watches)
        done: list[Fire] = []
        for project in projects:
            with calling(Caller("triggers", project)):
                with self._tables.read() as conn:
                    states = records.list_triggers(conn, watches=watches)
                for state in states:
                    done += look(state, self._clock.now())
        return done

    # one occurrence

    def _settle(
        self, conn: Connection, name: str, found: Occurrence, took: float, *, times: int = 1, force: bool = False
    ) -> Fire | None:
        """Decide and do, in the transaction that says that the occurrence was dealt with. None: there is no trigger."""
        state = records.find_trigger(conn, name, lock=True)
        if state is None:
            return None
        trigger, now = state.trigger, self._clock.now()
        code, reason = ("", "") if force else self._why_not(conn, state, found, took, now)
        started, outcome = "", "not_fired"
        if not code and (self._dry_run or trigger.dry_run):
            outcome, reason = "dry_run", f"would start {trigger.starts}"
        elif not code:
            try:
                started = self._start(conn, trigger, found)
                outcome, reason = "fired", f"started {trigger.starts}"
            except (Invalid, NotFound, Refused) as error:
                code, reason = "error", error.what
        fire = Fire(new_id(), name, found.key, found.cause, outcome, code, reason, now, started, times)
        records.add_fire(conn, fire)
        if outcome != "not_fired":
            told = {"cause": found.cause, "outcome": outcome, "starts": trigger.starts, "started": started}
            self._journal.append(conn, TriggerFired(subject=trigger.ref, **told))
        log.info("triggers.settled trigger=%s key=%s outcome=%s code=%s", name, found.key, outcome, code)
        return fire

    def _start(self, conn: Connection, trigger: Trigger, found: Occurrence) -> str:
        """Put the run on the queue, or begin the cycle. What is refused is refused before anything is stored."""
        key = f"trigger/{trigger.name}/{found.key}"
        with calling(Caller(trigger.actor, caller().project, caller().request_id)):
            if trigger.policy:
                return self._loop.begin(conn, trigger.policy, reason=found.cause, key=key, as_of=found.at).ref
            params = rules.params_of(trigger, found)
            return f"pipeline-runs/{self._loop.pipelines.submit(trigger.pipeline, params, key=key, conn=conn)}"

    def _why_not(
        self, conn: Connection, state: TriggerState, found: Occurrence, took: float, now: int
    ) -> tuple[str, str]:
        if not found.why_not and self._loop.is_stopped(conn):
            return "off", "the loop is switched off"
        spent, _ = records.spent(conn, state.trigger.name, now)
        return rules.why_not(state, found, replace(spent, cpu_hours=took), now)

    def _cpu_hours(self, trigger: Trigger, now: int) -> float:
        """What the runs that it started in the last 24 hours took so far."""
        if not trigger.cpu_hours_a_day:
            return 0.0
        with self._tables.read() as conn:
            _, started = records.spent(conn, trigger.name, now)
        return sum(self._loop.cpu_seconds(ref) for ref in started) * SECOND_US / HOUR_US

    # looking

    def _view(self, state: TriggerState, last: Fire | None) -> TriggerView:
        trigger, now = state.trigger, self._clock.now()
        _, why = self._now(state, now)
        return TriggerView(trigger.name, trigger.on, trigger.starts, state, self._next(state, now), last, why)

    def _now(self, state: TriggerState, now: int) -> tuple[str, str]:
        """Why it would do nothing about something that occurred now."""
        took = self._cpu_hours(state.trigger, now)
        with self._tables.read() as conn:
            return self._why_not(conn, state, Occurrence("now", "", now), took, now)

    def _next(self, state: TriggerState, now: int) -> tuple[int, ...]:
        if state.trigger.on != "cron":
            return ()
        return tuple(islice(state.trigger.schedule.after(max(state.mark, now)), _NEXT))

    def _pause(self, name: str, *, at: int, reason: str) -> TriggerState:
        state = self.get(name)
        if state.is_paused != (at > 0):
            with self._tables.write() as conn:
                records.pause_trigger(conn, name, at=at, by=caller().actor if at else "", why=reason if at else "")
                self._journal.append(conn, TriggerPaused(subject=state.trigger.ref, paused=at > 0, reason=reason))
        return self.get(name)

    def _problem(self, trigger: Trigger, *, deep: bool) -> str:
        try:
            self.check(trigger, deep=deep)
        except MainspringError as error:
            return error.what
        return ""


def _example(trigger: Trigger, now: int) -> Occurrence:
    """An occurrence as there may be one, for looking at what would come of it."""
    numbers = dict.fromkeys(("rows", "version", "before", "count"), 1)
    times = dict.fromkeys(("at", "window_start", "window_end"), now)
    texts = {"run": "0" * 32, "ref": "refs/heads/main", "commit": "0" * 40, "repository": "team/models"}
    subject = f"datasets/{trigger.dataset}/1" if trigger.dataset else trigger.ref
    return Occurrence(
        "test", "a test", now, {**numbers, **times, **texts, "value": 0.5, "cause": "performance", "subject": subject}
    )
