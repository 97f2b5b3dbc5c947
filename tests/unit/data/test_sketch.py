from __future__ import annotations

import math
import zlib
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core.errors import Conflict, Corrupt
from mainspring.data.sketch import Grid, Profile, Sketch, learn_grid, learn_profile, sketch

numbers = st.one_of(st.none(), st.floats(width=32), st.integers(-5, 5).map(float))
words = st.one_of(st.none(), st.sampled_from("abcdefgh"), st.text(max_size=3))
tables = st.lists(st.tuples(numbers, words, st.one_of(st.none(), st.booleans())), max_size=40).map(
    lambda rows: pl.DataFrame(rows, schema={"x": pl.Float64, "c": pl.String, "b": pl.Boolean}, orient="row")
)


def same(left: Sketch, right: Sketch) -> None:
    assert left.rows == right.rows
    for a, b in zip(left.columns, right.columns, strict=True):
        assert a.counts.tolist() == b.counts.tolist()
        assert (a.nulls, a.invalid, a.least, a.most, a.unseen) == (b.nulls, b.invalid, b.least, b.most, b.unseen)
        np.testing.assert_allclose(
            a.sums, b.sums, rtol=1e-6, atol=1e-6 * max(1.0, float(np.abs(a.sums).max(initial=0)))
        )
        assert a.squares == pytest.approx(b.squares, rel=1e-6)


@given(tables, tables, tables)
@settings(max_examples=60, deadline=None)
def test_merging_is_adding_in_any_order_and_grouping(one: pl.DataFrame, two: pl.DataFrame, three: pl.DataFrame) -> None:
    grid = learn_grid(one)
    a, b, c = (sketch(frame, grid) for frame in (one, two, three))
    same(a.merge(b), b.merge(a))
    same(a.merge(b).merge(c), a.merge(b.merge(c)))
    same(a.merge(b).merge(c), sketch(pl.concat([one, two, three]), grid))
    same(a.merge(Sketch.empty(grid)), a)


@given(tables)
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_does_not_matter(table: pl.DataFrame) -> None:
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=7)
    assert learn_grid(table).digest == learn_grid(shuffled).digest
    same(sketch(table, learn_grid(table)), sketch(shuffled, learn_grid(table)))


@given(tables, tables)
@settings(max_examples=60, deadline=None)
def test_grids_sketches_and_profiles_come_back_from_their_bytes(reference: pl.DataFrame, table: pl.DataFrame) -> None:
    profile = learn_profile(reference)
    grid = Grid.from_bytes(profile.grid.to_bytes())
    assert grid.digest == profile.grid.digest
    counted = sketch(table, grid)
    same(Sketch.from_bytes(counted.to_bytes(), grid), counted)
    again = Profile.from_bytes(profile.to_bytes())
    same(again.sketch, profile.sketch)
    assert again.to_bytes() == Profile.from_bytes(again.to_bytes()).to_bytes()


def ks_on_the_grid(left: Sketch, right: Sketch) -> float:
    shares = [np.cumsum(s.columns[0].counts) / s.columns[0].present for s in (left, right)]
    return float(np.abs(shares[0] - shares[1]).max())


def ks_exact(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    at = np.sort(np.concatenate([left, right]))
    shares = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (left, right)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.1, 0.2, -0.5, 1.0, 50.0])
@pytest.mark.parametrize("shape", ["normal", "heavy", "atoms", "of 300 numbers", "of 1,000 numbers"])
def test_the_kolmogorov_distance_on_the_grid_is_within_4e_4_of_the_exact_one(shape: str, shift: float) -> None:
    rng = np.random.default_rng(3)
    draws = [rng.normal(size=100_000) for _ in range(2)]
    if shape == "heavy":
        draws = [rng.standard_t(2, 100_000) for _ in range(2)]
    if shape == "atoms":
        draws = [np.where(rng.random(100_000) < 0.4, 0.0, draw) for draw in draws]
    if "numbers" in shape:  # moved by less than 1, no value is left where it was: the steps of both lie in between
        draws = [rng.integers(0, 300 if "300" in shape else 1000, 100_000).astype(np.float64) for _ in range(2)]
    reference, current = draws[0], draws[1] + shift
    grid = learn_grid(pl.DataFrame({"x": reference}))
    counted = [sketch(pl.DataFrame({"x": values}), grid) for values in (reference, current)]
    assert abs(ks_on_the_grid(*counted) - ks_exact(reference, current)) <= 4e-4


def test_a_column_of_numbers_takes_about_1300_bytes() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=20_000)})
    size = len(sketch(frame, learn_grid(frame)).to_bytes())
    assert 900 <= size <= 1800
    assert len(sketch(frame.head(40), learn_grid(frame)).to_bytes()) < 400


def test_nan_counts_as_null_and_infinities_stay_out_of_the_sums() -> None:
    grid = learn_grid(pl.DataFrame({"x": [1.0, 2.0, 3.0]}))
    column = sketch(pl.DataFrame({"x": [2.0, float("nan"), None, math.inf, -math.inf]}), grid).columns[0]
    assert (column.nulls, column.present, column.counts[0], column.counts[-1]) == (2, 3, 1, 1)
    assert (column.least, column.most, float(column.sums.sum())) == (2.0, 2.0, 2.0)


def test_an_atom_is_a_cell_of_its_own() -> None:
    values = np.concatenate([np.zeros(500), np.random.default_rng(1).normal(size=500)])
    grid = learn_grid(pl.DataFrame({"x": values}))
    column = sketch(pl.DataFrame({"x": [0.0, 0.0, 5e-324, -5e-324]}), grid).columns[0]
    assert sorted(column.counts[column.counts > 0].tolist()) == [1, 1, 2]


def test_values_beyond_the_reference_have_cells_of_their_own() -> None:
    grid = learn_grid(pl.DataFrame({"x": np.arange(1000.0)}))
    column = sketch(pl.DataFrame({"x": [-1.0, 0.0, 999.0, 1000.0]}), grid).columns[0]
    assert column.counts[0] == 1
    assert column.counts[-1] == 1


@pytest.mark.parametrize(
    "values", [[None, None], [], [4.0] * 9, [1.5], [float("nan")] * 3, [math.inf] * 3, [1e308, -1e308, 1e308]]
)
def test_odd_references_give_a_grid_and_finite_answers(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    column = learn_profile(frame).sketch.columns[0]
    assert column.rows == len(values)
    for answer in (column.mean, column.deviation, column.quantile(0.5)):
        assert answer is None or math.isfinite(answer)


def test_columns_the_table_lacks_are_null_and_columns_the_grid_lacks_are_left_out() -> None:
    grid = learn_grid(pl.DataFrame({"x": [1.0], "y": ["a"]}))
    counted = sketch(pl.DataFrame({"y": ["a", "b"], "z": [1, 2]}), grid)
    assert [column.nulls for column in counted.columns] == [2, 0]
    assert counted.columns[1].unseen == {"b": 1}


def test_text_in_a_column_of_numbers_is_read_or_counted_as_invalid() -> None:
    grid = learn_grid(pl.DataFrame({"x": [1.0, 2.0]}))
    column = sketch(pl.DataFrame({"x": ["1.0", "two", None]}), grid).columns[0]
    assert (column.present, column.invalid, column.nulls) == (1, 1, 1)
    assert sketch(pl.DataFrame({"x": [[1.0], [2.0]]}), grid).columns[0].invalid == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, None], "boolean"),
        ([date(2013, 1, 1)], "timestamp"),
        ([datetime(2013, 1, 1)], "timestamp"),
        ([timedelta(hours=1)], "numeric"),
        ([1], "numeric"),
        (["a"], "categorical"),
        ([[1]], "opaque"),
        ([{"a": 1}], "opaque"),
        ([b"x"], "opaque"),
        ([None], "numeric"),
    ],
)
def test_every_type_has_a_kind_and_can_be_counted(values: list[object], kind: str) -> None:
    frame = pl.DataFrame({"x": values})
    profile = learn_profile(frame)
    assert profile.grid.columns[0].kind == kind
    assert profile.sketch.columns[0].invalid == 0


def test_few_levels_all_get_cells_and_identifiers_get_none() -> None:
    rng = np.random.default_rng(5)
    carriers = pl.DataFrame({"c": rng.choice(list("ABCDEFGHIJKLMNOP"), 5000)})
    assert learn_grid(carriers).columns[0].levels == tuple("ABCDEFGHIJKLMNOP")
    tickets = pl.DataFrame({"c": [f"t{i}" for i in range(5000)]})
    assert learn_grid(tickets).columns[0].levels == ()


@pytest.mark.parametrize(("levels", "rows"), [(2, 500), (100, 500), (500, 1000), (3000, 75_000), (500, 100_000)])
def test_choosing_levels_by_their_counts_does_not_make_fresh_rows_look_different(levels: int, rows: int) -> None:
    rng = np.random.default_rng(11)

    def draw(size: int) -> pl.DataFrame:
        return pl.DataFrame({"c": rng.integers(0, levels, size).astype(str)})

    reference = draw(rows)
    grid = learn_grid(reference)
    before, now = (sketch(frame, grid).columns[0] for frame in (reference, draw(200_000)))
    assert abs(before.other / before.rows - now.other / now.rows) < 0.02


def test_sketches_on_different_grids_do_not_merge() -> None:
    one, two = (learn_grid(pl.DataFrame({"x": [value]})) for value in (1.0, 2.0))
    with pytest.raises(Conflict, match="different cells"):
        Sketch.empty(one).merge(Sketch.empty(two))
    with pytest.raises(Corrupt, match="another grid"):
        Sketch.from_bytes(Sketch.empty(one).to_bytes(), two)


def test_a_profile_with_a_time_column_has_a_window_for_each_day() -> None:
    days = [datetime(2013, 1, 1) + timedelta(minutes=5 * i) for i in range(288 * 10)]
    profile = learn_profile(pl.DataFrame({"at": days, "x": range(len(days))}), time_column="at")
    assert [window.sketch.rows for window in profile.windows] == [288] * 10
    assert profile.windows[0].end == profile.windows[1].start
    assert Sketch.total(profile.grid, (w.sketch for w in profile.windows)).rows == len(days)


def test_days_of_few_rows_are_joined_until_they_have_200() -> None:
    days = [datetime(2013, 1, 1) + timedelta(hours=i) for i in range(24 * 50)]
    profile = learn_profile(pl.DataFrame({"at": days}), time_column="at")
    assert {window.sketch.rows for window in profile.windows} == {216}


def test_without_a_time_column_rows_are_grouped_in_their_order() -> None:
    profile = learn_profile(pl.DataFrame({"x": range(10_000)}))
    assert len(profile.windows) == 20
    assert learn_profile(pl.DataFrame({"x": range(300)})).windows == ()


def test_a_column_may_have_any_name() -> None:
    frame = pl.DataFrame({"count": ["a", "b"], "level": ["a", None], "": [1, 2]})
    assert [column.rows for column in learn_profile(frame).sketch.columns] == [2, 2, 2]


@given(
    st.integers(0, 3), st.lists(st.text(max_size=3), min_size=1, max_size=300, unique=True), st.integers(0, 2**32 - 1)
)
def test_of_many_levels_those_of_the_least_hashes_are_kept(repeats: int, levels: list[str], seed: int) -> None:
    """By the definition: sorted by hash and name, the first 32."""
    rows = np.random.default_rng(seed).permutation(levels + levels[:repeats]).tolist()
    counted = sketch(
        pl.DataFrame({"c": pl.Series(rows, dtype=pl.String)}), learn_grid(pl.DataFrame({"c": ["no level"]}))
    )
    unknown = [level for level in rows if level != "no level"]
    kept = sorted(set(unknown), key=lambda level: (zlib.crc32(level.encode()), level))[:32]
    assert counted.columns[0].unseen == {level: unknown.count(level) for level in kept}
