from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.serving.rules.assignment import assign, check_shares, fraction
from mainspring.serving.rules.decision import Evidence, RolloutSpec, decide
from mainspring.serving.rules.eprocess import BadEvents, harm, no_harm


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


def _first_crossing(chance: float, share: float, limit: float, rng: random.Random, *, events: int, every: int) -> int:
    canary = 0
    for n in range(1, events + 1):
        canary += rng.random() < chance
        if n % every == 0 and harm([BadEvents(share, canary, n - canary)]) >= limit:
            return n
    return 0


def test_a_harmless_version_is_rolled_back_at_most_as_often_as_alpha_under_constant_looking() -> None:
    rng, share, alpha = random.Random(20130101), 0.1, 0.05
    false = sum(_first_crossing(share, share, log(1 / alpha), rng, events=600, every=15) > 0 for _ in range(500))
    assert false <= 500 * alpha


def test_a_version_twice_as_bad_is_caught_soon() -> None:
    rng, share = random.Random(7), 0.1
    q = 2 * share / (2 * share + 1 - share)
    found = sorted(_first_crossing(q, share, log(1 / 0.05), rng, events=1200, every=10) for _ in range(60))
    assert found[0] > 0, "every rollout of a version twice as bad ends"
    # One bad event in 100 requests at the base: n bad events are n / (0.01 * (0.9 + 0.2)) requests, a tenth on canary.
    assert found[30] / 0.011 * share <= 1_600


def test_an_equal_version_is_proved_harmless_and_a_worse_one_is_not() -> None:
    assert no_harm([BadEvents(0.25, 500, 1500)]) > log(20)
    assert no_harm([BadEvents(0.25, 590, 1410)]) < 0  # 1.25 times as bad


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
