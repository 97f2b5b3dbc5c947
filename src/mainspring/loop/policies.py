"""The closed loop, on one page: which event, in which situation, leads to which action.

    monitoring.alarm_raised     performance evidence, nothing open, no cool-down   -> StartCycle   (train)
    pipelines.run_finished      the cycle is training                              -> JudgeVersion (gate)
    pipelines.run_failed        the cycle is training                              -> EndCycle failed
    gates.verdict_reached       pass, nothing is live yet                          -> DeployVersion
                                pass, a champion is live                           -> StartCanary
                                pass, and the gate asks for approval               -> nothing yet
                                fail, undecided, error                             -> EndCycle refused
    gates.approval_decided      all who must approved: as the pass; refused          -> EndCycle refused
    run_finished, verdict       the policy was switched off meanwhile              -> EndCycle refused
    serving.rollout_promoted    the cycle is in canary                             -> Crown, EndCycle promoted
    serving.rollout_rolled_back the cycle is in canary                             -> EndCycle rolled_back

Decisions only: no I/O, no clock. What an action does is in `service.py`, and doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core.clock import DAY_US
from mainspring.core.events import Event
from mainspring.core.values import dataclass
from mainspring.loop.model import Cycle, Policy

ALARM = "monitoring.alarm_raised"
TRAINED, UNTRAINED = "pipelines.run_finished", ("pipelines.run_failed", "pipelines.run_cancelled")
JUDGED, DECIDED = "gates.verdict_reached", "gates.approval_decided"
PROMOTED, ROLLED_BACK = "serving.rollout_promoted", "serving.rollout_rolled_back"
OFF = "the policy is switched off"
KINDS = (ALARM, TRAINED, *UNTRAINED, JUDGED, DECIDED, PROMOTED, ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision looks at: whether policies act, the version that is live, and the cycles of the deployment.

    Cycles come newest first; times are event times.
    """

    enabled: bool
    live: int | None
    cycles: tuple[Cycle, ...]

    @property
    def open(self) -> Cycle | None:
        """The cycle that is under way."""
        return next((cycle for cycle in self.cycles if cycle.is_open), None)


@dataclass(frozen=True, slots=True)
class StartCycle:
    """Train a new version for this reason, as of this event time."""

    reason: str
    as_of: int


@dataclass(frozen=True, slots=True)
class SkipAlarm:
    """Do nothing, and say why."""

    reason: str


@dataclass(frozen=True, slots=True)
class JudgeVersion:
    """Put the trained version before the gate."""

    cycle: Cycle
    version: int
    evaluation: str
    label: str


@dataclass(frozen=True, slots=True)
class DeployVersion:
    """Nothing is live: the version becomes the champion."""

    cycle: Cycle
    verdict: str


@dataclass(frozen=True, slots=True)
class StartCanary:
    """Give the version its first share of the traffic."""

    cycle: Cycle
    verdict: str


@dataclass(frozen=True, slots=True)
class Crown:
    """The rollout promoted the version: it becomes the champion, and the reference of the monitor."""

    cycle: Cycle


@dataclass(frozen=True, slots=True)
class EndCycle:
    """The cycle is over."""

    cycle: Cycle
    outcome: str
    note: str
    verdict: str = ""


Action = StartCycle | SkipAlarm | JudgeVersion | DeployVersion | StartCanary | Crown | EndCycle


def decide(event: Event, policy: Policy, now: Situation) -> Action | None:
    """What `policy` does about `event`; None when the event is not about it."""
    payload = event.payload
    if event.kind == ALARM:
        return _on_alarm(payload, policy, now) if payload.get("deployment") == policy.deployment else None
    cycle = now.open
    if cycle is None or cycle.policy != policy.name:
        return None
    if cycle.state == "training" and event.subject == f"pipeline-runs/{cycle.pipeline_run}":
        if event.kind == TRAINED:
            return _on_trained(payload, cycle) if now.enabled else EndCycle(cycle, "refused", OFF)
        return EndCycle(cycle, "failed", f"training failed: {payload.get('error') or 'see the pipeline run'}")
    if cycle.state == "gating" and event.kind in (JUDGED, DECIDED):
        judged = (payload.get("gate"), payload.get("model"), payload.get("version"))
        if judged != (policy.gate, cycle.model, cycle.version):
            return None
        return _on_verdict(event, cycle, now)
    if cycle.state == "canary" and event.subject == f"rollouts/{cycle.rollout}":
        if event.kind == PROMOTED:
            return Crown(cycle)
        if event.kind == ROLLED_BACK:
            return EndCycle(cycle, "rolled_back", str(payload.get("reason") or "the canary did harm"))
    return None


def _on_alarm(payload: Mapping[str, object], policy: Policy, now: Situation) -> Action:
    cause, as_of = str(payload.get("cause")), int(str(payload.get("window_end")))
    if cause not in policy.on or (cause != "performance" and not payload.get("performance_evidence")):
        return SkipAlarm(f"{cause} without performance evidence never retrains")
    if not now.enabled:
        return SkipAlarm(OFF)
    if now.open is not None:
        return SkipAlarm(f"cycle {now.open.id} is still {now.open.state}")
    started = [cycle.as_of for cycle in now.cycles]
    if started and as_of - max(started) < policy.cool_down_days * DAY_US:
        return SkipAlarm(f"within the cool-down of {policy.cool_down_days:g} days")
    if sum(as_of - at < 365 * DAY_US for at in started) >= policy.budget:
        return SkipAlarm(f"the budget of {policy.budget} cycles a year is used up")
    return StartCycle(reason=str(payload.get("text") or f"{cause} alarm"), as_of=as_of)


def _on_trained(payload: Mapping[str, object], cycle: Cycle) -> Action:
    result = payload.get("result")
    if not isinstance(result, Mapping) or not {"version", "evaluation", "label"} <= set(result):
        return EndCycle(cycle, "failed", "the pipeline did not return version, evaluation and label")
    version, evaluation, label = (result[key] for key in ("version", "evaluation", "label"))
    if result.get("model", cycle.model) != cycle.model:
        return EndCycle(
            cycle, "failed", f"the pipeline registered {result['model']}, the policy asks for {cycle.model}"
        )
    return JudgeVersion(cycle, int(str(version)), str(evaluation), str(label))


def _on_verdict(event: Event, cycle: Cycle, now: Situation) -> Action | None:
    verdict, payload = event.subject.removeprefix("verdicts/"), event.payload
    if event.kind == DECIDED and payload.get("decision") != "approved":
        return EndCycle(cycle, "refused", f"a {payload.get('role')} refused it: {payload.get('reason')}", verdict)
    if event.kind == JUDGED and payload.get("outcome") != "pass":
        return EndCycle(cycle, "refused", f"the gate said {payload.get('outcome')}", verdict)
    if payload.get("standing") == "wait":
        return None
    if now.live in (None, cycle.version):  # live already: the deploy was done, and its end was not noted
        return DeployVersion(cycle, verdict) if now.enabled or now.live else EndCycle(cycle, "refused", OFF, verdict)
    if not now.enabled:
        return EndCycle(cycle, "refused", OFF, verdict)
    return StartCanary(cycle, verdict)
