"""Schedules of triggers for machines with a clock of their own, as far as they can say the same."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core.clock import SECOND_US, span_us
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.loop.triggers.cron import Cron
from mainspring.loop.triggers.model import Trigger, trigger_of
from mainspring.pipelines.export import Schedule

_DAY_US = 86_400 * SECOND_US
_LOOK_DAYS = 400
"""So far ahead it is looked how often a schedule is due: a year, and then some."""


class TriggerSchedules:
    """Reads the schedules of declared triggers.

    Args:
        declared: Sections of triggers by name, as they are in `mainspring.toml`.
        now: Epoch microseconds.
    """

    def __init__(self, declared: Mapping[str, object], now: int) -> None:
        self._declared, self._now = declared, now

    def of_trigger(self, name: str) -> Schedule:
        """The schedule of a declared trigger.

        Raises:
            NotFound: There is none of that name.
            Invalid: It has no schedule, or says what a CronJob cannot.
        """
        if name not in self._declared:
            hint = did_you_mean(name, self._declared) or f"write [trigger.{name[:40]}] in mainspring.toml"
            raise NotFound(f"no trigger {name[:60]!r}", where="--trigger", hint=hint)
        found = trigger_of(name, self._declared[name])
        self._check(found)
        return Schedule(
            cron=as_kubernetes(found.schedule, f"{found.where}.cron"),
            zone=found.zone,
            catch_up=found.catch_up,
            pipeline=found.pipeline,
            params=dict(found.params),
        )

    def of_text(self, cron: str, zone: str) -> Schedule:
        """A schedule that was given by hand.

        Raises:
            Invalid: It is none, or there is no such time zone.
        """
        return Schedule(cron=as_kubernetes(Cron.of(cron, zone, where="--cron"), "--cron"), zone=zone)

    def _check(self, trigger: Trigger) -> None:
        if trigger.on != "cron":
            hint = 'leave it to `mainspring up`, or export one that is on = "cron"'
            raise Invalid(f"it watches {trigger.on}, and no clock", where=f"{trigger.where}.on", hint=hint)
        if not trigger.pipeline:
            hint = "leave it to `mainspring up`, or name the pipeline"
            raise Invalid("it starts a policy, which a CronJob cannot", where=f"{trigger.where}.policy", hint=hint)
        kept = {"dry_run": trigger.dry_run, "cpu_hours_a_day": trigger.cpu_hours_a_day}
        for name in (name for name, value in kept.items() if value):
            hint = f"take {name} out, or leave the trigger to `mainspring up`"
            raise Invalid(f"a CronJob knows no {name}", where=f"{trigger.where}.{name}", hint=hint)
        for key, value in trigger.params.items():
            if isinstance(value, str) and value.startswith("$"):
                hint = "give it a value with --param, in a trigger of its own"
                what = f"a CronJob does not know {value}"
                raise Invalid(what, where=f"{trigger.where}.params.{key}", hint=hint)
        self._check_often(trigger)

    def _check_often(self, trigger: Trigger) -> None:
        """A CronJob has no budget: one that would hold a run back cannot be left out in silence."""
        cool_us = span_us(trigger.cool_down)
        last: list[int] = []
        for due in trigger.schedule.after(self._now):
            if due > self._now + _LOOK_DAYS * _DAY_US or len(last) > 2000:
                return
            if last and due - last[-1] < cool_us:
                hint = "take cool_down out, or write a schedule that keeps to it"
                what = f"it is due more often than every {trigger.cool_down}"
                raise Invalid(what, where=f"{trigger.where}.cool_down", hint=hint)
            last.append(due)
            most = trigger.most_a_day
            if most and len(last) > most and due - last[-most - 1] < _DAY_US:
                hint = "write most_a_day = 0, or a schedule that keeps to it"
                what = f"it is due more than {most} times a day"
                raise Invalid(what, where=f"{trigger.where}.most_a_day", hint=hint)


def as_kubernetes(cron: Cron, where: str) -> str:
    """A schedule as a CronJob reads it, where Sunday is 0 only, and a step makes a field a restricted one.

    Raises:
        Invalid: It means days that a CronJob's fields cannot say.

    >>> as_kubernetes(Cron.of("30 4 * * 5-7"), "cron")
    '30 4 * * 0,5,6'
    """
    fields = cron.text.split()
    if len(fields) != 5:
        return cron.text
    days, weekdays = fields[2], fields[4]
    stepped = any(each.startswith("*/") and each != "*/1" for each in (days, weekdays))
    if stepped and "*" not in (days, weekdays) and not cron.either_day:
        hint = "write the days without *, or leave one of the two fields at *"
        raise Invalid(f"a CronJob takes {cron.text!r} for either of its days", where=where, hint=hint)
    if not weekdays.startswith("*"):
        fields[4] = ",".join(map(str, sorted(cron.weekdays)))
    return " ".join(fields)
