"""Values of triggers: what is declared, how one stands, and what came of an occurrence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, fields
from typing import cast

from mainspring.core.canonical import canonical_json
from mainspring.core.clock import span_us
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.ids import check_name
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.loop.triggers.cron import Cron, zone_of

OUTCOMES = ("fired", "dry_run", "not_fired")
CATCH_UPS = ("skip", "latest", "all")
FORMATS = ("standard", "github", "gitlab")
ALWAYS = ("at", "subject", "trigger")
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "cron": (("cron",), ("zone", "catch_up"), ()),
    "data": (("dataset",), (), ("rows",)),
    "alarm": (("deployment",), ("causes",), ("cause", "version", "window_start", "window_end")),
    "metric": (("experiment", "metric"), ("above", "below"), ("run", "value")),
    "feedback": (("deployment", "count"), (), ("count",)),
    "registry": (("model",), ("alias",), ("version", "before")),
    "webhook": (("secret",), ("format", "branch"), ("ref", "commit", "repository")),
    "hand": ((), (), ()),
}
"""What a trigger can watch: settings it needs, settings it may have, and what its params may name beyond `ALWAYS`."""
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{2,99}")


@dataclass(frozen=True, slots=True)
class Trigger:
    """`[trigger.NAME]`: what to watch, what to start, and how often that may be.

    Attributes:
        on: What is watched: cron, data, alarm, metric, feedback, registry, webhook, or hand for nothing.
        pipeline: What is run: `package.module:function` or `path/file.py:function`.
        policy: In place of a pipeline: the policy that begins a cycle.
        params: Parameters of the pipeline. A text such as `"$subject"` stands for what is known of the occurrence.
        cron: Five fields, or a word such as `@daily`.
        zone: Time zone of the schedule.
        catch_up: What is done about times that passed while no server ran: `skip`, `latest` (one run for all of them)
            or `all`.
        dataset: A new version of it fires.
        deployment: Whose alarms or feedback count.
        causes: Causes of alarms that fire.
        experiment: Whose runs are looked at when they end.
        metric: Of such a run.
        above: It fires when the metric is above this.
        below: It fires when the metric is below this.
        count: It fires after so many new pieces of feedback.
        model: Whose versions and aliases are watched.
        alias: It fires when this alias moves; empty: when a version is registered.
        secret: Environment variable that holds the secret deliveries are signed with.
        format: Whose deliveries: `standard` (Standard Webhooks), `github` or `gitlab`.
        branch: Only pushes to this branch.
        cool_down: Least time between two fires, such as `1h`.
        most_a_day: Most fires in 24 hours; 0 is no limit.
        cpu_hours_a_day: No fire once its runs of the last 24 hours took so many CPU hours; 0 is no limit.
        dry_run: Say what would be started, start nothing.
    """

    name: str
    on: str
    pipeline: str = ""
    policy: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    cron: str = ""
    zone: str = "UTC"
    catch_up: str = "latest"
    dataset: str = ""
    deployment: str = ""
    causes: tuple[str, ...] = ("performance",)
    experiment: str = ""
    metric: str = ""
    above: float | None = None
    below: float | None = None
    count: int = 0
    model: str = ""
    alias: str = ""
    secret: str = ""
    format: str = "standard"
    branch: str = ""
    cool_down: str = "0s"
    most_a_day: int = 24
    cpu_hours_a_day: float = 0.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "trigger")
        if self.on not in KINDS:
            hint = did_you_mean(self.on, KINDS) or f"known are {', '.join(KINDS)}"
            raise Invalid(f"a trigger cannot watch {self.on[:40]!r}", where=f"{self.where}.on", hint=hint)
        if bool(self.pipeline) == bool(self.policy):
            what = "it starts both a pipeline and a policy" if self.pipeline else "it starts nothing"
            raise Invalid(what, where=self.where, hint='write pipeline = "file.py:function" or policy = "name"')
        if self.most_a_day < 0 or not 0 <= self.cpu_hours_a_day < float("inf"):
            hint = "use most_a_day >= 0 and cpu_hours_a_day >= 0"
            raise Invalid("a negative budget", where=self.where, hint=hint)
        span_us(self.cool_down, f"{self.where}.cool_down")
        self._check_watched()
        self._check_params()

    @property
    def where(self) -> str:
        """Its section in `mainspring.toml`."""
        return f"trigger.{self.name}"

    @property
    def ref(self) -> str:
        """Its reference in the event log."""
        return f"triggers/{self.name}"

    @property
    def actor(self) -> str:
        """On whose behalf its runs run, so that what they do can be told from what others do."""
        return f"trigger:{self.name}"

    @property
    def schedule(self) -> Cron:
        """When it is due, for `on = "cron"`."""
        return Cron.of(self.cron, self.zone, where=f"{self.where}.cron")

    @property
    def starts(self) -> str:
        """What it starts, in words."""
        return f"policy {self.policy}" if self.policy else self.pipeline

    def to_json(self) -> dict[str, object]:
        """The settings that differ from what is said when nothing is said, and so what has to be written down."""
        said = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "name"}
        bare = {entry.name: entry.default for entry in fields(self)}
        kept = {key: value for key, value in said.items() if value != bare[key] and value != {}}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}

    def _check_watched(self) -> None:
        needed, allowed, _ = KINDS[self.on]
        every = {name for one, two, _ in KINDS.values() for name in (*one, *two)}
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name in needed:
            if getattr(self, name) == defaults[name]:
                raise Invalid(
                    f"on = {self.on!r} needs {name}", where=f"{self.where}.{name}", hint=f"write {name} = ..."
                )
        for name in sorted(every - {*needed, *allowed}):
            if getattr(self, name) != defaults[name]:
                hint = f"take {name} out; it has {', '.join((*needed, *allowed)) or 'no such settings'}"
                raise Invalid(f"on = {self.on!r} takes no {name}", where=f"{self.where}.{name}", hint=hint)
        {"cron": self._check_cron, "metric": self._check_metric, "webhook": self._check_webhook}.get(
            self.on, lambda: None
        )()
        if self.on == "feedback" and self.count < 1:
            raise Invalid(f"a count of {self.count}", where=f"{self.where}.count", hint="use 1 or more")
        if self.policy and self.on == "alarm":
            hint = 'a policy hears of alarms by itself; write its `on`, or use pipeline = "..." here'
            raise Invalid("a policy is started by an alarm twice", where=self.where, hint=hint)

    def _check_cron(self) -> None:
        zone_of(self.zone, where=f"{self.where}.zone")
        _ = self.schedule
        if self.catch_up not in CATCH_UPS:
            hint = did_you_mean(self.catch_up, CATCH_UPS) or f"use {', '.join(CATCH_UPS)}"
            raise Invalid(f"no way to catch up is called {self.catch_up!r}", where=f"{self.where}.catch_up", hint=hint)

    def _check_metric(self) -> None:
        if (self.above is None) == (self.below is None):
            hint = "write above = 0.9 or below = 0.7"
            raise Invalid("a metric needs one threshold", where=self.where, hint=hint)

    def _check_webhook(self) -> None:
        if self.format not in FORMATS:
            hint = did_you_mean(self.format, FORMATS) or f"use {', '.join(FORMATS)}"
            raise Invalid(f"no format is called {self.format!r}", where=f"{self.where}.format", hint=hint)
        if not _SECRET.fullmatch(self.secret):
            hint = 'write secret = "TRAINING_HOOK_SECRET", and set that variable for `mainspring up`'
            raise Invalid("a secret is given by the name of a variable", where=f"{self.where}.secret", hint=hint)

    def _check_params(self) -> None:
        where = f"{self.where}.params"
        if self.policy and self.params:
            raise Invalid("a policy has its own params", where=where, hint=f"write them in [policy.{self.policy}]")
        try:
            canonical_json(dict(self.params))
        except Invalid as reason:
            raise Invalid(reason.what, where=where, hint=reason.hint) from None
        names = (*ALWAYS, *KINDS[self.on][2])
        for key, value in self.params.items():
            if isinstance(value, str) and value.startswith("$") and value[1:] not in names:
                hint = did_you_mean(value[1:], names) or "known are " + ", ".join(f"${name}" for name in names)
                raise Invalid(f"{value!r} stands for nothing here", where=f"{where}.{key}", hint=hint)


def trigger_of(name: str, section: object) -> Trigger:
    """The trigger that a section declares.

    Raises:
        Invalid: It has an unknown, missing or wrong setting.
    """
    where = f"trigger.{name}"
    if not isinstance(section, Mapping):
        raise Invalid(f"{where} is no section", where="mainspring.toml", hint=f"write [{where}]")
    values = {**section, "name": str(name)}
    causes = values.get("causes")
    if isinstance(causes, list) and all(isinstance(cause, str) for cause in causes):
        values["causes"] = tuple(causes)
    for key in ("above", "below"):
        value = values.get(key, 0.0)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise Invalid(f"{value!r} is not a number", where=f"{where}.{key}", hint="write a number")
    if not isinstance(values.get("causes", ()), tuple):
        raise Invalid(f"{causes!r} is no list of causes", where=f"{where}.causes", hint='write ["performance"]')
    if not isinstance(values.get("params", {}), Mapping):
        raise Invalid("params is no table", where=f"{where}.params", hint="write params = { trees = 200 }")
    if "on" not in values:
        raise Invalid("it does not say what it watches", where=where, hint=f"write on = one of {', '.join(KINDS)}")
    return fill(Trigger, cast("Mapping[str, object]", values), where=where)


def triggers_of(table: object) -> dict[str, Trigger]:
    """Every trigger of the `trigger` table of `mainspring.toml`, by name.

    Raises:
        Invalid: The table is not made of sections, or a section is wrong.
    """
    if not isinstance(table, Mapping):
        raise Invalid("trigger is no section", where="mainspring.toml", hint="write [trigger.NAME]")
    return {str(name): trigger_of(str(name), section) for name, section in table.items()}


@dataclass(frozen=True, slots=True)
class TriggerState:
    """A trigger as it lives.

    Attributes:
        since: Events up to this number are none of its business.
        mark: The last due time that was dealt with, or the last feedback that was counted.
        paused_at: When somebody paused it, 0 when it is not.
    """

    trigger: Trigger
    since: int
    mark: int
    created_at: int
    paused_at: int = 0
    paused_by: str = ""
    paused_why: str = ""

    @property
    def is_paused(self) -> bool:
        """Whether it fires nothing until it is resumed."""
        return self.paused_at > 0


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something a trigger watches for. `key` is the same for the same thing; `facts` is what params can name.

    `why_not` is not empty when it is known already that nothing comes of it, with the `code` of why.
    """

    key: str
    cause: str
    at: int
    facts: Mapping[str, object] = field(default_factory=dict)
    why_not: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Fire:
    """What a trigger did about an occurrence, also when that was nothing.

    Attributes:
        key: Which occurrence.
        cause: What happened, in words.
        outcome: "fired", "dry_run" or "not_fired".
        code: Why it was not fired, in one word; empty when it was.
        reason: The same in a sentence; or what was started.
        started: Reference of the run or cycle that was started.
        times: How many occurrences in a row were not fired for the same cause; this is the last of them.
    """

    id: str
    trigger: str
    key: str
    cause: str
    outcome: str
    code: str
    reason: str
    at: int
    started: str = ""
    times: int = 1
