from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.serving.rules.assignment import assign, assign_beside, check_shares, fraction
from mainspring.serving.rules.decision import Evidence, RolloutSpec, Signal, decide
from mainspring.serving.rules.eprocess import BadEvents, harm, limit, no_harm


@dataclass(frozen=True)
class Part:
    name: str
    share: float


def arms(share: float) -> list[Part]:
    return [Part("champion", 1.0 - share), Part("canary", share)]


@given(st.text(max_size=40), st.text(max_size=200))
def test_a_key_always_falls_on_the_same_place(salt: str, key: str) -> None:
    place = fraction(salt, key)
    assert place == fraction(salt, key)
    assert 0.0 <= place < 1.0


@given(st.text(max_size=20), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_growing_share_never_takes_the_canary_from_anybody(key: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if assign(arms(small), "s", key).name == "canary":
        assert assign(arms(large), "s", key).name == "canary"


@given(st.text(max_size=20))
def test_an_arm_without_a_share_never_answers(key: str) -> None:
    assert assign(arms(0.0), "s", key).name == "champion"
    assert assign(arms(1.0), "s", key).name == "canary"


def test_the_share_of_keys_is_the_share_that_was_asked_for() -> None:
    hits = sum(assign(arms(0.1), "salt", f"key-{i}").name == "canary" for i in range(20_000))
    assert abs(hits / 20_000 - 0.1) < 0.01


def beside(share: float) -> list[Part]:
    return [Part(name, part * (1 - share)) for name, part in STANDING.items()] + [Part("canary", share)]


STANDING = {"champion": 0.6, "v2": 0.3, "v3": 0.1}


@given(st.text(max_size=20), st.floats(0.0, 0.99), st.floats(0.0, 0.99))
def test_who_is_not_on_the_canary_has_the_arm_that_they_would_have_without_it(
    key: str, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    usual = assign([Part(name, share) for name, share in STANDING.items()], "weights", key).name
    found = [assign_beside(beside(share), "weights", key, trial="r").name for share in (small, large)]
    assert set(found) <= {usual, "canary"}
    assert found[1] == "canary" or found[0] == usual


def test_a_canary_beside_standing_shares_takes_from_each_in_proportion() -> None:
    chosen = [assign_beside(beside(0.2), "weights", f"key-{i}", trial="r").name for i in range(20_000)]
    for part in beside(0.2):
        assert abs(chosen.count(part.name) / 20_000 - part.share) < 0.012


def test_two_salts_pick_independent_keys() -> None:
    both = sum(fraction("a", str(i)) < 0.5 and fraction("b", str(i)) < 0.5 for i in range(8_000))
    assert abs(both / 8_000 - 0.25) < 0.02


@pytest.mark.parametrize("shares", [[], [0.5], [1.5, -0.5], [0.5, 0.6]])
def test_shares_that_are_no_distribution_are_refused(shares: list[float]) -> None:
    with pytest.raises(Invalid, match="do not sum to 1"):
        check_shares(shares)


def test_no_events_are_no_evidence() -> None:
    assert harm([]) == pytest.approx(0.0)
    assert no_harm([]) == pytest.approx(0.0)


def test_the_expected_e_value_of_one_event_under_the_null_is_one() -> None:
    for share in (0.05, 0.25, 0.5):
        mean = share * exp(harm([BadEvents(share, 1, 0)])) + (1 - share) * exp(harm([BadEvents(share, 0, 1)]))
        assert mean == pytest.approx(1.0)


@given(st.floats(0.02, 0.6), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_splitting_a_step_does_not_change_the_evidence(share: float, canary: int, champion: int, more: int) -> None:
    whole = harm([BadEvents(share, canary + more, champion)])
    assert harm([BadEvents(share, canary, champion), BadEvents(share, more, 0)]) == pytest.approx(whole, abs=1e-9)


def _caught(ratio: float, rollouts: int, *, requests: int, seed: int) -> list[float]:
    """The canary requests until each rollout is rolled back; infinite where it is not. Looks every 500 requests.

    The settings of `bench/rollout_error_rates.py`: 10 % canary, 1 % bad events at the champion.
    """
    share, looks, rng = 0.1, requests // 500, np.random.default_rng(seed)
    asked = rng.binomial(500, share, (rollouts, looks))
    canary, champion = rng.binomial(asked, 0.01 * ratio).cumsum(1), rng.binomial(500 - asked, 0.01).cumsum(1)
    back = canary >= np.array(_least(RolloutSpec(), share, int(champion.max())))[champion]
    return [
        float(sent[: row.argmax() + 1].sum()) if row.any() else float("inf")
        for sent, row in zip(asked, back, strict=True)
    ]


def _least(spec: RolloutSpec, share: float, most: int) -> list[int]:
    """For each count of errors of the champion, how many of the canary roll back."""
    least, found = 1, []
    for champion in range(most + 1):
        while decide(Evidence(counts={"errors": (BadEvents(share, least, champion),)}), spec).action != "rollback":
            least += 1
        found.append(least)
    return found


def test_a_harmless_version_is_rolled_back_for_errors_in_one_of_forty_rollouts_under_constant_looking() -> None:
    after = np.array(_caught(1.0, 200, requests=100_000, seed=20130101))
    assert np.isfinite(after).sum() <= 5  # 2.5 %; quality has as much


def test_a_version_twice_as_bad_is_caught_within_a_thousand_canary_requests_or_so() -> None:
    after = np.array(_caught(2.0, 200, requests=100_000, seed=7))
    assert np.median(after) <= 1_000
    assert (after <= 3_000).mean() >= 0.94  # 20,000 rollouts: 95.9 %; 200 say it to 1.4 points
    assert np.isfinite(after).all()


def test_an_equal_version_is_proved_harmless_and_a_worse_one_is_not() -> None:
    assert no_harm([BadEvents(0.25, 500, 1500)]) > log(20)
    assert no_harm([BadEvents(0.25, 590, 1410)]) < 0  # 1.25 times as bad


@pytest.mark.parametrize(("share", "alpha"), [(0.1, 0.05), (0.5, 0.05)])
def test_the_limit_at_one_share_is_reached_without_harm_as_often_as_it_may_be_and_hardly_less(
    share: float, alpha: float
) -> None:
    line, events, walks = limit(share, alpha), 400, 5_000
    assert line < log(1.0 / alpha)
    least, lines = 1, []
    for event in range(1, events + 1):
        while least <= event and harm([BadEvents(share, least, event - least)]) < line:
            least += 1
        lines.append(least)
    canary = (np.random.default_rng(5).random((walks, events)) < share).cumsum(1)
    crossed = (canary >= np.array(lines)).any(1).mean()
    assert 0.85 * alpha < crossed < alpha + 3 * (alpha / walks) ** 0.5


def test_a_rollout_of_several_shares_goes_by_the_bound_that_holds_for_any_of_them() -> None:
    one, steps = RolloutSpec(), RolloutSpec(then=(0.5,))
    counts = (BadEvents(0.1, 10, 50),)
    assert steps.limit("errors", counts) == log(1.0 / steps.alpha("errors")) > one.limit("errors", counts)
    assert one.limit("errors", (*counts, BadEvents(0.2, 1, 1))) == log(1.0 / one.alpha("errors"))


SPEC = RolloutSpec()
EQUAL = (BadEvents(0.25, 500, 1500),)


def test_harm_rolls_back_whatever_the_time() -> None:
    decision = decide(Evidence(counts={"quality": (BadEvents(0.25, 90, 100),)}), SPEC)
    assert (decision.action, decision.reason[:7]) == ("rollback", "quality")
    assert decision.harm["quality"] >= 50


def test_twenty_errors_in_a_row_roll_back_at_once() -> None:
    assert decide(Evidence(error_run=20), SPEC).action == "rollback"
    assert decide(Evidence(error_run=19), SPEC).action == "continue"


def test_promotion_needs_proof_and_the_least_time() -> None:
    counts = {"quality": EQUAL}
    early = Evidence(counts=counts, step=counts, elapsed_us=DAY_US - 1)
    late = Evidence(counts=counts, step=counts, elapsed_us=DAY_US)
    assert decide(early, SPEC).action == "continue"
    assert decide(late, SPEC).action == "promote"


def test_a_step_without_a_proof_is_held_when_its_time_is_up_and_never_promoted() -> None:
    decision = decide(Evidence(elapsed_us=SPEC.max_duration_us), SPEC)
    assert decision.action == "hold"
    assert "inconclusive" in decision.reason


def test_each_step_needs_a_proof_of_its_own() -> None:
    counts = {"quality": EQUAL}
    evidence = Evidence(counts=counts, step={}, elapsed_us=2 * DAY_US)
    assert decide(evidence, SPEC).action == "continue"


def test_a_spec_out_of_range_is_refused() -> None:
    with pytest.raises(Invalid):
        RolloutSpec(alpha_errors=0.0)
    with pytest.raises(Invalid):
        RolloutSpec(harmful_ratio=0.5)
    with pytest.raises(Invalid):
        RolloutSpec(judges=("latency",))  # and no latency that is too much


@given(st.sets(st.sampled_from(["errors", "latency", "quality"]), min_size=1), st.floats(0.001, 0.1))
def test_what_is_not_judged_leaves_its_share_of_false_rollbacks_to_the_rest(judges: set[Signal], alpha: float) -> None:
    spec = RolloutSpec(judges=tuple(judges), latency_us=1, alpha_errors=alpha)
    assert sum(spec.alpha(signal) for signal in spec.judged) == pytest.approx(alpha + 0.0275)
    assert all(spec.alpha(signal) >= getattr(spec, f"alpha_{signal}") - 1e-12 for signal in spec.judged)


def test_rules_that_held_roll_back_where_they_are_declared_bad_and_take_their_part_of_the_same_chance() -> None:
    held = Evidence(counts={"rules": (BadEvents(0.25, 90, 100),)})
    declared = RolloutSpec(bad_rules=("far",))
    assert decide(held, SPEC).action == "continue"
    assert decide(held, declared).reason.startswith("rules")
    assert sum(declared.alpha(signal) for signal in declared.judged) == pytest.approx(0.05)


def test_a_signal_that_is_not_judged_rolls_nothing_back() -> None:
    bad = Evidence(counts={"quality": (BadEvents(0.25, 90, 100),)})
    assert decide(bad, RolloutSpec(judges=("errors",))).action == "continue"


def test_trouble_at_the_model_server_rolls_back_at_once() -> None:
    decision = decide(Evidence(trouble="it could not be loaded"), SPEC)
    assert (decision.action, decision.reason) == ("rollback", "it could not be loaded")


@given(st.floats(0.05, 0.6), st.integers(0, 60), st.integers(0, 200))
def test_one_more_bad_event_on_the_canary_never_speaks_for_it(share: float, canary: int, champion: int) -> None:
    before, after = BadEvents(share, canary, champion), BadEvents(share, canary + 1, champion)
    assert harm([after]) > harm([before])
    assert no_harm([after]) < no_harm([before])
