"""Decisions about triggers: what an event means to one, which times are due, and whether it may fire. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from mainspring.core.clock import DAY_US, SECOND_US, iso, span_us
from mainspring.core.events import Event
from mainspring.core.values import dataclass
from mainspring.loop.triggers.model import Occurrence, Trigger, TriggerState

DATA = "data.version_added"
ALARM = "monitoring.alarm_raised"
RUN = "tracking.run_ended"
VERSION = "registry.version_registered"
ALIAS = "registry.alias_moved"
HOOK = "loop.hook_received"
WATCHED: Mapping[str, tuple[str, ...]] = {
    DATA: ("data",),
    ALARM: ("alarm",),
    RUN: ("metric",),
    VERSION: ("registry",),
    ALIAS: ("registry",),
    HOOK: ("webhook",),
}
"""Which triggers look at which events."""
LATE_US = 90 * SECOND_US
"""A due time that is dealt with later than this was missed: no server looked."""
MOST_DUE = 1_000
"""Due times that are caught up with at once; the rest follow in the next turn."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a trigger did in the last 24 hours: when it fired last (0: never), how often, and what that took."""

    last_at: int = 0
    fires: int = 0
    cpu_hours: float = 0.0


def occurrence(event: Event, trigger: Trigger) -> Occurrence | None:
    """What an event means to a trigger; None when it is not about it."""
    if trigger.on not in WATCHED.get(event.kind, ()):
        return None
    found = _MEANING[trigger.on](event, trigger)
    if found is None or event.actor != trigger.actor:
        return found
    why = "a run that it started itself did this"
    return Occurrence(found.key, found.cause, found.at, found.facts, why_not=why, code="own")


def _made(event: Event, cause: str, *, why_not: str = "", code: str = "", **facts: object) -> Occurrence:
    known = {"at": event.at, "subject": event.subject, **facts}
    return Occurrence(f"event/{event.seq}", cause, event.at, known, why_not=why_not, code=code)


def _of_data(event: Event, trigger: Trigger) -> Occurrence | None:
    if not event.subject.startswith(f"datasets/{trigger.dataset}/"):
        return None
    return _made(event, f"{event.subject} is there", rows=event.payload.get("rows"))


def _of_alarm(event: Event, trigger: Trigger) -> Occurrence | None:
    said = event.payload
    if said.get("deployment") != trigger.deployment:
        return None
    cause, names = str(said.get("cause")), ("cause", "version", "window_start", "window_end")
    text = f"{cause} alarm of {trigger.deployment}"
    if cause not in trigger.causes:
        why = f"it fires on {' and '.join(trigger.causes)} alarms"
        return _made(event, text, why_not=why, code="filter")
    made = _made(event, text)
    return replace(made, facts={**made.facts, **{name: said.get(name) for name in names}})


def _of_metric(event: Event, trigger: Trigger) -> Occurrence | None:
    if event.payload.get("experiment") != trigger.experiment:
        return None
    if event.payload.get("status") != "finished":
        why = f"{event.subject} {event.payload.get('status')}"
        return _made(event, f"{event.subject} ended", why_not=why, code="filter")
    return _made(event, f"{event.subject} ended", run=event.subject.removeprefix("runs/"))


def crosses(trigger: Trigger, value: float | None) -> str:
    """Why the value of a metric does not fire, "" when it does.

    >>> crosses(Trigger("t", "metric", "p:f", experiment="e", metric="auc", below=0.7), 0.8)
    'auc is 0.8, not below 0.7'
    """
    if value is None:
        return f"the run has no metric {trigger.metric}"
    if trigger.below is not None:
        return "" if value < trigger.below else f"{trigger.metric} is {value:g}, not below {trigger.below:g}"
    limit = trigger.above or 0.0
    return "" if value > limit else f"{trigger.metric} is {value:g}, not above {limit:g}"


def _of_registry(event: Event, trigger: Trigger) -> Occurrence | None:
    said = event.payload
    if said.get("model") != trigger.model or (event.kind == ALIAS) != bool(trigger.alias):
        return None
    if event.kind == VERSION:
        return _made(event, f"{event.subject} is there", version=said.get("version"))
    if said.get("alias") != trigger.alias:
        return None
    text = f"{trigger.alias} of {trigger.model} points to {said.get('version') or 'nothing'}"
    return _made(event, text, version=said.get("version"), before=said.get("before"))


def _of_webhook(event: Event, trigger: Trigger) -> Occurrence | None:
    if event.subject != trigger.ref:
        return None
    said = {name: str(event.payload.get(name, "")) for name in ("ref", "commit", "repository")}
    branch = said["ref"].removeprefix("refs/heads/")
    text = f"delivery {event.payload.get('delivery')}"
    if said["ref"]:
        text = f"push to {branch}" + (f" of {said['repository']}" if said["repository"] else "")
    if trigger.branch and branch != trigger.branch:
        why = f"it fires on pushes to {trigger.branch}"
        return _made(event, text, why_not=why, code="filter", **said)
    return _made(event, text, **said)


_MEANING = {
    "data": _of_data,
    "alarm": _of_alarm,
    "metric": _of_metric,
    "registry": _of_registry,
    "webhook": _of_webhook,
}


def due_times(trigger: Trigger, mark: int, now: int) -> list[int]:
    """Due times after `mark` and up to `now`, oldest first, at most `MOST_DUE` and one."""
    found: list[int] = []
    for due in islice(trigger.schedule.after(mark), MOST_DUE + 1):
        if due > now:
            break
        found.append(due)
    return found


def scheduled(trigger: Trigger, due: Sequence[int], now: int) -> list[Occurrence]:
    """What comes of due times: those that were missed are passed over or caught up with, as the trigger says.

    Args:
        trigger: With a schedule.
        due: Times that nobody dealt with yet, oldest first.
        now: The time.
    """
    found = []
    for position, at in enumerate(due):
        is_last, is_late = position == len(due) - 1, now - at > LATE_US
        why = ""
        if trigger.catch_up == "skip" and is_late:
            why = "it was missed, and missed times are skipped"
        elif trigger.catch_up == "latest" and not is_last:
            why = "it was missed, and only the latest is caught up with"
        facts = {"at": at, "subject": trigger.ref}
        text = f"due {iso(at)[:16]}" + (", caught up" if is_late and not why else "")
        found.append(Occurrence(f"cron/{at}", text, at, facts, why_not=why, code="missed" if why else ""))
    return found


def why_not(state: TriggerState, found: Occurrence, spent: Spent, now: int) -> tuple[str, str]:
    """Why a trigger does nothing about an occurrence, as code and sentence; two empty texts when it fires."""
    trigger = state.trigger
    if found.why_not:
        return found.code, found.why_not
    if state.is_paused:
        told = f": {state.paused_why}" if state.paused_why else ""
        return "paused", f"{state.paused_by} paused it{told}"
    if spent.last_at and now - spent.last_at < span_us(trigger.cool_down):
        return "cool_down", f"it fired less than {trigger.cool_down} ago"
    if trigger.most_a_day and spent.fires >= trigger.most_a_day:
        return "budget", f"it fired {spent.fires} times in 24 hours, and may {trigger.most_a_day} times"
    if trigger.cpu_hours_a_day and spent.cpu_hours >= trigger.cpu_hours_a_day:
        took = f"its runs took {spent.cpu_hours:.2f} CPU hours in 24 hours"
        return "budget", f"{took}, and may take {trigger.cpu_hours_a_day:g}"
    return "", ""


def params_of(trigger: Trigger, found: Occurrence) -> dict[str, object]:
    """The parameters of a run, with what texts such as `"$subject"` stand for."""
    known = {**found.facts, "trigger": trigger.name}
    return {
        key: known.get(value[1:]) if isinstance(value, str) and value.startswith("$") else value
        for key, value in trigger.params.items()
    }


def day_before(now: int) -> int:
    """Where the 24 hours begin that budgets count."""
    return now - DAY_US
