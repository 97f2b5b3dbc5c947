"""Bandits: posteriors, shares, what counts as a reward, and what other shares would have brought."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Invalid
from mainspring.serving.model import StoredFeedback
from mainspring.serving.rewarding import ANSWER_COLUMNS, Rewards, rewards_frame
from mainspring.serving.rules import offpolicy
from mainspring.serving.rules.assignment import assign
from mainspring.serving.rules.bandit import ArmState, BanditSpec, Tally, arms_of, has_moved, regret
from mainspring.serving.rules.offpolicy import Logged

SPEC = BanditSpec(absent=0.0, within_s=10)


def ones(count: int, good: int) -> Tally:
    return Tally(count, float(good), float(good))


def test_posteriors_of_zeros_and_ones_are_those_of_the_beta_distribution() -> None:
    first, second = arms_of(BanditSpec(), {1: ones(100, 30), 2: ones(50, 20)})
    assert first.mean == pytest.approx(31 / 102, abs=1e-6)
    draws = np.random.default_rng(0).beta([31, 21], [71, 31], size=(400_000, 2))
    assert [first.low, first.high] == pytest.approx(np.quantile(draws[:, 0], [0.025, 0.975]), abs=1e-3)
    assert second.best == pytest.approx((draws[:, 1] > draws[:, 0]).mean(), abs=3e-3)
    assert second.share == pytest.approx(0.05 + 0.9 * second.best)


def test_posteriors_of_numbers_are_those_of_a_normal_mean_of_unknown_variance() -> None:
    rng, spec = np.random.default_rng(1), BanditSpec(reward="number", low=-5.0, high=5.0)
    found = [spec.unit(value) for value in rng.normal(1.0, 0.5, 200)]
    tally = Tally(200, sum(found), sum(value**2 for value in found))
    arm, other = arms_of(spec, {1: tally, 2: Tally()})
    assert arm.mean == pytest.approx(10 * np.mean(found) - 5, abs=0.02)
    half = 1.97 * 10 * np.std(found) / 200**0.5
    assert (arm.high - arm.low) / 2 == pytest.approx(half, rel=0.12)
    assert other.mean == pytest.approx(0.0, abs=1e-4)
    assert other.high > 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=2,
                max_size=8), st.floats(0.001, 0.12))  # fmt: skip
def test_shares_sum_to_one_keep_the_floor_and_know_no_order(counts: list[tuple[int, int]], floor: float) -> None:
    tallies = {version: ones(*count) for version, count in enumerate(counts)}
    found = arms_of(BanditSpec(floor=floor), tallies)
    assert sum(arm.share for arm in found) == pytest.approx(1.0, abs=1e-12)
    assert all(arm.share >= floor - 1e-12 and arm.low <= arm.mean <= arm.high for arm in found)
    turned = arms_of(BanditSpec(floor=floor), dict(reversed(tallies.items())))
    assert [arm.share for arm in turned[::-1]] == pytest.approx([arm.share for arm in found], abs=1e-9)


def test_what_is_no_bandit_is_refused_with_what_would_be_one() -> None:
    for wrong in (
        {"floor": 0.0},
        {"within_s": 0},
        {"reward": "love"},
        {"absent": 2.0},
        {"high": 5.0},
        {"reward": "number", "low": 1.0},
        {"reward": "number", "high": float("nan")},
        {"error_limit": -1.0},
    ):
        with pytest.raises(Invalid):
            BanditSpec(**wrong)
    with pytest.raises(Invalid, match="a floor of 0"):
        arms_of(BanditSpec(floor=0.3), dict.fromkeys(range(5), Tally()))
    with pytest.raises(Invalid, match="beside the champion"):
        arms_of(BanditSpec(), {1: Tally()})


def simulated(rates: list[float], requests: int, batch: int) -> tuple[list[ArmState], pl.DataFrame]:
    """Requests one after the other, shares after each batch: the arms at last, and arm, propensity, reward of all."""
    rng, tallies = np.random.default_rng(7), dict.fromkeys(range(len(rates)), Tally())
    arms, log = arms_of(SPEC, tallies), []
    for start in range(0, requests, batch):
        chosen = [assign(arms, "salt", f"r{number}") for number in range(start, start + batch)]
        won = rng.random(batch) < [rates[arm.version] for arm in chosen]
        log += [(arm.version, arm.share, float(w)) for arm, w in zip(chosen, won, strict=True)]
        for version in tallies:
            mine = [bool(w) for arm, w in zip(chosen, won, strict=True) if arm.version == version]
            tallies[version] = tallies[version].plus(len(mine), sum(mine), sum(mine))
        arms = arms_of(SPEC, tallies)
    return list(arms), pl.DataFrame(log, schema=["arm", "propensity", "reward"], orient="row")


@pytest.fixture(scope="module")
def run() -> tuple[list[ArmState], pl.DataFrame]:
    return simulated([0.05, 0.08, 0.05], 20_000, 500)


def test_a_bandit_comes_to_the_better_version_and_keeps_the_floor(run: tuple[list[ArmState], pl.DataFrame]) -> None:
    arms, log = run
    assert arms[1].share > 0.85
    assert log["propensity"].min() == pytest.approx(0.05, abs=5e-3)
    assert log["reward"].mean() > 0.068, "asked evenly they bring 0.06"  # type: ignore[operator]
    lost = regret(arms)
    assert 0 < lost < 20_000 * (0.08 - 0.06), "less than asking evenly"
    assert not has_moved({arm.version: arm.share + 0.009 for arm in arms}, arms)
    assert has_moved({arm.version: arm.share for arm in arms[:2]}, arms)


def test_logged_propensities_are_how_often_a_version_was_chosen(run: tuple[list[ArmState], pl.DataFrame]) -> None:
    _, log = run
    for arm in range(3):
        weights = log.select(pl.when(pl.col("arm") == arm).then(1 / pl.col("propensity")).otherwise(0.0).alias("w"))[
            "w"
        ]
        error = float(weights.std()) / len(weights) ** 0.5  # type: ignore[arg-type]
        assert float(weights.mean()) == pytest.approx(1.0, abs=4 * error)  # type: ignore[arg-type]


def test_other_shares_are_worth_what_they_bring_by_each_method(run: tuple[list[ArmState], pl.DataFrame]) -> None:
    logged = logged_of(run[1])
    modelled = offpolicy.expected_rewards(np.zeros((20_000, 0)), logged, 3)
    for target, truth in (([0.0, 1.0, 0.0], 0.08), ([1.0, 0.0, 0.0], 0.05), ([0.2, 0.4, 0.4], 0.062)):
        asked = np.array(target)
        found = [offpolicy.ips(logged, asked), offpolicy.snips(logged, asked),
                 offpolicy.doubly_robust(logged, asked, modelled)]  # fmt: skip
        assert [entry.method for entry in found] == ["IPS", "SNIPS", "DR"]
        for entry in found:
            assert entry.low - 0.005 < truth < entry.high + 0.005
            assert entry.high - entry.low < 0.03
        assert 0 < offpolicy.effective_rows(logged, asked) <= 20_000


def logged_of(log: pl.DataFrame) -> Logged:
    arms = log["arm"].to_numpy().astype(np.int64)
    return Logged(log["reward"].to_numpy(), log["propensity"].to_numpy(), arms, np.arange(log.height))


def test_estimators_give_what_is_worked_out_by_hand() -> None:
    rewards, arms = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1])
    logged = Logged(rewards, np.array([0.5, 0.5, 0.25, 0.75]), arms, np.arange(4))
    target = np.array([0.0, 1.0])
    assert offpolicy.ips(logged, target).value == pytest.approx((4 + 4 / 3) / 4)
    assert offpolicy.snips(logged, target).value == pytest.approx(1.0)
    modelled = np.tile([0.5, 0.9], (4, 1))
    by_hand = 0.9 + (4 * 0.1 + 4 / 3 * 0.1) / 4
    assert offpolicy.doubly_robust(logged, target, modelled).value == pytest.approx(by_hand)
    alone = Logged(rewards, logged.propensities, arms, np.zeros(4, dtype=np.int64))
    assert (offpolicy.ips(alone, target).low, offpolicy.ips(alone, target).high) == (-np.inf, np.inf)
    assert offpolicy.effective_rows(logged, target) == pytest.approx((4 + 4 / 3) ** 2 / (16 + 16 / 9))
    with pytest.raises(Invalid, match="no answer has a reward"):
        Logged(np.empty(0), np.empty(0), arms[:0], arms[:0])
    with pytest.raises(Invalid, match="probability"):
        Logged(rewards, np.zeros(4), arms, np.arange(4))


def test_a_good_model_of_the_reward_narrows_the_estimate_and_the_same_key_widens_it() -> None:
    rng = np.random.default_rng(3)
    x, arms = rng.random(4_000), rng.integers(0, 2, 4_000)
    rewards = np.clip(0.1 + 0.6 * x + 0.1 * arms + rng.normal(0, 0.02, 4_000), 0, 1)
    logged = Logged(rewards, np.full(4_000, 0.5), arms, np.arange(4_000))
    target = np.array([0.0, 1.0])
    modelled = offpolicy.expected_rewards(x[:, None], logged, 2)
    plain, good = offpolicy.ips(logged, target), offpolicy.doubly_robust(logged, target, modelled)
    assert good.low < 0.5 < good.high
    assert good.high - good.low < 0.5 * (plain.high - plain.low)
    keys = np.repeat(logged.clusters, 2)
    doubled = Logged(np.repeat(rewards, 2), np.repeat(logged.propensities, 2), np.repeat(arms, 2), keys)
    wide = offpolicy.ips(doubled, target)
    assert wide.high - wide.low == pytest.approx(plain.high - plain.low, rel=1e-3), "twice the same tells nothing more"


ANSWER = st.tuples(st.integers(1, 2), st.integers(0, 30), st.sampled_from([200, 200, 422, 500]),
                   st.none() | st.tuples(st.sampled_from([0.0, 1.0, 0.5]), st.integers(0, 25)))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(ANSWER, max_size=12), st.lists(st.integers(1, 60), max_size=4), st.sampled_from([None, 0.0]))
def test_rewards_count_the_same_however_they_are_split_up_and_each_once(
    answers: list[tuple[int, int, int, tuple[float, int] | None]], cuts: list[int], absent: float | None
) -> None:
    spec = BanditSpec(absent=absent, within_s=10)
    rows = [
        answer(f"p{i}", version=v, at=at * SECOND_US, status=status) for i, (v, at, status, _) in enumerate(answers)
    ]
    told = [
        StoredFeedback(i + 1, f"p{i}", "click", said[0], 0, (answers[i][1] + said[1]) * SECOND_US)
        for i, (_, _, _, said) in enumerate(answers)
        if said is not None
    ]
    now = 100 * SECOND_US
    whole = Rewards(spec)
    whole.add(frame(rows), rewards_frame(told), now)
    expected: dict[int, list[float]] = {}
    for version, _, status, said in answers:
        good = said is not None and said[0] != 0.5 and said[1] <= 10
        value = 0.0 if status == 500 else said[0] if good and said is not None else absent
        if status != 422 and value is not None:
            expected.setdefault(version, []).append(value)
    assert whole.tallies == {version: Tally(len(v), sum(v), sum(x * x for x in v)) for version, v in expected.items()}
    parts, last = Rewards(spec), 0
    for at in [*sorted(cuts), 100]:
        moment = at * SECOND_US
        new = [row for row in rows if last <= int(str(row["at"])) < moment]
        again = new[:1]  # a request that was sent twice is in the log twice
        items = [item for item in told if last <= item.stored_at < moment]
        parts.add(frame([*new, *again]), rewards_frame(items), moment)
        last = moment
    assert parts.tallies == whole.tallies


def answer(name: str, **changes: object) -> dict[str, object]:
    usual: dict[str, object] = {"id": name, "key": name, "at": 0, "version": 1, "propensity": 0.5, "status": 200}
    return {**usual, "probability": 0.9, "prediction": None, "label_out": "1", **changes}


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    types = [pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Int64, pl.Float64, pl.Float64, pl.String]
    return pl.DataFrame(rows, schema=dict(zip(ANSWER_COLUMNS, types, strict=True)))


CORRECT: list[tuple[dict[str, object], float | str, float | None]] = [
    ({}, 1.0, 1.0),
    ({}, 0.0, 0.0),
    ({"label_out": "cat"}, "cat", 1.0),
    ({"label_out": "cat"}, "dog", 0.0),
    ({"prediction": 3.0, "probability": None}, 3.4, 1.0),
    ({"prediction": 3.0, "probability": None}, 4.0, 0.0),
]


@pytest.mark.parametrize(("said", "label", "reward"), CORRECT)
def test_an_answer_that_its_label_agrees_with_is_rewarded(
    said: dict[str, object], label: float | str, reward: float
) -> None:
    rewards = Rewards(BanditSpec(feedback="label", reward="correct", error_limit=0.5))
    rewards.add(frame([answer("a", **said)]), rewards_frame([StoredFeedback(1, "a", "label", label, 0, 5)]), 10)
    assert rewards.tallies == {1: Tally(1, reward, reward)}


def test_a_number_out_of_range_is_no_reward_and_one_within_is_scaled() -> None:
    rewards = Rewards(BanditSpec(feedback="rating", reward="number", low=1.0, high=5.0))
    said: list[float | str] = [4.0, 6.0, "good"]
    given_ = [StoredFeedback(i, f"a{i}", "rating", value, 0, 5) for i, value in enumerate(said, start=1)]
    rewards.add(frame([answer(f"a{i}") for i in (1, 2, 3)]), rewards_frame(given_), 10)
    assert rewards.tallies == {1: Tally(1, 0.75, 0.5625)}
