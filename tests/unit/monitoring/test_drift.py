"""Drift of a column; the tests named after defects are those found in other tools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.data.sketch import ColumnSketch, Grid, Profile, WindowSketch, learn_grid, learn_profile, sketch
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.causes import Days, cause
from mainspring.monitoring.rules.dispersion import Usual, lasting, learn, unknown
from mainspring.monitoring.rules.drift import (
    distance,
    kolmogorov_survival,
    p_value,
    smallest_change,
    which_columns,
)
from mainspring.monitoring.rules.judging import Finding, drift_level, judge_inputs
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.windows import InputWindow, closed_inputs

VERSION = WatchedVersion("late", 1, "flights", "binary", "datasets/flights/1")
SPEC = MonitorSpec()


def column(values: Sequence[object] | NDArray[np.float64], grid: Grid, name: str = "x") -> ColumnSketch:
    return sketch(pl.DataFrame({name: values}), grid).columns[0]


def of(values: Sequence[object] | NDArray[np.float64]) -> tuple[Grid, ColumnSketch]:
    grid = learn_grid(pl.DataFrame({"x": values}))
    return grid, column(values, grid)


def days(reference: Reference, frames: Sequence[pl.DataFrame], *, first: int = 0) -> list[InputWindow]:
    grid = reference.profile.grid
    return [InputWindow.joined([((first + i) * DAY_US, sketch(frame, grid))]) for i, frame in enumerate(frames)]


def judged(reference: pl.DataFrame, frames: Sequence[pl.DataFrame]) -> Finding:
    base = Reference.of(learn_profile(reference), reference.columns)
    return judge_inputs(VERSION, base, days(base, frames), SPEC)


def normal(rows: int, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"x": np.random.default_rng(seed).normal(shift, scale, rows)})


def test_the_distance_is_worked_by_hand() -> None:
    grid, reference = of([1.0, 2.0, 3.0, 4.0])
    assert distance(reference, column([1.0, 1.0, 2.0, 4.0], grid)).ks == pytest.approx(0.25)
    assert distance(reference, column([None, None, 3.0, 4.0], grid)).ks == pytest.approx(0.5)
    assert distance(reference, reference).ks == 0.0


def test_the_largest_change_of_a_level_is_named() -> None:
    grid, reference = of(["a"] * 50 + ["b"] * 50)
    found = distance(reference, column(["a"] * 80 + ["b"] * 10 + ["c"] * 10, grid))
    assert found.level == "b"
    assert found.change == pytest.approx(0.4)


@given(st.floats(0, 1), st.floats(1e-9, 1), st.floats(6, 1e6), st.floats(0, 1))
def test_a_p_value_is_a_share_and_falls_with_the_distance(d: float, spread: float, freedom: float, mood: float) -> None:
    here, further = p_value(np.array([d, d + 0.1]), *(np.full(2, value) for value in (spread, freedom, mood)))
    assert 0 <= further <= here <= 1


@given(st.floats(0.01, 0.5), st.floats(6, 1000))
def test_less_is_surprising_where_less_is_known(d: float, freedom: float) -> None:
    spread, sure = np.full(2, 0.001), np.array([freedom, 1e9])
    unsure, known = p_value(np.full(2, d), spread, sure, np.zeros(2))
    assert unsure >= known


def test_kolmogorov_survival_has_its_known_quantiles() -> None:
    for x, p in [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01)]:
        assert kolmogorov_survival(x) == pytest.approx(p, abs=2e-4)


def test_a_column_of_which_two_per_cent_moved_is_not_a_finding_however_many_rows_there_are() -> None:
    reference = pl.DataFrame({"x": ["a"] * 500_000 + ["b"] * 500_000})
    window = pl.DataFrame({"x": ["a"] * 519_000 + ["b"] * 481_000})
    assert judged(reference, [window] * 10).drafts == []


def usual_of(moods: NDArray[np.float64], *, rows: int = 400, gap: int = 1, columns: int = 5) -> Usual:
    """What is learnt from days of these moods, in standard deviations, the same for independent columns."""
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(columns)]
    days = [pl.DataFrame({name: rng.normal(mood, 1, rows) for name in names}) for mood in moods]
    grid = learn_grid(pl.concat(days))
    windows = [WindowSketch(i * gap, i * gap + 1, sketch(day, grid)) for i, day in enumerate(days)]
    return learn(windows, rows * len(days))[0]


def test_days_of_independent_rows_have_no_moods_and_moody_days_have() -> None:
    calm, moody = (usual_of(size * np.random.default_rng(2).normal(size=40)) for size in (0.0, 0.3))
    assert np.sqrt(calm.day).max() < 0.015
    assert 0.08 < np.sqrt(moody.day).min() <= np.sqrt(moody.day).max() < 0.18, "0.3 sd move 12 % of the rows"


def test_moods_that_follow_each_other_last() -> None:
    rng = np.random.default_rng(2)
    mood = np.zeros(64)
    for i in range(1, 64):
        mood[i] = 0.8 * mood[i - 1] + 0.2 * rng.normal()
    ordered, apart = usual_of(mood), usual_of(rng.permutation(mood))
    assert ordered.memory.min() > 0.6 > 0.4 > apart.memory.max()
    assert (ordered.moods(5.0) > 2 * apart.moods(5.0)).all()


@given(st.floats(0, 0.9), st.integers(1, 28))
def test_a_run_of_moods_varies_as_an_autoregression_does(memory: float, windows: int) -> None:
    steps = np.arange(windows)
    exact = (memory ** np.abs(steps[:, None] - steps)).sum() / windows
    assert lasting(np.array([memory]), float(windows))[0] == pytest.approx(exact)


def test_a_few_days_tell_little_and_two_tell_nothing() -> None:
    mood = 0.1 * np.random.default_rng(3).normal(size=60)
    few, many = usual_of(mood[:8], columns=1), usual_of(mood, columns=1)
    assert few.test(4.0, np.array([1000.0]))[1] < many.test(4.0, np.array([1000.0]))[1]
    assert np.array_equal(usual_of(mood[:2]).day, unknown(5).day)


def test_a_stable_column_is_silent_for_a_year_and_a_moved_one_is_found_within_days() -> None:
    reference = normal(20_000)
    calm = judged(reference, [normal(1000, seed=i) for i in range(1, 366)])
    assert calm.drafts == []
    moved = judged(reference, [normal(1000, shift=0.25, seed=i) for i in range(1, 8)])
    assert [draft.cause for draft in moved.drafts] == ["drift"]
    assert moved.drafts[0].window_end <= 3 * DAY_US


def test_a_column_that_stays_moved_raises_one_alarm_and_another_one_after_it_came_back() -> None:
    there, back = [normal(1000, shift=1.0, seed=i) for i in range(20)], [normal(1000, seed=i) for i in range(20)]
    assert len(judged(normal(20_000), [*there, *back]).drafts) == 1
    assert len(judged(normal(20_000), [*there, *back, *there]).drafts) == 2


def test_evidence_goes_on_where_it_was() -> None:
    base = Reference.of(learn_profile(normal(20_000)), ["x"])
    frames = [normal(1000, shift=0.15, seed=i) for i in range(12)]
    whole = judge_inputs(VERSION, base, days(base, frames), SPEC)
    first = judge_inputs(VERSION, base, days(base, frames[:5]), SPEC)
    second = judge_inputs(replace(VERSION, state=first.state), base, days(base, frames[5:], first=5), SPEC)
    assert second.state["columns"] == whole.state["columns"]
    assert first.drafts + second.drafts == whole.drafts


@pytest.mark.parametrize("outlier", [1e6, -1e6, 1e300, math.inf])
def test_defect_1_one_extreme_value_today_does_not_hide_a_shift(outlier: float) -> None:
    grid, reference = of(normal(10_000)["x"].to_numpy())
    shifted = normal(1000, shift=1.0, seed=1)["x"].to_numpy()
    plain, spoiled = (distance(reference, column(values, grid)).ks for values in (shifted, np.append(shifted, outlier)))
    assert plain == pytest.approx(0.38, abs=0.03)
    assert spoiled == pytest.approx(plain, abs=0.002)


@pytest.mark.parametrize("outlier", [1e6, -1e6, 1e300, math.inf])
def test_defect_2_one_extreme_value_in_the_reference_does_not_hide_a_shift(outlier: float) -> None:
    grid, reference = of(np.append(normal(10_000)["x"].to_numpy(), outlier))
    assert distance(reference, column(normal(1000, shift=1.0, seed=1)["x"].to_numpy(), grid)).ks > 0.35


def test_defect_3_missing_values_are_reported_as_missing() -> None:
    frames = [
        normal(1000, seed=i).with_columns(pl.when(pl.int_range(pl.len()) < 600).then(None).otherwise("x").alias("x"))
        for i in range(3)
    ]
    frames = [frame.with_columns(pl.col("x").cast(pl.Float64, strict=False)) for frame in frames]
    drafts = judged(normal(10_000), frames).drafts
    assert [draft.cause for draft in drafts] == ["missing"]
    assert "missing" in drafts[0].text


@pytest.mark.parametrize("levels", [2, 10, 100, 500])
def test_defect_4_a_reference_of_few_rows_is_not_taken_as_the_exact_truth(levels: int) -> None:
    rng = np.random.default_rng(levels)
    reference = pl.DataFrame({"x": rng.integers(0, levels, 500).astype(str)})
    frames = [pl.DataFrame({"x": rng.integers(0, levels, 500).astype(str)}) for _ in range(365)]
    assert judged(reference, frames).drafts == []


def test_defect_5_a_small_window_against_a_reference_of_1001_rows_is_silent() -> None:
    found = judged(normal(1001), [normal(60, seed=i) for i in range(1, 366)])
    assert found.drafts == []


def test_defect_6_the_scale_of_a_column_does_not_matter() -> None:
    for scale in (1e-4, 1e-12, 1e12):
        grid, reference = of(normal(10_000, scale=scale)["x"].to_numpy())
        moved = column(normal(1000, shift=5 * scale, scale=scale, seed=1)["x"].to_numpy(), grid)
        assert distance(reference, moved).ks > 0.95


def test_defect_7_every_day_is_counted_in_the_same_cells() -> None:
    base = Reference.of(learn_profile(normal(5000)), ["x"])
    two = days(base, [normal(500, seed=1), normal(500, shift=3, seed=2)])
    edges = [window.sketch.columns[0].cells.edges.tolist() for window in two]
    assert edges[0] == edges[1]


@pytest.mark.parametrize("values", [[4.0] * 500, [None] * 500, ["a"] * 500, [True] * 500, [float("nan")] * 500])
def test_defect_8_and_12_a_constant_or_empty_column_gives_finite_figures(values: list[object]) -> None:
    frame = pl.DataFrame({"x": values})
    found = judged(frame, [frame, frame])
    assert found.drafts == []
    detail = found.judgements[-1].details["x"]
    assert isinstance(detail, dict)
    assert all(math.isfinite(value) for value in detail.values() if isinstance(value, float))


def test_defect_9_windows_smaller_than_the_reference_windows_are_judged_by_their_own_size() -> None:
    found = judged(normal(100_000), [normal(250, seed=i) for i in range(1, 366)])
    assert found.drafts == []


def test_defect_10_a_leftover_of_two_rows_waits_for_more() -> None:
    grid = learn_grid(normal(1000))
    hours = [(0, sketch(normal(400), grid)), (DAY_US, sketch(normal(2), grid)), (2 * DAY_US, sketch(normal(300), grid))]
    two_days = closed_inputs(hours, grid, 2 * DAY_US)
    assert [window.sketch.rows for window in two_days] == [400]
    three_days = closed_inputs(hours, grid, 3 * DAY_US)
    assert [(window.start, window.end, window.sketch.rows) for window in three_days] == [
        (0, DAY_US, 400),
        (DAY_US, 3 * DAY_US, 302),
    ]


def test_defect_11_every_setting_changes_the_outcome() -> None:
    base = Reference.of(learn_profile(normal(20_000)), ["x"])
    frames = days(base, [normal(1000, shift=0.15, seed=i) for i in range(12)])
    tight, loose = (judge_inputs(VERSION, base, frames, MonitorSpec(budget=budget)) for budget in (1e-6, 1e3))
    assert loose.drafts[0].window_end < tight.drafts[0].window_end
    wide = judge_inputs(VERSION, base, frames, MonitorSpec(drift_tolerance=0.2))
    assert max(one.evidence for one in wide.judgements) < max(one.evidence for one in tight.judgements)


def test_defect_13_nan_is_missing_whatever_wrote_it() -> None:
    grid, reference = of(normal(1000)["x"].to_numpy())
    assert column([float("nan")] * 10, grid).nulls == 10
    assert distance(reference, column([float("nan")] * 10, grid)).ks == 1.0


def test_an_open_day_is_not_judged() -> None:
    grid = learn_grid(normal(1000))
    hours = [(0, sketch(normal(500), grid)), (23 * HOUR_US, sketch(normal(500), grid))]
    assert closed_inputs(hours, grid, DAY_US - 1) == []
    assert [window.sketch.rows for window in closed_inputs(hours, grid, DAY_US)] == [1000]


def test_a_time_that_moves_on_is_not_drift_but_its_absence_is() -> None:
    times = pl.DataFrame({"x": pl.Series(range(1000), dtype=pl.Int64).cast(pl.Datetime("us"))})
    grid = learn_grid(times)
    later = times.with_columns(pl.col("x") + pl.duration(days=9))
    reference = sketch(times, grid).columns[0]
    assert distance(reference, sketch(later, grid).columns[0]).ks < 1e-9
    assert distance(reference, sketch(later.clear(), grid).columns[0]).ks == 0.0
    assert distance(reference, sketch(later.with_columns(x=None), grid).columns[0]).ks == 1.0


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (lambda x: x * 1000, "unit"),
        (lambda x: x / 60, "unit"),
        (lambda x: x * 1.609344, "unit"),
        (lambda x: x + 3, "moved"),
        (lambda x: x * 0 + 7, "constant"),
        (lambda x: np.full(len(x), np.nan), "absent"),
        (lambda x: np.where(x > 10, np.nan, x), "missing"),
    ],
)
def test_the_simplest_account_of_a_change_is_given(now: object, kind: str) -> None:
    values = np.random.default_rng(4).gamma(5, 2, 5000)
    grid, reference = of(values)
    assert callable(now)
    assert cause(reference, column(now(values), grid)).kind == kind


def test_a_level_nobody_saw_before_is_named() -> None:
    grid, reference = of(["AA"] * 400 + ["UA"] * 600)
    found = cause(reference, column(["AA"] * 300 + ["UA"] * 600 + ["ZZ"] * 100, grid))
    assert found.kind == "unseen"
    assert "'ZZ'" in found.text


def test_levels_that_are_written_differently_are_told_from_new_ones() -> None:
    grid, reference = of(["AA"] * 400 + ["UA"] * 600)
    assert cause(reference, column(["aa"] * 400 + ["ua "] * 600, grid)).kind == "encoding"
    grid, reference = of([True] * 900 + [False] * 100)
    assert cause(reference, column([True] * 110 + [False] * 890, grid)).kind == "encoding"
    assert cause(reference, column([True] * 700 + [False] * 300, grid)).kind == "moved"


def test_a_window_that_looks_like_a_day_of_the_reference_is_a_season() -> None:
    rng = np.random.default_rng(8)
    frames = [pl.DataFrame({"x": rng.normal(3.0 * (day >= 25), 1, 500)}) for day in range(30)]
    base = Reference.of(_timed(frames), ["x"])
    grid, reference = base.profile.grid, base.profile.sketch.columns[0]
    days_of = [(window.start, window.sketch.columns[0]) for window in base.profile.windows]
    found = cause(reference, column(rng.normal(3.0, 1, 2000), grid), Days.of(days_of))
    assert found.kind == "season"
    assert cause(reference, column(rng.normal(7.0, 1, 2000), grid), Days.of(days_of)).kind == "moved"


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_which_columns_are_named_is_a_subset_with_an_effect(p_values: dict[str, float]) -> None:
    effects = {name: 1 - p for name, p in p_values.items()}
    named = which_columns(p_values, effects)
    assert set(named) <= {name for name in p_values if effects[name] > 0}


def test_the_smallest_change_that_can_be_seen_in_a_week_falls_with_the_rows() -> None:
    usual, level = usual_of(np.zeros(40)), drift_level(20, SPEC)
    seen = [
        smallest_change(usual, reference_rows=100_000, rows=rows, windows=7, level=level)
        for rows in (200, 1000, 10_000)
    ]
    assert seen == sorted(seen, reverse=True)
    assert 0.02 <= seen[-1] < seen[0] < 1


def test_an_odd_window_is_no_alarm_and_a_second_one_is() -> None:
    odd = [normal(1000, shift=0.4, seed=i) for i in (1, 2)]
    calm = [normal(1000, seed=i) for i in range(3, 9)]
    once = judged(normal(20_000), [*calm, odd[0], *calm])
    assert once.drafts == []
    detail = once.judgements[6].details["x"]
    assert isinstance(detail, dict)
    assert detail["waits"] is True
    assert len(judged(normal(20_000), [*calm, *odd]).drafts) == 1


def test_what_moves_most_of_the_rows_is_found_in_its_first_window() -> None:
    assert judged(normal(20_000), [normal(1000, seed=1), normal(1000, shift=1.5, seed=2)]).drafts


def test_levels_that_earned_their_cell_by_luck_are_expected_less_often_afterwards() -> None:
    names = np.random.default_rng(5).integers(0, 3000, 20_000)
    reference, later = (pl.DataFrame({"x": part.astype(str)}) for part in np.split(names, 2))
    base = Reference.of(learn_profile(reference), ["x"])
    plain = base.profile.sketch.columns[0]
    now = sketch(later, base.profile.grid).columns[0]
    assert now.other / now.rows == pytest.approx(base.shares[0][-3], abs=0.02)
    assert plain.other / plain.rows <= base.shares[0][-3]
    assert base.shares[0].sum() == pytest.approx(1.0)


def weather(days: int, *, mean: float, seed: int) -> list[pl.DataFrame]:
    """Days of which each has one temperature, nearly."""
    rng = np.random.default_rng(seed)
    return [pl.DataFrame({"x": rng.normal(mean + 6 * rng.normal(), 1, 400)}) for _ in range(days)]


def test_a_column_with_one_mood_a_day_is_found_when_the_season_changes_and_silent_before() -> None:
    base = Reference.of(_timed(weather(90, mean=0, seed=1)), ["x"])
    assert base.usual.dispersion(400.0)[0] > 50
    calm = judge_inputs(VERSION, base, days(base, weather(120, mean=0, seed=2)), SPEC)
    assert calm.drafts == []
    summer = days(base, weather(120, mean=25, seed=3), first=10)
    found = judge_inputs(VERSION, base, summer, SPEC)
    assert [draft.cause for draft in found.drafts] == ["drift"]
    assert found.drafts[0].window_start == 10 * DAY_US
    halves = judge_inputs(VERSION, base, summer[:3], SPEC)
    again = judge_inputs(replace(VERSION, state=halves.state), base, summer[3:], SPEC)
    assert halves.drafts + again.drafts == found.drafts


def _timed(frames: Sequence[pl.DataFrame]) -> Profile:
    at = [pl.Series("at", [i * DAY_US] * frame.height).cast(pl.Datetime("us")) for i, frame in enumerate(frames)]
    return learn_profile(pl.concat(frames).with_columns(pl.concat(at)), time_column="at")
