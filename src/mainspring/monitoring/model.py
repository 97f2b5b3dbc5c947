"""The values of monitoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

CAUSES = ("drift", "performance", "missing", "latency", "errors", "stale", "resources", "gap", "coverage")
UNSEEN_STATES = ("open", "escalated")
"""Of an alarm that nobody has looked at."""
ALARM_STATES = (*UNSEEN_STATES, "silenced", "acknowledged", "repeated", "closed")
HOURS_KEPT_US = 14 * DAY_US
"""So long what answers were worth is known by the hour, then by the day."""
WORTHS = ("true_positive", "false_positive", "false_negative", "true_negative", "right", "wrong", "per_unit")
MOST_SEGMENTS = 8
PACKS = ("ranking", "forecasting", "survival")
"""What a version can be watched as, beside its inputs and its service."""
_PACK_SETTINGS = ("kind", "group", "horizon", "k", "naive_error", "coverage")


@dataclass(frozen=True, slots=True)
class MonitorSpec:
    """`[monitor]`: the visible settings of every monitor.

    Attributes:
        budget: False alarms allowed in a year, all columns and the performance of a model together.
        tolerance: Share of the reference loss by which realized performance may be worse before it counts.
        drift_tolerance: Share of the rows that may have moved before it counts.
        label_share: A day is judged once this share of its predictions has a label ...
        label_wait_days: ... or once the stream is this many days past its end.
        latency_ms: An answer that takes longer is slow; 0 = twice the 99th percentile of the first hours of a version.
        slow_share: Share of the answers that may be slow before it counts.
        error_share: Share of the requests that may fail before it counts.
        cores: How many cores a worker of the model server may keep busy; 0 = what is learnt in its first hours, at
            least nine tenths of one.
        memory_mb: How much memory such a worker may hold; 0 = what is learnt in its first hours.
        escalate_hours: An alarm that nobody has acknowledged for so long goes to those who want escalated ones; 0 =
            never.
        segments: Inputs whose levels are counted apart, such as ["carrier"].
        packs: For a deployment what it is watched as, where its version does not say so itself: kind (ranking,
            forecasting or survival), the input that is the group or the horizon, k, naive_error, coverage.
        worth: What a row of each outcome is worth in money, such as { true_positive = 40, false_positive = -5 };
            "right" and "wrong" for many classes, "per_unit" of the absolute error for a number.
        currency: What the money is called.
    Raises:
        Invalid: A value is out of range.
    """

    budget: float = 1.0
    tolerance: float = 0.05
    drift_tolerance: float = 0.02
    label_share: float = 0.9
    label_wait_days: float = 2.0
    latency_ms: float = 0.0
    slow_share: float = 0.05
    error_share: float = 0.01
    cores: float = 0.0
    memory_mb: float = 0.0
    escalate_hours: float = 24.0
    segments: Sequence[str] = ()
    packs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    worth: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 10_000:
            raise Invalid(f"a budget of {self.budget} alarms a year", where="monitor.budget", hint="use 0.1 to 10")
        for name in ("tolerance", "drift_tolerance", "label_share", "slow_share", "error_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise Invalid(f"{getattr(self, name)} is no share", where=f"monitor.{name}", hint="use 0 to 1")
        if self.label_wait_days < 0:
            raise Invalid("a negative wait", where="monitor.label_wait_days", hint="use 0 or more days")
        if not 0 <= self.escalate_hours <= 8760:
            what = f"{self.escalate_hours:g} hours until an alarm is escalated"
            raise Invalid(what, where="monitor.escalate_hours", hint="use 0 (never) to 8760")
        if not 0 <= self.latency_ms <= 3_600_000:
            hint = "use milliseconds, or 0 for twice the 99th percentile of the first hours"
            raise Invalid(f"an objective of {self.latency_ms:g} ms", where="monitor.latency_ms", hint=hint)
        for name, most in (("cores", 4096), ("memory_mb", 1e9)):
            if not 0 <= getattr(self, name) <= most:
                hint = "use 0 to learn it, or what a worker may use"
                raise Invalid(f"a limit of {getattr(self, name):g}", where=f"monitor.{name}", hint=hint)
        self._check_lists()

    def _check_lists(self) -> None:
        names: object = self.segments
        worth: object = self.worth
        currency: object = self.currency
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
            hint = 'write a list of inputs: segments = ["carrier"]'
            raise Invalid(f"{self.segments!r} is no list of names", where="monitor.segments", hint=hint)
        if len(self.segments) > MOST_SEGMENTS:
            hint = "slices of all columns are looked for anyway"
            raise Invalid(f"more than {MOST_SEGMENTS} columns of segments", where="monitor.segments", hint=hint)
        if not isinstance(worth, Mapping):
            hint = "write a table: worth = { true_positive = 40.0 }"
            raise Invalid(f"{worth!r} is no table of amounts", where="monitor.worth", hint=hint)
        if not isinstance(currency, str):
            raise Invalid(f"{currency!r} is no currency", where="monitor.currency", hint='use a text such as "EUR"')
        for deployment, pack in self.packs.items():
            _check_pack(f"monitor.packs.{deployment}", pack)
        for name, money in self.worth.items():
            if name not in WORTHS:
                hint = did_you_mean(name, WORTHS) or f"use {', '.join(WORTHS)}"
                raise Invalid(f"no outcome is called {name!r}", where="monitor.worth", hint=hint)
            if isinstance(money, bool) or not isinstance(money, (int, float)) or not abs(money) < float("inf"):
                raise Invalid(f"{money!r} is no amount", where=f"monitor.worth.{name}", hint="use a number")


def _check_pack(where: str, pack: object) -> None:
    if not isinstance(pack, Mapping):
        raise Invalid(f"{pack!r} is no table of settings", where=where, hint='kind = "ranking"')
    for name, value in pack.items():
        if name not in _PACK_SETTINGS:
            hint = did_you_mean(str(name), _PACK_SETTINGS) or f"known are {', '.join(_PACK_SETTINGS)}"
            raise Invalid(f"no setting is called {name!r}", where=where, hint=hint)
        if name == "kind" and value not in PACKS:
            raise Invalid(f"{value!r} is no kind", where=f"{where}.kind", hint=f"use {', '.join(PACKS)}")
        if name in ("group", "horizon") and not isinstance(value, str):
            raise Invalid(f"{value!r} is no name of an input", where=f"{where}.{name}", hint="use a text")
        if name == "k" and (type(value) is not int or not 1 <= value <= 1000):
            raise Invalid(f"{value!r} items", where=f"{where}.k", hint="use 1 to 1000")
        if name == "coverage" and (not isinstance(value, float) or not 0 < value < 1):
            raise Invalid(
                f"{value!r} is no share", where=f"{where}.coverage", hint="what intervals promise, such as 0.9"
            )
        if name == "naive_error" and (type(value) not in (int, float) or not 0 < float(str(value)) < float("inf")):
            raise Invalid(f"{value!r} is no error", where=f"{where}.naive_error", hint="use a number above 0")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about a window, kept so that it can be checked later.

    Attributes:
        deployment: What is watched.
        version: Version of the model that answered.
        cause: "drift" or "performance".
        window_start: First microsecond of the window, event time.
        window_end: First microsecond after it.
        rows: Rows of the window; labelled rows for performance.
        evidence: What evidence had gathered after this window, before a restart.
        level: What evidence must reach for an alarm.
        state: "ok", "watch" or "alarm".
        details: Per column distance, p-value, evidence; or the loss of the window and the measures.
    """

    deployment: str
    version: int
    cause: str
    window_start: int
    window_end: int
    rows: int
    evidence: float
    level: float
    state: str
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A decision that something is wrong.

    Attributes:
        id: Its id.
        deployment: What is watched.
        version: Version of the model that answered.
        cause: One of `CAUSES`.
        state: "open", "escalated" (nobody looked at it for long), "silenced" (nobody is told), "acknowledged",
            "repeated" (a newer one says the same) or "closed" (it is over, or the version is no longer live).
        text: One sentence for people.
        evidence: The figures behind it.
        window_start: Since when, event time.
        window_end: End of the window that raised it.
        raised_at: Wall time.
        acknowledged_at: Wall time, 0 before.
        acknowledged_by: Who, "" before.
        note: What was said at the acknowledgement, or at the end.
        escalated_at: Wall time, 0 before.
        closed_at: Wall time, 0 before.
        closed_by: Who, "" before and when its version was replaced.
        silence: Id of the silence it falls under, "" for none.
    """

    id: str
    deployment: str
    version: int
    cause: str
    state: str
    text: str
    evidence: dict[str, object]
    window_start: int
    window_end: int
    raised_at: int
    acknowledged_at: int = 0
    acknowledged_by: str = ""
    note: str = ""
    escalated_at: int = 0
    closed_at: int = 0
    closed_by: str = ""
    silence: str = ""

    @property
    def ref(self) -> str:
        """Reference, `alarms/ID`."""
        return f"alarms/{self.id}"


@dataclass(frozen=True, slots=True)
class AlarmStep:
    """One thing that became of an alarm: when (wall time), what, by whom, and what was said."""

    at: int
    what: str
    actor: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """What nobody is told of for a while.

    Attributes:
        id: Its id.
        deployment: Only alarms of this one; "" = of every one.
        cause: Only of this one of `CAUSES`; "" = of every one.
        column: Only about this column; "" = about any, or none.
        until: Wall time.
        why: What was said.
        created_at: Wall time.
        created_by: Who.
        ended_at: Wall time it was ended before its time, 0 when it was not.
        ended_by: Who ended it.
    """

    id: str
    deployment: str
    cause: str
    column: str
    until: int
    why: str
    created_at: int
    created_by: str
    ended_at: int = 0
    ended_by: str = ""

    @property
    def ref(self) -> str:
        """Reference, `silences/ID`."""
        return f"silences/{self.id}"

    def holds(self, now: int) -> bool:
        """Whether it holds at a wall time."""
        return not self.ended_at and self.until > now


@dataclass(frozen=True, slots=True)
class Monitor:
    """What is watched, and how far.

    Attributes:
        deployment: Name of the deployment.
        created_at: Wall time.
        watermark: The stream time: latest event time seen, 0 before the first prediction.
        predictions: Rows counted so far.
        labels: Labels counted so far.
        position: How far the prediction log was read.
        feedback_seq: How far the feedback was read.
    """

    deployment: str
    created_at: int
    watermark: int = 0
    predictions: int = 0
    labels: int = 0
    position: str = ""
    feedback_seq: int = 0

    @property
    def ref(self) -> str:
        """Reference, `monitors/NAME`."""
        return f"monitors/{self.deployment}"


@dataclass(frozen=True, slots=True)
class WatchedVersion:
    """A version that answered predictions of a deployment, and what it is compared with.

    Attributes:
        deployment: The deployment.
        version: Number of the model version.
        model: Name of the model.
        task: "binary", "multiclass" or "regression".
        reference: Dataset version it was trained on, "" when it does not say.
        loss: Name of the loss that is watched, "" when the version has no validation loss.
        reference_loss: That loss at validation, 0 when there is none.
        problem: Why a part of the watch is off, "" when all is on.
        drift_until: End of the last window judged for drift.
        loss_until: End of the last window judged for performance.
        state: Evidence gathered so far, per column and for performance.
    """

    deployment: str
    version: int
    model: str
    task: str
    reference: str = ""
    loss: str = ""
    reference_loss: float = 0.0
    problem: str = ""
    drift_until: int = 0
    loss_until: int = 0
    state: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many labels of a version lay in the intervals of its predictions, over the newest 30 days.

    Attributes:
        version: Which version.
        rows: Labelled predictions that had an interval.
        within: Of these, with the label inside.
        low: Lower end of the 95 % confidence interval of the share.
        high: Its upper end.
    """

    version: int
    rows: int
    within: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of labels inside."""
        return self.within / self.rows


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """All there is to see of a monitor.

    Attributes:
        monitor: What is watched, and how far.
        state: "waiting" (nothing seen yet), "ok", "watch" or "alarm".
        version: The version that is live.
        versions: Every version that answered, without the evidence in `state`.
        windows: The newest judgements, in order of time.
        alarms: The newest alarms, newest first.
        measures: Realized performance of the live version over 30 days; empty without labels.
        calibration: Mean score, share of class 1 and rows of groups of these labelled rows, in order of the score.
        awaiting_labels: Answers without a label.
        problems: Why a part of the watch is off.
    """

    monitor: Monitor
    state: str
    version: int
    versions: tuple[WatchedVersion, ...]
    windows: tuple[Judgement, ...]
    alarms: tuple[Alarm, ...]
    measures: dict[str, float]
    calibration: tuple[tuple[float, float, int], ...]
    awaiting_labels: int
    problems: tuple[str, ...]
