"""One contract for every method that compares two columns, and how near each is to the same figure on the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mainspring.core.errors import NotFound
from mainspring.data.sketch import ColumnSketch, Grid, learn_grid, sketch
from mainspring.monitoring.rules.statistics import Estimate, compare, method, names
from mainspring.monitoring.rules.statistics.estimates import wilson

Values = Sequence[object] | NDArray[Any]
rows_of_numbers = st.lists(st.one_of(st.none(), st.floats(width=32), st.integers(-4, 4).map(float)), max_size=30)
rows_of_words = st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), max_size=30)
rows_of_truth = st.lists(st.one_of(st.none(), st.booleans()), max_size=30)
samples = st.one_of(
    *(
        st.tuples(rows, rows, rows, st.just(dtype))
        for rows, dtype in ((rows_of_numbers, pl.Float64), (rows_of_words, pl.String), (rows_of_truth, pl.Boolean))
    )
)


def counted(values: Values, grid: Grid, dtype: type[pl.DataType] | None = None) -> ColumnSketch:
    return sketch(pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)}), grid).columns[0]


def pair(reference: Values, current: Values) -> tuple[ColumnSketch, ColumnSketch]:
    grid = learn_grid(pl.DataFrame({"x": reference}))
    return counted(reference, grid), counted(current, grid)


def value(name: str, reference: Values, current: Values) -> float:
    found = compare(name, *pair(reference, current)).value
    assert found is not None
    return found


def is_sound(found: Estimate) -> bool:
    """A number with what it is worth, or the reason why there is none, and nothing that is not a number."""
    if found.value is None:
        return bool(found.reason) and found.text.startswith("not estimable: ") and found.low is found.p is None
    worth = [part for part in (found.low, found.high, found.p) if part is not None]
    inside = found.low is None or found.high is None or found.low <= found.value <= found.high
    return bool(worth) and all(map(math.isfinite, [found.value, *worth])) and inside and 0 <= (found.p or 0) <= 1


@pytest.mark.parametrize("name", names())
@settings(max_examples=8, deadline=None)
@given(samples)
def test_every_method_keeps_the_contract(
    name: str, drawn: tuple[list[object], list[object], list[object], type[pl.DataType]]
) -> None:
    one, two, three, dtype = drawn
    grid = learn_grid(pl.DataFrame({"x": pl.Series(one, dtype=dtype)}))
    a, b, c = (counted(rows, grid, dtype) for rows in (one, two, three))
    found = compare(name, a, b)
    assert is_sound(found)
    assert compare(name, a, a).value in (0.0, None)
    merged, other_way = compare(name, a, b.merge(c)), compare(name, a, c.merge(b))
    assert is_sound(merged)
    assert merged.value == (None if other_way.value is None else pytest.approx(other_way.value, rel=1e-9, abs=1e-9))
    if method(name).SYMMETRIC:
        back = compare(name, b, a)
        assert found.value == (None if back.value is None else pytest.approx(back.value, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(
    ("reference", "current"),
    [
        ([None] * 9, [1.0] * 9),
        ([1.0] * 9, [None] * 9),
        ([4.0] * 9, [4.0] * 9),
        ([4.0] * 9, [5.0] * 9),
        ([1.0], [2.0]),
        ([1.0, 2.0], []),
        ([math.inf] * 3, [1.0, -math.inf, 2.0]),
        ([1e308, -1e308, 1e308], [1e308] * 3),
        (["a"] * 5, ["b"] * 5),
        ([[1, 2], [3]], [[1], None]),
        ([None, "a"], [None, None]),
    ],
)
def test_odd_columns_give_a_state_and_never_a_number_that_is_none(
    name: str, reference: list[object], current: list[object]
) -> None:
    grid = learn_grid(pl.DataFrame({"x": reference}))
    dtype = None if any(row is not None for row in current) else pl.Null
    found = compare(
        name, counted(reference, grid), sketch(pl.DataFrame({"x": pl.Series(current, dtype=dtype)}), grid).columns[0]
    )
    assert is_sound(found)


@pytest.mark.parametrize("name", names())
def test_p_values_of_unchanged_samples_are_small_no_more_often_than_they_say(name: str) -> None:
    rng = np.random.default_rng(5)
    words = "numeric" not in method(name).KINDS or name in ("chi2", "l_infinity", "shift")

    def draw(rows: int) -> NDArray[Any]:
        return rng.integers(0, 12, rows).astype(str) if words else rng.gamma(2.0, 3.0, rows)

    reference = draw(2000)
    grid = learn_grid(pl.DataFrame({"x": reference}))
    found = [compare(name, counted(draw(2000), grid), counted(draw(700), grid)) for _ in range(100)]
    small = sum(one.p is not None and one.p < 0.05 for one in found)
    assert small <= 13  # binomial(100, 0.05) is above 13 four times in 10,000
    holds = sum(one.low is not None and one.low <= 0.0 for one in found)
    assert name == "range" or holds >= 85


@pytest.mark.parametrize("name", names())
def test_a_change_that_is_plain_to_see_is_seen(name: str) -> None:
    rng = np.random.default_rng(6)
    if "numeric" in method(name).KINDS:
        before = rng.normal(size=4000)
        now = np.where(rng.random(1500) < 0.3, np.nan, rng.normal(1.0, 1.6, 1500))
        found = compare(name, *pair(before, now))
    else:
        found = compare(name, *pair(rng.choice(list("ab"), 4000), rng.choice(list("abz"), 1500)))
    assert found.p is not None
    assert found.p < 1e-4
    assert found.low is not None
    assert abs(found.value or 0.0) > method(name).FLOOR


def drawn(shape: str, shift: float, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    if shape == "normal":
        return rng.normal(size=40_000) + shift
    if shape == "heavy":
        return rng.standard_t(3, 40_000) * (1 + shift)
    return np.where(rng.random(40_000) < 0.4, 0.0, rng.lognormal(size=40_000) + shift)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.3, 2.0])
@pytest.mark.parametrize("shape", ["normal", "heavy", "atoms"])
def test_kolmogorov_and_wasserstein_are_within_1e_3_of_those_of_the_rows(shape: str, shift: float) -> None:
    reference, current = drawn(shape, 0.0, 1), drawn(shape, shift, 2)
    two = pair(reference, current)
    ks, moved = compare("ks", *two).value, compare("wasserstein", *two).value
    assert ks == pytest.approx(stats.ks_2samp(reference, current, method="asymp").statistic, abs=1e-3)
    assert moved == pytest.approx(stats.wasserstein_distance(reference, current) / reference.std(), abs=1e-3)


@pytest.mark.parametrize("levels", [2, 30, 1000])
def test_levels_are_compared_exactly_up_to_a_thousand_of_them(levels: int) -> None:
    rng = np.random.default_rng(levels)
    before, now = (rng.integers(0, levels, rows) for rows in (40_000, 15_000))
    counts = [np.bincount(side, minlength=levels) for side in (before, now)]
    p, q = (count / count.sum() for count in counts)
    two = pair(before.astype(str), now.astype(str))
    assert compare("jensen_shannon", *two).value == pytest.approx(jensenshannon(p, q, base=2), abs=1e-12)
    assert compare("total_variation", *two).value == pytest.approx(np.abs(p - q).sum() / 2, abs=1e-12)
    assert compare("l_infinity", *two).value == pytest.approx(np.abs(p - q).max(), abs=1e-12)
    hellinger = math.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2)
    assert compare("hellinger", *two).value == pytest.approx(hellinger, abs=1e-12)
    exact = stats.chi2_contingency(np.stack(counts), correction=False)
    chi2 = compare("chi2", *two)
    assert chi2.value == pytest.approx(exact.statistic, rel=1e-9)
    assert chi2.p == pytest.approx(exact.pvalue, rel=1e-6)


def test_the_figures_are_those_worked_by_hand() -> None:
    assert value("psi", ["a"] * 50 + ["b"] * 50, ["a"] * 60 + ["b"] * 40) == pytest.approx(0.0405, abs=5e-5)
    assert value("missing_rate", [1.0] * 10, [1.0] * 4 + [None] * 6) == pytest.approx(0.6)
    assert value("unseen_levels", ["a", "b"] * 50, ["a"] * 30 + ["z"] * 10) == pytest.approx(0.25)
    assert value("range", [float(i) for i in range(100)], [-1.0, 0.0, 99.0, 100.0]) == pytest.approx(0.5)
    assert value("mean", [0.0, 2.0], [1.0, 3.0]) == pytest.approx(1.0)
    assert value("deviation", [0.0, 2.0], [0.0, 4.0]) == pytest.approx(math.log(2))
    assert value("wasserstein", [0.0, 2.0], [1.0, 3.0]) == pytest.approx(1.0)


def test_rare_levels_are_pooled_before_they_are_tested() -> None:
    rng = np.random.default_rng(1)
    levels = np.array([f"l{i}" for i in range(200)])
    shares = 1 / np.arange(1, 201)
    draws = [rng.choice(levels, 500, p=shares / shares.sum()) for _ in range(2)]
    assert (compare("chi2", *pair(*draws)).p or 0.0) > 0.001


def test_a_new_level_of_three_rows_is_not_proof_and_one_of_thirty_is() -> None:
    before = ["a", "b"] * 2500
    three, thirty = (compare("shift", *pair(before, ["a", "b"] * 235 + ["z"] * rows)).p for rows in (3, 30))
    assert three is not None
    assert thirty is not None
    assert thirty < 1e-9
    assert 1e-4 < three < 0.05


def test_levels_that_were_chosen_because_they_were_frequent_are_not_expected_to_stay_so() -> None:
    rng = np.random.default_rng(100)
    draws = [[rng.integers(0, 100, 500).astype(str) for _ in range(2)] for _ in range(60)]
    for name in ("shift", "chi2", "l_infinity", "unseen_levels"):
        assert sum((compare(name, *pair(*two)).p or 0.0) < 0.01 for two in draws) <= 3


def test_samples_in_other_cells_are_not_compared() -> None:
    left, _ = pair([1.0, 2.0], [1.0])
    right, _ = pair([1.0, 3.0], [1.0])
    assert compare("ks", left, right).text == "not estimable: the two were counted in different cells"


def test_a_method_nobody_wrote_is_refused_with_the_near_name() -> None:
    with pytest.raises(NotFound, match='did you mean "psi"'):
        method("psj")


def test_the_score_interval_is_wilsons() -> None:
    assert wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson(0, 20)[0] == 0.0
