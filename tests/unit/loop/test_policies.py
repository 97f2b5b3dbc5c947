from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.core.events import Event
from mainspring.loop import policies
from mainspring.loop.model import OPEN_STATES, OUTCOMES, Cycle, Policy, policies_of

POLICY = Policy(name="keep-good", deployment="late", model="late-model", pipeline="p.py:train", gate="promote")
CYCLE = Cycle("c1", "keep-good", "late", "late-model", "training", "why", 7, 100 * DAY_US, 1, pipeline_run="r1")
CALM = policies.Situation(enabled=True, live=1, cycles=())


def event(kind: str, subject: str = "x/1", **payload: object) -> Event:
    return Event(9, 1, "owner", "default", kind, subject, payload)


def alarm(day: int = 200, cause: str = "performance", deployment: str = "late", **more: object) -> Event:
    return event(policies.ALARM, "alarms/a", deployment=deployment, cause=cause, window_end=day * DAY_US, **more)


def trained(**result: object) -> Event:
    whole = {"model": "late-model", "version": 3, "evaluation": "datasets/e/2", "label": "y", **result}
    return event(policies.TRAINED, "pipeline-runs/r1", result=whole)


def in_state(state: str, *, version: int | None = None, rollout: str = "") -> policies.Situation:
    return replace(CALM, cycles=(replace(CYCLE, state=state, version=version, rollout=rollout),))


def test_a_performance_alarm_starts_a_cycle_as_of_its_window() -> None:
    action = policies.decide(alarm(text="log loss rose"), POLICY, CALM)
    assert action == policies.StartCycle("log loss rose", 200 * DAY_US)


def test_drift_alone_never_retrains() -> None:
    both = replace(POLICY, on=("performance", "drift"))
    for policy in (POLICY, both):
        action = policies.decide(alarm(cause="drift"), policy, CALM)
        assert action == policies.SkipAlarm("drift without performance evidence never retrains")
    action = policies.decide(alarm(cause="drift", performance_evidence=True), both, CALM)
    assert isinstance(action, policies.StartCycle)
    with pytest.raises(Invalid, match="drift alone never retrains"):
        replace(POLICY, on=("drift",))


@pytest.mark.parametrize("state", OPEN_STATES)
def test_while_a_cycle_is_open_an_alarm_starts_nothing(state: str) -> None:
    action = policies.decide(alarm(), POLICY, in_state(state))
    assert action == policies.SkipAlarm(f"cycle c1 is still {state}")


@pytest.mark.parametrize(("day", "starts"), [(106, False), (107, True)])
def test_the_cool_down_runs_on_event_time(day: int, starts: bool) -> None:
    action = policies.decide(alarm(day), POLICY, in_state("promoted"))
    assert isinstance(action, policies.StartCycle) is starts


def test_the_budget_counts_cycles_of_the_last_year() -> None:
    old = tuple(replace(CYCLE, id=str(day), state="refused", as_of=day * DAY_US) for day in (10, 20, 180))
    now = replace(CALM, cycles=old)
    tight = replace(POLICY, budget=3)
    assert policies.decide(alarm(200), tight, now) == policies.SkipAlarm("the budget of 3 cycles a year is used up")
    assert isinstance(policies.decide(alarm(376), tight, now), policies.StartCycle)


def test_a_switched_off_policy_does_nothing() -> None:
    action = policies.decide(alarm(), POLICY, replace(CALM, enabled=False))
    assert action == policies.SkipAlarm("the policy is switched off")


def test_a_policy_that_is_switched_off_meanwhile_neither_gates_nor_deploys() -> None:
    training = replace(in_state("training"), enabled=False)
    assert policies.decide(trained(), POLICY, training) == policies.EndCycle(
        training.cycles[0], "refused", policies.OFF
    )
    gating = replace(in_state("gating", version=3), enabled=False)
    for live in (None, 1):
        action = policies.decide(judged("pass"), POLICY, replace(gating, live=live))
        assert action == policies.EndCycle(gating.cycles[0], "refused", policies.OFF, "v1")
    done = policies.decide(judged("pass"), POLICY, replace(gating, live=3))  # deployed before, and not noted
    assert isinstance(done, policies.DeployVersion)


def test_an_alarm_of_another_deployment_is_not_its_business() -> None:
    assert policies.decide(alarm(deployment="other"), POLICY, CALM) is None


def test_a_trained_version_goes_before_the_gate() -> None:
    now = in_state("training")
    action = policies.decide(trained(), POLICY, now)
    assert action == policies.JudgeVersion(now.cycles[0], 3, "datasets/e/2", "y")


@pytest.mark.parametrize(
    ("happened", "note"),
    [
        (event(policies.TRAINED, "pipeline-runs/r1", result={"version": 3}), "did not return"),
        (event(policies.TRAINED, "pipeline-runs/r1", result=None), "did not return"),
        (trained(model="another"), "registered another"),
        (event("pipelines.run_failed", "pipeline-runs/r1", error="no memory"), "no memory"),
        (event("pipelines.run_cancelled", "pipeline-runs/r1"), "see the pipeline run"),
    ],
)
def test_training_that_gives_no_version_ends_the_cycle(happened: Event, note: str) -> None:
    action = policies.decide(happened, POLICY, in_state("training"))
    assert isinstance(action, policies.EndCycle)
    assert (action.outcome, note in action.note) == ("failed", True)


def judged(outcome: str, version: int = 3) -> Event:
    what = {"gate": "promote", "model": "late-model", "version": version}
    return event(policies.JUDGED, "verdicts/v1", outcome=outcome, **what)


def test_a_version_that_passed_is_deployed_when_nothing_is_live_and_else_a_canary() -> None:
    now = in_state("gating", version=3)
    assert policies.decide(judged("pass"), POLICY, now) == policies.StartCanary(now.cycles[0], "v1")
    for live in (
        None,
        3,
    ):  # 3: a deploy that was cut off after it was done is done again, not put on trial against itself
        first = replace(now, live=live)
        assert policies.decide(judged("pass"), POLICY, first) == policies.DeployVersion(now.cycles[0], "v1")
    assert policies.decide(judged("pass", version=4), POLICY, now) is None
    lenient = replace(POLICY, gate="strict")
    assert policies.decide(judged("pass"), lenient, now) is None


@pytest.mark.parametrize("outcome", ["fail", "undecided", "error"])
def test_any_other_verdict_refuses_the_version(outcome: str) -> None:
    now = in_state("gating", version=3)
    assert policies.decide(judged(outcome), POLICY, now) == policies.EndCycle(
        now.cycles[0], "refused", f"the gate said {outcome}", "v1"
    )


def test_the_end_of_the_rollout_is_the_end_of_the_cycle() -> None:
    now = in_state("canary", version=3, rollout="o1")
    assert policies.decide(event(policies.PROMOTED, "rollouts/o1"), POLICY, now) == policies.Crown(now.cycles[0])
    back = policies.decide(event(policies.ROLLED_BACK, "rollouts/o1", reason="twice the errors"), POLICY, now)
    assert back == policies.EndCycle(now.cycles[0], "rolled_back", "twice the errors")
    assert policies.decide(event(policies.PROMOTED, "rollouts/o2"), POLICY, now) is None


subjects = st.sampled_from(["pipeline-runs/r1", "pipeline-runs/r2", "verdicts/v1", "rollouts/o1", "alarms/a"])
payloads = st.fixed_dictionaries(
    {},
    optional={
        "deployment": st.sampled_from(["late", "other"]),
        "cause": st.sampled_from(["performance", "drift", "missing", "odd"]),
        "window_end": st.integers(0, 400 * DAY_US),
        "outcome": st.sampled_from(["pass", "fail", "odd"]),
        "result": st.none() | st.dictionaries(st.sampled_from(["version", "evaluation", "label"]), st.integers(1, 3)),
        "model": st.just("late-model"),
        "version": st.just(3),
    },
)


@given(st.sampled_from(policies.KINDS), subjects, payloads, st.booleans(), st.sampled_from([*OPEN_STATES, *OUTCOMES]))
def test_at_most_one_cycle_is_ever_open(
    kind: str, subject: str, payload: dict[str, object], live: bool, state: str
) -> None:
    if kind == policies.ALARM and "window_end" not in payload:
        payload = {**payload, "window_end": 0}
    now = replace(in_state(state, version=3, rollout="o1"), live=1 if live else None)
    action = policies.decide(event(kind, subject, **payload), POLICY, now)
    if state in OPEN_STATES:
        assert not isinstance(action, policies.StartCycle)
    elif kind != policies.ALARM:
        assert action is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"x": {**dict.fromkeys(("deployment", "model", "pipeline", "gate"), "a"), "cooldown_days": 1}},
            "cool_down_days",
        ),
        ({"x": {"deployment": "a"}}, "missing"),
        ({"x": 3}, "no section"),
        (3, "no section"),
        (
            {"x": {**dict.fromkeys(("deployment", "model", "pipeline", "gate"), "a"), "on": ["performance", "x"]}},
            "unknown cause",
        ),
        (
            {"x": {**dict.fromkeys(("deployment", "model", "pipeline", "gate"), "a"), "canary_share": 0.9}},
            "is no share",
        ),
        ({"x": {**dict.fromkeys(("deployment", "model", "pipeline", "gate"), "a"), "budget": -1}}, "negative"),
    ],
)
def test_a_policy_that_is_wrong_is_refused(table: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        policies_of(table)


def test_a_policy_is_read_from_its_section() -> None:
    entry = dict.fromkeys(("deployment", "model", "pipeline", "gate"), "a")
    found = policies_of({"x": {**entry, "on": ["performance"], "params": {"n": 1}, "cool_down_days": 3}})
    assert found["x"].params == {"n": 1}
    assert found["x"].cool_down_days == 3


def test_a_pass_that_waits_for_approval_moves_nothing_until_somebody_decides() -> None:
    now = in_state("gating", version=3)
    what = {"gate": "promote", "model": "late-model", "version": 3}
    waiting = event(policies.JUDGED, "verdicts/v1", outcome="pass", standing="wait", **what)
    assert policies.decide(waiting, POLICY, now) is None
    one_of_two = event(policies.DECIDED, "verdicts/v1", decision="approved", standing="wait", **what)
    assert policies.decide(one_of_two, POLICY, now) is None
    said = [
        event(policies.DECIDED, "verdicts/v1", decision=decision, role="validator", reason="read it", **what)
        for decision in ("approved", "refused")
    ]
    go, stop = (policies.decide(each, POLICY, now) for each in said)
    assert go == policies.StartCanary(now.cycles[0], "v1")
    assert stop == policies.EndCycle(now.cycles[0], "refused", "a validator refused it: read it", "v1")
