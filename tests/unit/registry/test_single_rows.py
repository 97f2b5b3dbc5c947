"""LightGBM asked for very few rows, as its C functions for one row answer them."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mainspring.registry.flavours import Scorer, Trait
from mainspring.registry.flavours import lightgbm as flavour

OBJECTIVES = {"regression": 0, "binary": 2, "multiclass": 3}


@cache
def fitted(objective: str) -> tuple[lightgbm.Booster, Scorer]:
    """A booster whose last rounds are cut off, with missing values and a category."""
    rng = np.random.default_rng(1)
    x = np.where(rng.random((200, 4)) < 0.1, np.nan, rng.normal(size=(200, 4)))
    x[:, 3] = rng.integers(0, 6, 200)
    classes = OBJECTIVES[objective]
    y = rng.integers(0, classes, 200) if classes else np.nan_to_num(x[:, 0]) + x[:, 3]
    about = {"objective": objective, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "num_leaves": 8}
    about |= {"num_class": classes} if classes > 2 else {}
    booster = lightgbm.train(about, lightgbm.Dataset(x, y, categorical_feature=[3]), 12)
    booster.best_iteration = 7
    names = tuple(range(classes))
    return booster, flavour.scorer(booster, Trait(objective, names))


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_very_few_rows_have_the_same_bits_as_in_a_call_of_their_own(objective: str, data: st.DataObject) -> None:
    booster, scorer = fitted(objective)
    values = st.floats(width=64) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, 3.0])
    rows = data.draw(arrays(np.float64, (data.draw(st.integers(1, 6)), 4), elements=values))
    expected = booster.predict(rows, num_threads=1)
    assert np.array_equal(scorer.score(rows), expected, equal_nan=True)
    assert np.array_equal(scorer.score(np.asfortranarray(rows)), expected, equal_nan=True)


def test_threads_get_the_answers_to_their_own_rows() -> None:
    booster, scorer = fitted("binary")
    rows = np.random.default_rng(2).normal(size=(400, 1, 4))
    expected = booster.predict(rows[:, 0], num_threads=1)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(scorer.score, rows))
    assert np.array_equal(np.concatenate(found), np.asarray(expected))


def test_rows_of_another_width_are_refused_as_ever() -> None:
    _, scorer = fitted("binary")
    with pytest.raises(lightgbm.basic.LightGBMError, match="features"):
        scorer.score(np.zeros((1, 3)))


def test_a_scorer_may_go_before_its_booster() -> None:
    booster, _ = fitted("regression")
    for _ in range(20):
        assert flavour.scorer(booster, Trait("regression")).score(np.zeros((1, 4))).shape == (1,)
    gc.collect()
    assert np.asarray(booster.predict(np.zeros((1, 4)))).shape == (1,)
