"""Days of the week that differ from each other, and days that have more rows than others, as rollouts make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.data.sketch import Sketch, learn_profile, sketch
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.judging import Finding, judge_inputs
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.scanning import stretch_of
from mainspring.monitoring.rules.windows import InputWindow, closed_inputs

VERSION = WatchedVersion("late", 1, "flights", "binary", "datasets/flights/1")
SPEC = MonitorSpec()
WEEK = 7


def day(number: int, rows: int, *, mood: float = 0.0) -> pl.DataFrame:
    """Rows of which one column is the day of the week and the other has the mood of the day."""
    values = np.random.default_rng(number).normal(mood, 1, rows)
    at = pl.Series("at", [number * DAY_US] * rows, dtype=pl.Int64).cast(pl.Datetime("us"))
    return pl.DataFrame({"weekday": [number % WEEK] * rows, "x": values, "at": at})


@pytest.fixture(scope="module")
def reference() -> Reference:
    moods = np.random.default_rng(7).normal(0, 0.1, 56)
    days = [day(number, 500, mood=mood) for number, mood in enumerate(moods)]
    return Reference.of(learn_profile(pl.concat(days), time_column="at"), ["weekday", "x"])


def watched(reference: Reference, rows: Sequence[int], *, gone: frozenset[int] = frozenset()) -> Finding:
    grid, first = reference.profile.grid, 56
    moods = np.random.default_rng(8).normal(0, 0.1, len(rows))
    hours = [
        ((first + n) * DAY_US, sketch(day(first + n, many, mood=moods[n]), grid))
        for n, many in enumerate(rows)
        if n not in gone
    ]
    windows = closed_inputs(hours, grid, (first + len(rows) + 1) * DAY_US)
    return judge_inputs(VERSION, reference, windows, SPEC)


@pytest.mark.parametrize(
    "rows",
    [
        [100] * 4 + [1000] * 30,
        [30, 100, 100, 500, *[1000] * 30],
        [250] * 9 + [1000] * 20,
        [20] * 40,
        [1000, 1000, 1000, 1000, 1000, 150, 150] * 5,
        [1000] * 20 + [60] * 20,
    ],
    ids=["canary", "slow canary", "large canary", "few rows a day", "quiet weekends", "a version that goes"],
)
def test_days_with_fewer_rows_than_others_are_no_drift_of_what_goes_with_the_day_of_the_week(
    reference: Reference, rows: list[int]
) -> None:
    assert watched(reference, rows).drafts == []


def test_days_without_any_rows_are_not_expected_in_a_run(reference: Reference) -> None:
    gone = frozenset(n for n in range(35) if n % WEEK in (2, 3, 4))
    assert watched(reference, [600] * 35, gone=gone).drafts == []


def test_the_day_of_the_week_that_stands_still_is_drift_whatever_the_rows_of_its_days(reference: Reference) -> None:
    grid = reference.profile.grid
    still = [(n, sketch(day(56, rows).with_columns(weekday=0), grid)) for n, rows in enumerate([100] * 3 + [1000] * 6)]
    windows = closed_inputs([((56 + n) * DAY_US, rows) for n, rows in still], grid, 80 * DAY_US)
    found = judge_inputs(VERSION, reference, windows, SPEC)
    assert [draft.cause for draft in found.drafts] == ["drift"]
    assert found.drafts[0].evidence["moved"] == ["weekday"]


def test_days_judged_in_two_turns_are_judged_as_in_one(reference: Reference) -> None:
    grid = reference.profile.grid
    days = [(n * DAY_US, sketch(day(n, 100 + 90 * (n % 9)), grid)) for n in range(56, 80)]
    windows = closed_inputs(days, grid, 90 * DAY_US)
    whole = judge_inputs(VERSION, reference, windows, SPEC)
    first = judge_inputs(VERSION, reference, windows[:11], SPEC)
    then = judge_inputs(
        WatchedVersion("late", 1, "flights", "binary", "datasets/flights/1", state=first.state),
        reference,
        windows[11:],
        SPEC,
    )
    assert first.judgements + then.judgements == whole.judgements


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_of_rows_that_follow_the_season_what_is_expected_is_what_is_found(
    reference: Reference, rows: list[int]
) -> None:
    grid = reference.profile.grid
    window = InputWindow.joined([((56 + n) * DAY_US, sketch(day(56 + n, many), grid)) for n, many in enumerate(rows)])
    assert sum(window.week) == window.sketch.rows == sum(rows)
    stretch = stretch_of(window)
    shares, known = reference.expected(stretch.week)
    at = [column.name for column in grid.columns].index("weekday")
    assert np.allclose(stretch.counts[at] / sum(rows), shares[at])
    assert 500 * 8 <= known[at] <= 500 * 56


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=28))
def test_windows_count_as_many_as_their_rows_let_them(reference: Reference, rows: list[int]) -> None:
    grid = reference.profile.grid
    parts = [stretch_of(InputWindow.joined([(0, _of_rows(reference, many))])) for many in rows]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    assert len(grid.columns) == len(whole.filled)
    assert np.allclose(whole.filled, sum(rows) ** 2 / sum(many**2 for many in rows))
    assert (whole.filled >= 1).all()
    assert (whole.filled <= len(rows) + 1e-9).all()
    assert np.allclose(whole.less(parts[-1]).week, whole.week - parts[-1].week)


def _of_rows(reference: Reference, rows: int) -> Sketch:
    return sketch(day(0, rows), reference.profile.grid)


def test_a_reference_of_uneven_days_has_as_many_as_their_rows_let_it() -> None:
    grown = pl.concat([day(number, rows) for number, rows in enumerate([200] * 27 + [3000] * 3)])
    even = pl.concat([day(number, 480) for number in range(30)])
    few, many = (Reference.of(learn_profile(rows, time_column="at"), ["x"]).usual.days[0] for rows in (grown, even))
    assert few == pytest.approx(14_400**2 / (27 * 200**2 + 3 * 3000**2))
    assert many == pytest.approx(30)
