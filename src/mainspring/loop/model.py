"""Values of the loop: policies as declared, cycles as they go, and what a question for reasons answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mainspring.core.errors import Invalid
from mainspring.core.ids import check_name
from mainspring.core.settings import fill
from mainspring.core.values import dataclass

OPEN_STATES = ("training", "gating", "canary")
OUTCOMES = ("deployed", "promoted", "rolled_back", "refused", "failed", "dry_run")
CAUSES = ("performance", "drift", "missing")
_SHOWN_REASONS = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """`[policy.NAME]`: what belongs together, and when the loop acts.

    Attributes:
        deployment: The endpoint that is kept good.
        model: The registered model it serves.
        pipeline: What trains a new version: `package.module:function` or `path/file.py:function`. It returns
            `{"model", "version", "evaluation", "label"}`: the version, and the dataset the gate judges it on.
        gate: The gate a new version passes before it meets a request.
        params: Parameters of the pipeline; the loop adds `until` (event time, microseconds) when it retrains.
        on: Alarm causes that start a cycle. Drift is allowed only beside performance, for drift alone never retrains.
        cool_down_days: Least event time between the starts of two cycles.
        budget: Most cycles in 365 days of event time.
        canary_share: Share of the traffic a new version starts with, in (0, 0.5].
        dry_run: Say what would be done, do nothing.
    """

    name: str
    deployment: str
    model: str
    pipeline: str
    gate: str
    params: Mapping[str, object] = field(default_factory=dict)
    on: tuple[str, ...] = ("performance",)
    cool_down_days: float = 7.0
    budget: int = 12
    canary_share: float = 0.25
    dry_run: bool = False

    def __post_init__(self) -> None:
        where = f"policy.{self.name}"
        for value, what in ((self.name, "policy"), (self.deployment, "deployment"), (self.model, "model")):
            check_name(value, what)
        unknown = [cause for cause in self.on if cause not in CAUSES]
        if unknown:
            raise Invalid(f"unknown cause {unknown[0]!r}", where=f"{where}.on", hint="known are " + ", ".join(CAUSES))
        if "performance" not in self.on:
            raise Invalid(
                "drift alone never retrains", where=f"{where}.on", hint='add "performance": on = ["performance"]'
            )
        if not 0 < self.canary_share <= 0.5:
            raise Invalid(f"{self.canary_share} is no share", where=f"{where}.canary_share", hint="use 0.01 to 0.5")
        if self.cool_down_days < 0 or self.budget < 0:
            raise Invalid("a negative limit", where=where, hint="use cool_down_days >= 0 and budget >= 0")


def policies_of(table: object) -> dict[str, Policy]:
    """Every policy of the `policy` table of `mainspring.toml`, by name.

    Raises:
        Invalid: The table is not made of sections, or a section has an unknown, missing or wrong setting.
    """
    if not isinstance(table, Mapping):
        raise Invalid("policy is no section", where="mainspring.toml", hint="write [policy.NAME]")
    found = {}
    for name, entry in table.items():
        if not isinstance(entry, Mapping):
            raise Invalid(f"policy.{name} is no section", where="mainspring.toml", hint=f"write [policy.{name}]")
        values = {**entry, "name": str(name)}
        if isinstance(values.get("on"), list):
            values["on"] = tuple(values["on"])
        found[str(name)] = fill(Policy, values, where=f"policy.{name}")
    return found


@dataclass(frozen=True, slots=True)
class Cycle:
    """One turn of the loop under a policy. References are empty until there is something to refer to."""

    id: str
    policy: str
    deployment: str
    model: str
    state: str
    reason: str
    trigger_seq: int
    as_of: int
    started_at: int
    ended_at: int | None = None
    pipeline_run: str = ""
    version: int | None = None
    verdict: str = ""
    rollout: str = ""
    note: str = ""

    @property
    def ref(self) -> str:
        """Reference of the cycle in the event log."""
        return f"cycles/{self.id}"

    @property
    def is_open(self) -> bool:
        """Whether something is still going to happen."""
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether policies act. `policy` is a name, or `*` for all; `by` is who switched."""

    policy: str
    enabled: bool
    reason: str
    at: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the loop did."""

    compacted: int
    observed: int
    events: int
    alarms: tuple[str, ...]
    open_cycles: tuple[Cycle, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a prediction was what it was: the chain from the answer back to the data and the decisions."""

    prediction: Mapping[str, object]
    version: Mapping[str, object]
    run: Mapping[str, object]
    datasets: tuple[Mapping[str, object], ...]
    verdicts: tuple[Mapping[str, object], ...]
    cycle: Mapping[str, object] | None
    live: tuple[Mapping[str, object], ...]

    def lines(self) -> list[str]:
        """The chain, a line a link."""
        said = [
            f"prediction {self.prediction['id']}: {self.prediction['outputs']} at {self.prediction['event_at']}",
            f"  answered by {self.version['ref']}, {self.version['flavour']}, digest {str(self.version['digest'])[:12]}"
            f" as {self.prediction['arm']}",
        ]
        codes = self.prediction.get("reasons")
        if isinstance(codes, Mapping) and codes:
            strongest = [f"{name} {code:+.4g}" for name, code in list(codes.items())[:_SHOWN_REASONS]]
            said.append(f"  because of {', '.join(strongest)} from {self.prediction['reasons_base']:.4g}")
        said += [f"  live since {change['at']}: {change['reason'] or 'no reason given'}" for change in self.live]
        if self.run:
            said.append(f"  trained by run {self.run['id']} at commit {self.run['commit'] or 'unknown'}")
        said += [
            f"  on {dataset['ref']}: {dataset['rows']} rows, digest {str(dataset['digest'])[:12]}"
            for dataset in self.datasets
        ]
        said += [f"  gate {verdict['gate']}: {verdict['outcome']} ({verdict['id']})" for verdict in self.verdicts]
        if self.cycle:
            said.append(f"  because of cycle {self.cycle['id']}: {self.cycle['reason']}")
        return said
