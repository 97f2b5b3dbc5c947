"""How rows are dealt to folds and to what is sealed."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.data.splits import HISTORY, TEST, SplitSpec
from mainspring.data.splits.rules import assign

ROWS = pl.DataFrame(
    {
        "late": [0] * 80 + [1] * 40,
        "customer": [number // 3 for number in range(120)],
        "day": [date(2024, 1, 1) + timedelta(days=number // 2) for number in range(120)],
    }
)


@given(st.integers(20, 300), st.integers(2, 6), st.sampled_from([0.0, 0.1, 0.25]), st.integers(0, 5))
def test_every_row_is_in_one_part_and_folds_are_of_nearly_one_size(
    rows: int, folds: int, test: float, seed: int
) -> None:
    spec = SplitSpec("random", folds, test, seed=seed)
    frame = pl.DataFrame({"x": range(rows)})
    if rows < 3 * (folds + (test > 0)):
        return
    found = assign(frame, spec)
    counts = [int((found == fold).sum()) for fold in range(folds + 1)]
    assert sum(counts) == rows
    assert max(counts[1:]) - min(counts[1:]) <= 1
    assert abs(counts[TEST] - test * rows) <= 1
    assert np.array_equal(found, assign(frame, spec))


def test_a_stratified_split_has_the_classes_in_the_same_shares_everywhere() -> None:
    found = assign(ROWS, SplitSpec("stratified", 4, 0.2, "late"))
    late = ROWS["late"].to_numpy()
    for part in range(5):
        assert late[found == part].mean() == pytest.approx(1 / 3, abs=0.03)


def test_groups_stay_together_and_parts_are_of_like_size() -> None:
    found = assign(ROWS, SplitSpec("group", 4, 0.2, "customer"))
    parts = ROWS.with_columns(pl.Series("part", found)).group_by("customer").agg(pl.col("part").n_unique())
    assert parts["part"].max() == 1
    assert [int((found == part).sum()) for part in range(5)] == [24] * 5


def test_few_groups_still_leave_no_part_empty() -> None:
    frame = pl.DataFrame({"g": ["a"] * 96 + ["b", "c", "d", "e"] * 6})
    found = assign(frame, SplitSpec("group", 4, 0.2, "g"))
    assert {int(part) for part in found} == {TEST, 1, 2, 3, 4}


def test_a_fold_in_time_is_later_than_all_it_learns_from_and_days_stay_whole() -> None:
    found = assign(ROWS, SplitSpec("time", 4, 0.2, "day"))
    days = ROWS["day"].to_numpy()
    order = [HISTORY, 1, 2, 3, 4, TEST]
    for before, after in pairwise(order):
        assert days[found == before].max() < days[found == after].min()


@pytest.mark.parametrize(
    ("spec", "frame", "says"),
    [
        (SplitSpec(), ROWS.head(3), "3 rows are too few"),
        (SplitSpec("group", column="custmer"), ROWS, "no column 'custmer'"),
        (SplitSpec("group", column="one"), ROWS.with_columns(one=pl.lit("a")), "has 1 group, 6 parts"),
        (SplitSpec("time", column="day"), ROWS.with_columns(day=pl.lit(None, pl.Date)), "120 rows have no day"),
        (SplitSpec("time", column="day"), ROWS.with_columns(day=pl.lit("x")), "tells no time"),
        (SplitSpec("time", column="late"), ROWS, "2 moments"),
    ],
)
def test_what_cannot_be_split_is_refused(spec: SplitSpec, frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        assign(frame, spec)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"kind": "randon"}, "no way to split"),
        ({"folds": 1}, "1 folds"),
        ({"test": 0.95}, "sealed share"),
        ({"kind": "time"}, "goes by a column"),
        ({"seed": 2**40}, "a seed"),
    ],
)
def test_a_wrong_wish_is_refused(wish: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        SplitSpec(**wish)  # type: ignore[arg-type]
