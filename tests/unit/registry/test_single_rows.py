"""Few rows are answered by shorter ways through LightGBM and the trees of scikit-learn, with the very same bits."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mainspring.registry.flavours import Scorer, Trait, flavour_for
from mainspring.registry.flavours import lightgbm as flavour
from mainspring.registry.flavours import sklearn as sklearn_flavour
from mainspring.registry.packages import build, predictor_of

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


def forests() -> dict[str, tuple[Any, Trait]]:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
    from sklearn.tree import DecisionTreeClassifier

    return {
        "forest of two classes": (RandomForestClassifier(6, random_state=0), Trait("binary", (0, 1))),
        "extra trees of three classes": (ExtraTreesClassifier(5, random_state=0), Trait("multiclass", (0, 1, 2))),
        "forest of numbers": (RandomForestRegressor(7, max_depth=4, random_state=0), Trait("regression")),
        "single tree": (DecisionTreeClassifier(max_depth=3), Trait("binary", (0, 1))),
    }


@cache
def grown(name: str) -> tuple[Any, Scorer]:
    model, trait = forests()[name]
    rng = np.random.default_rng(3)
    x = rng.normal(size=(150, 4))
    model.fit(x, x[:, 0] + x[:, 1] if trait.task == "regression" else rng.integers(0, len(trait.classes), 150))
    return model, sklearn_flavour.scorer(model, trait)


@pytest.mark.parametrize("name", forests())
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.sampled_from([1, 3, 5, 64, 65, 200]), scale=st.sampled_from([1.0, 1e-40, 1e30])
)
def test_forests_are_answered_with_the_bits_of_scikit_learn(name: str, seed: int, rows: int, scale: float) -> None:
    model, scorer = grown(name)
    assert type(scorer).__name__ == "_ForestScorer"
    x = np.random.default_rng(seed).normal(size=(rows, 4)) * scale
    if name == "forest of numbers":
        expected = model.predict(x)
    else:
        expected = model.predict_proba(x)
        expected = expected[:, 1] if expected.shape[1] == 2 else expected
    assert np.array_equal(scorer.score(x), expected)


def test_rows_that_a_forest_does_not_take_are_left_to_it() -> None:
    model, scorer = grown("forest of two classes")
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="too large"):
        scorer.score(np.array([[1e300, 0.0, 0.0, 0.0]]))
    x = np.array([[np.nan, 0.0, 0.0, 0.0]])
    try:
        expected = model.predict_proba(x)[:, 1]
    except ValueError:
        with pytest.raises(ValueError, match="NaN"):
            scorer.score(x)
    else:
        assert np.array_equal(scorer.score(x), expected)


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_models_that_were_fitted_on_a_frame_take_the_same_short_way(kind: str) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    frame = pl.DataFrame(rng.normal(size=(60, 2)), schema=["b", "a"])
    truth = (frame["a"] > 0).to_numpy().astype(int)
    model = (LogisticRegression() if kind == "logistic" else RandomForestClassifier(3, random_state=0)).fit(
        frame, truth
    )
    package = build(model, frame.select("a", "b").head(4))
    found = flavour_for(model)
    loaded = predictor_of(package.manifest, found, found.read(package.files[found.FILE]))
    expected = model.predict_proba(frame)[:, 1]
    assert np.array_equal(loaded.predict(frame.select("a", "b"))["probability"], expected)
    one = loaded.predict_checked([[float(frame["b"][0])], [float(frame["a"][0])]])
    assert np.array_equal(one["probability"], expected[:1])
    with pytest.raises(ValueError, match="NaN") if kind == "logistic" else nullcontext():
        loaded.predict_checked([[None], [1.0]])
