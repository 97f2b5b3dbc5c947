"""What columns lend each other: which stand out, and as how many independent ones they count."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.data.sketch import WindowSketch, learn_grid, sketch
from mainspring.monitoring.rules.dispersion import Usual, learn
from mainspring.monitoring.rules.moderation import opinions, stands_out


def usual_of(sizes: list[float], *, days: int = 10, seed: int = 1) -> Usual:
    """What is learnt from days on which each column has moods of its own size, in standard deviations."""
    rng = np.random.default_rng(seed)
    moods = np.array(sizes) * rng.choice([-1.0, 1.0], (days, len(sizes)))
    frames = [pl.DataFrame({f"c{i:02}": rng.normal(mood, 1, 400) for i, mood in enumerate(day)}) for day in moods]
    grid = learn_grid(pl.concat(frames))
    windows = [WindowSketch(i, i + 1, sketch(frame, grid)) for i, frame in enumerate(frames)]
    return learn(windows, 400 * days)[0]


def test_one_moody_column_among_calm_ones_keeps_its_moods_and_its_doubt() -> None:
    usual = usual_of([0.3] + [0.0] * 19)
    assert 0.08 < np.sqrt(usual.day[0]) < 0.18, "0.3 sd move 12 % of the rows"
    assert np.sqrt(np.median(usual.day[1:])) < 0.03
    freedom = usual.test(5.0, np.full(20, 1000.0))[1]
    assert freedom[0] < 20 < np.median(freedom[1:]), "ten days of one column are nine degrees of freedom"


def test_the_order_of_columns_does_not_matter() -> None:
    squares = np.random.default_rng(2).exponential(size=(9, 10))
    assert opinions(squares[::-1]) == pytest.approx(opinions(squares))
    variances = squares.mean(1)
    assert np.array_equal(stands_out(variances[::-1], 1.0, 0.05), stands_out(variances, 1.0, 0.05)[::-1])


@given(st.lists(st.floats(0.1, 50), min_size=2, max_size=20), st.floats(0.01, 2), st.floats(1e-3, 1e3))
def test_the_scale_does_not_matter_to_who_stands_out_and_more_never_stands_out_less(
    variances: list[float], error: float, scale: float
) -> None:
    found = np.array(variances)
    ordered = np.sort(found)
    out = stands_out(ordered, 1.0, error)
    assert np.array_equal(out, np.sort(out))
    safe = np.abs(np.log(found) - 1.96 * np.sqrt(error)) > 1e-6
    assert np.array_equal(stands_out(found, 1.0, error)[safe], stands_out(scale * found, scale, error)[safe])


def test_who_stands_out_is_worked_by_hand() -> None:
    edge = float(np.exp(1.96 * 0.2))
    assert stands_out(np.array([edge * 0.999, edge * 1.001]), 1.0, 0.04).tolist() == [False, True]


@given(st.integers(2, 30), st.integers(3, 40), st.integers(0, 1000))
def test_columns_count_as_at_least_one_and_at_most_as_many_as_they_are(columns: int, windows: int, seed: int) -> None:
    squares = np.random.default_rng(seed).exponential(size=(columns, windows))
    scales = np.geomspace(1, 100, columns)[:, None]
    assert 1.0 <= opinions(squares) <= columns
    assert opinions(scales * squares) == pytest.approx(opinions(squares))


def test_columns_of_one_mood_count_as_one_and_those_of_their_own_as_many() -> None:
    rng = np.random.default_rng(3)
    apart = rng.normal(size=(50, 10)) ** 2
    assert opinions(np.tile(apart[:1], (50, 1))) == pytest.approx(1.0)
    assert opinions(np.repeat(apart[:5], 10, axis=0)) < 6
    assert opinions(apart) > 15
    assert opinions(apart[:1]) == opinions(np.ones((5, 10))) == 1.0


def test_columns_of_one_mood_have_tails_as_one_column_has() -> None:
    rng = np.random.default_rng(4)
    mood = 0.3 * rng.choice([-1.0, 1.0], 10)
    learnt = []
    for shared in (True, False):
        moods = np.tile(mood[:, None], 20) if shared else np.stack([rng.permutation(mood) for _ in range(20)], axis=1)
        moods = moods * rng.uniform(0.7, 1.3, (10, 1 if shared else 20))
        frames = [pl.DataFrame({f"c{i:02}": rng.normal(m, 1, 400) for i, m in enumerate(day)}) for day in moods]
        grid = learn_grid(pl.concat(frames))
        learnt.append(learn([WindowSketch(i, i + 1, sketch(f, grid)) for i, f in enumerate(frames)], 4000)[0])
    together, each = learnt
    assert np.median(together.tail) > 1.5 * np.median(each.tail)
