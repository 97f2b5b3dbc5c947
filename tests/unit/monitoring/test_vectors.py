"""Whole vectors of a window beside those of the reference."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.data.sketch import learn_profile, sketch
from mainspring.data.sketch.derivation import VectorColumn
from mainspring.monitoring.comparisons import VectorFigures
from mainspring.monitoring.rules.statistics import compare
from mainspring.monitoring.rules.vectors import compare_vectors, rows_drawn

Rows = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def vector(width: int) -> VectorColumn:
    return VectorColumn("embedding", np.zeros(width), np.empty((0, width)), np.empty((0, width)))


def tied(rows: int, width: int, *, seed: int, by: float = 0.6) -> Rows:
    """Standard normal places, each second one tied to the one before it: `by` is no property of any place alone."""
    found = np.random.default_rng(seed).normal(size=(rows, width))
    found[:, 1::2] = by * found[:, 0::2] + np.sqrt(1 - by * by) * found[:, 1::2]
    return found


def framed(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame({"embedding": pl.Series(rows.tolist(), dtype=pl.List(pl.Float64))})


def compared(before: Rows, now: Rows, *, seed: int = 0) -> VectorFigures:
    return compare_vectors(vector(before.shape[1]), framed(before), framed(now), seed=seed)


def test_places_that_no_longer_go_together_are_seen_although_each_place_is_as_it_was() -> None:
    before, now = tied(1200, 32, seed=1), tied(400, 32, seed=2, by=-0.6)
    places = [f"p{at}" for at in range(32)]
    profile = learn_profile(pl.DataFrame(before, schema=places))
    seen = sketch(pl.DataFrame(now, schema=places), profile.grid)
    alone = [compare("ks", *pair).p for pair in zip(profile.sketch.columns, seen.columns, strict=True)]
    assert min(p for p in alone if p is not None) > 0.05 / 32, "no place has moved"
    found = compared(before, now)
    assert found.classifier.low is not None
    assert found.classifier.low > 0.8
    assert found.energy.value is not None
    assert found.energy_usual is not None
    assert found.energy.value > 1.5 * found.energy_usual
    assert found.energy_p == pytest.approx(1 / 401)


def test_rows_of_the_same_kind_are_told_apart_as_seldom_as_chance_says() -> None:
    """Of 100 pairs of samples at most 13 pass 5 % for a test that holds, in 999 of 1,000 cases."""
    found = [compared(tied(240, 8, seed=2 * i), tied(120, 8, seed=2 * i + 1), seed=i) for i in range(100)]
    assert sum((one.energy_p or 0) < 0.05 for one in found) <= 13
    assert sum((one.classifier_p or 0) < 0.05 for one in found) <= 13
    assert sum(one.classifier.holds(0.5) for one in found) >= 87


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (tied(20, 8, seed=2), "20 vectors in the window, 50 are needed"),
        (np.full((300, 8), np.nan), "none of 300 rows has a whole vector of 8 places"),
        (tied(300, 6, seed=2), "none of 300 rows has a whole vector of 8 places"),
    ],
    ids=["too few", "all null", "of another width"],
)
def test_a_window_that_cannot_be_compared_says_why(now: Rows, why: str) -> None:
    found = compared(tied(300, 8, seed=1), now)
    assert found.energy.why == found.classifier.why == f"not estimable: {why}"
    assert (found.energy_usual, found.energy_p, found.classifier_p) == (None, None, None)


def test_a_reference_that_tells_nothing_says_why() -> None:
    same, few = compared(np.ones((300, 8)), tied(300, 8, seed=2)), compared(tied(90, 8, seed=1), tied(300, 8, seed=2))
    assert same.energy.why == "not estimable: no place of the vector varies in the reference"
    assert few.energy.why == "not estimable: 45 vectors in one half of the reference, 50 are needed"


def test_a_row_without_a_whole_vector_is_counted_and_left_out() -> None:
    now = tied(300, 8, seed=2)
    now[:40, 3] = np.nan
    found = compared(tied(400, 8, seed=1), now)
    assert (found.rows, found.missing, found.reference_rows) == (260, 40, 200)
    assert found.energy.value is not None


def test_a_constant_window_and_one_far_off_are_told_apart_wholly() -> None:
    for now in (np.zeros((200, 8)), tied(200, 8, seed=2) * 1e9):
        found = compared(tied(400, 8, seed=1), now)
        assert found.classifier.value is not None
        assert found.classifier.value > 0.95
        assert found.energy_p == pytest.approx(1 / 401)


@settings(deadline=None, max_examples=60)
@given(width=st.integers(1, 20_000))
def test_what_is_looked_at_is_bounded(width: int) -> None:
    rows = rows_drawn(width)
    assert 100 <= rows <= 2000
    assert rows * width <= 4_000_000 or rows == 100


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(100, 260),
    now=st.integers(0, 160),
    width=st.integers(1, 9),
    gone=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_figures_are_what_they_can_be(rows: int, now: int, width: int, gone: float, seed: int) -> None:
    before, after = tied(rows, 2 * width, seed=seed), tied(now, 2 * width, seed=seed + 1)
    after[np.random.default_rng(seed).random(now) < gone] = np.nan
    found = compared(before, after, seed=seed)
    assert found.rows + found.missing == now
    assert found.reference_rows == rows // 2
    assert (found.energy.value is None) == bool(found.energy.why) == (found.energy_p is None)
    if found.energy.value is None:
        return
    assert found.energy.value >= 0
    assert 0 < (found.energy_p or 0) <= 1
    low, value, high = found.classifier.low, found.classifier.value, found.classifier.high
    assert low is not None and value is not None and high is not None
    assert 0 <= low <= value <= high <= 1


@settings(deadline=None, max_examples=25)
@given(
    factors=st.lists(st.sampled_from([0.25, 0.5, 2.0, 8.0]), min_size=8, max_size=8),
    seed=st.integers(0, 1000),
    by=st.sampled_from([0.6, -0.6]),
)
def test_units_of_the_places_and_their_order_do_not_matter(factors: list[float], seed: int, by: float) -> None:
    """Powers of two scale without rounding; the order matters to the last digits of the directions."""
    before, now = tied(240, 8, seed=seed), tied(160, 8, seed=seed + 1, by=by)
    plain = compared(before, now, seed=seed)
    scaled = compared(before * factors, now * factors, seed=seed)
    order = np.random.default_rng(seed).permutation(8)
    turned = compared(before[:, order], now[:, order], seed=seed)
    assert scaled.classifier == plain.classifier
    for other in (scaled, turned):
        assert other.energy.value == pytest.approx(plain.energy.value, rel=1e-6)
        assert other.energy_usual == pytest.approx(plain.energy_usual, rel=1e-6)


def test_the_same_seed_gives_the_same_figures_and_more_rows_are_sampled() -> None:
    before, now = tied(9000, 4, seed=1), tied(5000, 4, seed=2)
    found = compared(before, now, seed=5)
    assert found == compared(before, now, seed=5)
    assert (found.rows, found.reference_rows) == (2000, 2000)
