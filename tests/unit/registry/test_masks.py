"""Many rows through boosted trees at once have the very bits of a walk through the trees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mainspring.registry.flavours import Trait
from mainspring.registry.flavours import lightgbm as flavour
from mainspring.registry.masks import MaskedTrees

KINDS: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary"},
    "binary, another slope": {"objective": "binary", "sigmoid": 0.7},
    "shares": {"objective": "cross_entropy"},
    "three classes": {"objective": "multiclass", "num_class": 3},
    "numbers": {"objective": "regression"},
    "numbers by their median": {"objective": "regression_l1"},
    "a mean of trees": {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "64 leaves": {"objective": "binary", "num_leaves": 64, "min_data_in_leaf": 1},
    "trees without a split": {"objective": "regression", "min_gain_to_split": 40.0},
}
OTHERS: dict[str, dict[str, Any]] = {
    "65 leaves": {"objective": "binary", "num_leaves": 65, "min_data_in_leaf": 1},
    "a root of numbers": {"objective": "regression", "reg_sqrt": True},
    "counts": {"objective": "poisson"},
    "linear leaves": {"objective": "regression", "linear_tree": True},
    "zero is missing": {"objective": "regression", "zero_as_missing": True},
}
NEARLY_ZERO = [5e-324, -5e-324, 1e-35, -1e-35, 1.0000000180025095e-35, -1.0000000180025095e-35, 2e-35, -2e-35]


def trained(about: dict[str, Any], *, missing: bool = False, categories: bool = False) -> lightgbm.Booster:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 5)).round(2)
    y = x[:, 0] + np.sin(3 * x[:, 1]) + rng.normal(size=400) / 4
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    if categories:
        x[:, 4] = rng.integers(0, 9, 400)
        y = y + x[:, 4] % 3
    if "num_class" in about:
        y = np.digitize(y, [-0.5, 0.5]).astype(float)
    elif about["objective"] in ("binary", "cross_entropy", "poisson"):
        y = (y > 0).astype(float)
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "num_leaves": 12, **about}
    places: Any = [4] if categories else "auto"
    return lightgbm.train(options, lightgbm.Dataset(x, y, categorical_feature=places), 30)


@cache
def both(kind: str, missing: bool) -> tuple[lightgbm.Booster, MaskedTrees]:
    booster = trained(KINDS[kind], missing=missing)
    made = MaskedTrees.of(booster)
    assert made is not None
    return booster, made


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rows_have_the_same_bits_as_from_the_library(kind: str, missing: bool, data: st.DataObject) -> None:
    booster, made = both(kind, missing)
    cuts = [float(cut) for column in made._columns for cut in column.cuts] or [0.0]
    usual = st.floats(-4, 4).map(lambda value: round(value, 2))
    values = usual | st.sampled_from(cuts) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, *NEARLY_ZERO])
    rows = data.draw(arrays(np.float64, (data.draw(st.sampled_from([1, 2, 7, 40])), 5), elements=values))
    expected = np.asarray(booster.predict(rows, num_threads=1))
    assert np.array_equal(_scored(made, rows), expected)
    assert np.array_equal(_scored(made, np.asfortranarray(rows)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_than_are_worked_on_at_once_are_answered_in_order(kind: str) -> None:
    booster, made = both(kind, False)
    for more in (1, 3):
        rows = np.random.default_rng(2).normal(size=(2 * made._rows + more, 5))
        assert np.array_equal(_scored(made, rows), np.asarray(booster.predict(rows, num_threads=1)))


def test_threads_get_the_answers_to_their_own_rows() -> None:
    booster, made = both("binary", False)
    parts = np.random.default_rng(3).normal(size=(40, 50, 5))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda rows: _scored(made, rows), parts))
    assert np.array_equal(np.stack(found), [np.asarray(booster.predict(rows, num_threads=1)) for rows in parts])


@pytest.mark.parametrize("kind", [*OTHERS, "categories"])
def test_what_is_no_sum_of_small_plain_trees_is_left_to_the_library(kind: str) -> None:
    booster = trained({"objective": "regression"}, categories=True) if kind == "categories" else trained(OTHERS[kind])
    assert MaskedTrees.of(booster) is None
    rows = np.random.default_rng(4).normal(size=(100, 5))
    found = flavour.scorer(booster, Trait("regression")).score(rows)
    assert np.array_equal(found, np.asarray(booster.predict(rows, num_threads=1)))


def test_an_answer_beyond_double_precision_is_left_to_the_library() -> None:
    x = np.arange(80.0).reshape(-1, 1)
    about = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1, "learning_rate": 900.0, "num_threads": 1}
    booster = lightgbm.train(about, lightgbm.Dataset(x, (x[:, 0] > 40).astype(float)), 4)
    assert np.asarray(booster.predict(x, raw_score=True)).min() < -710
    scorer = flavour.scorer(booster, Trait("binary", (0, 1)))
    assert np.array_equal(scorer.score(x), np.asarray(booster.predict(x, num_threads=1)))


def test_a_scorer_answers_as_many_rows_as_pay_off_by_masks_and_the_others_by_the_library() -> None:
    booster, made = both("numbers", False)
    scorer = flavour.scorer(booster, Trait("regression"))
    least = next(rows for rows in range(1, 513) if made.takes(rows))
    assert 4 < least < 512
    for count in (1, 5, least - 1, least, 512, 513, 4096, 4097):
        rows = np.random.default_rng(count).normal(size=(count, 5))
        assert np.array_equal(scorer.score(rows), np.asarray(booster.predict(rows, num_threads=1)))


def _scored(made: MaskedTrees, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found = made.score(rows)
    assert found is not None
    return found
