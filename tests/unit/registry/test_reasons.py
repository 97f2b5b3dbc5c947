"""Reason codes: with the base they add up to the raw output, and they are what the definition says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, TweedieRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mainspring.core.errors import Refused
from mainspring.registry.flavours import flavour_for
from mainspring.registry.packages import Predictor, build, predictor_of
from mainspring.registry.reasons import Means, Reasons
from mainspring.registry.reasons.linear import scale_of

Floats = NDArray[np.float64]
NAMES = ["a", "b", "c"]
MEANS: Means = {"a": 0.4, "b": 0.6, "c": 0.5}


def drawn(seed: int, rows: int = 80) -> Floats:
    return np.random.default_rng(seed).random((rows, 3))


def classes(x: Floats, count: int) -> NDArray[np.int64]:
    mixed = x[:, 0] + 0.3 * np.sin(9 * x[:, 2])
    return np.digitize(mixed, np.quantile(mixed, np.linspace(0, 1, count + 1)[1:-1])).astype(np.int64)


def predictor(model: object, x: Floats) -> Predictor:
    package = build(model, pl.DataFrame(x[:3], schema=NAMES))
    kind = flavour_for(model)
    return predictor_of(package.manifest, kind, kind.read(package.files[kind.FILE]))


def explained(model: object, x: Floats, means: Means = MEANS) -> tuple[Reasons, Mapping[str, NDArray[np.generic]], str]:
    made = predictor(model, x)
    columns = [column.tolist() for column in x.T]
    answers = made.predict_checked(columns)
    reasoner = made.reasoner(means)
    return reasoner.explain(columns, answers), answers, reasoner.scale


def lightgbm(task: str) -> object:
    from lightgbm import LGBMClassifier, LGBMRegressor

    about: dict[str, Any] = {"n_estimators": 5, "num_leaves": 6, "min_child_samples": 4, "verbose": -1, "n_jobs": 1}
    return LGBMRegressor(**about) if task == "regression" else LGBMClassifier(**about)


def xgboost(task: str) -> object:
    module = pytest.importorskip("xgboost")
    about = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}
    return module.XGBRegressor(**about) if task == "regression" else module.XGBClassifier(**about)


def catboost(task: str) -> object:
    module = pytest.importorskip("catboost")
    about = {"iterations": 5, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return module.CatBoostRegressor(**about) if task == "regression" else module.CatBoostClassifier(**about)


def scikit(task: str) -> object:
    return LinearRegression() if task == "regression" else LogisticRegression()


def forest(task: str) -> object:
    about: dict[str, Any] = {"n_estimators": 4, "max_depth": 4, "random_state": 0}
    return ExtraTreesRegressor(**about) if task == "regression" else RandomForestClassifier(**about)


def boosting(task: str) -> object:
    about: dict[str, Any] = {"n_estimators": 4, "random_state": 0}
    return GradientBoostingRegressor(**about) if task == "regression" else GradientBoostingClassifier(**about)


def histograms(task: str) -> object:
    return (
        HistGradientBoostingClassifier(max_iter=4) if task != "regression" else DecisionTreeRegressor(max_leaf_nodes=9)
    )


FAMILIES: dict[str, Callable[[str], object]] = {
    made.__name__: made for made in (lightgbm, xgboost, catboost, scikit, forest, boosting, histograms)
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6), task=st.sampled_from(["binary", "multiclass", "regression"]))
def test_codes_and_base_add_up_to_the_raw_output(family: str, seed: int, task: str) -> None:
    x = drawn(seed)
    truth = x[:, 0] * 3 - x[:, 1] if task == "regression" else classes(x, 2 if task == "binary" else 3)
    if family not in ("scikit", "boosting"):
        x[::5, 1] = np.nan
    model = FAMILIES[family](task)
    found, answers, scale = explained(model.fit(x, truth), x)  # type: ignore[attr-defined]
    total = found.values.sum(axis=1) + found.base
    assert found.values.shape == x.shape
    if task == "regression":
        assert scale == "prediction"
        assert total == pytest.approx(answers["prediction"], abs=2e-5)
    elif task == "binary":
        raw = 1 / (1 + np.exp(-total)) if scale == "log-odds" else total
        assert scale == ("probability" if family == "forest" else "log-odds")
        assert raw == pytest.approx(answers["probability"], abs=2e-6)
    else:
        assert scale in ("score", "probability")
        every = predictor(model, x).reasoner(MEANS)
        raw = every._explainer.explain(x).sum(axis=1)
        share = raw if family == "forest" else np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
        assert share == pytest.approx(answers["probability"], abs=2e-5)
        assert total == pytest.approx(raw.max(axis=1), abs=1e-9)


def test_codes_of_averaged_trees_add_up_and_those_of_another_scale_say_so() -> None:
    import lightgbm as library

    x = drawn(5)
    about: dict[str, Any] = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 4}
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    found, answers, scale = explained(library.train({**about, **forest}, library.Dataset(x, x[:, 0]), 6), x)
    assert found.values.sum(axis=1) + found.base == pytest.approx(answers["prediction"])
    assert scale == "prediction"
    assert explained(library.train({**about, "reg_sqrt": True}, library.Dataset(x, x[:, 0]), 2), x)[2] == "score"
    assert scale_of(TweedieRegressor(power=0), "regression") == "prediction"
    assert scale_of(TweedieRegressor(power=1.5), "regression") == "log"


def by_definition(tree: Any, row: Floats) -> list[float]:
    """Shapley values of a tree, from what it expects when only some columns are known, over all their subsets."""

    def expects(known: frozenset[int], node: int = 0) -> float:
        if tree.children_left[node] < 0:
            return float(tree.value[node][0][0])
        left, right = tree.children_left[node], tree.children_right[node]
        if tree.feature[node] in known:
            return expects(known, left if row[tree.feature[node]] <= tree.threshold[node] else right)
        weights = tree.weighted_n_node_samples
        return float((weights[left] * expects(known, left) + weights[right] * expects(known, right)) / weights[node])

    found = []
    for column in range(3):
        others = [other for other in range(3) if other != column]
        value = 0.0
        for size in range(3):
            share = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
            for subset in itertools.combinations(others, size):
                value += share * (expects(frozenset({*subset, column})) - expects(frozenset(subset)))
        found.append(value)
    return found


def test_codes_of_a_tree_are_its_shapley_values() -> None:
    x = drawn(3).astype(np.float32).astype(np.float64)
    model = DecisionTreeRegressor(max_depth=4, min_samples_leaf=3).fit(
        x, np.sin(7 * x[:, 0]) * x[:, 1] + x[:, 2], sample_weight=x[:, 1] + 0.5
    )
    found, _, _ = explained(model, x[:6])
    for row, values in zip(x[:6], found.values, strict=True):
        assert values.tolist() == pytest.approx(by_definition(model.tree_, row), abs=1e-7)


def test_a_code_of_a_linear_model_is_the_coefficient_times_what_is_above_the_mean() -> None:
    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([2.0, -1.0, 0.5]), 3.0, 3
    found, _, _ = explained(model, np.array([[1.0, 1.0, 1.0]]))
    assert found.values.tolist() == [pytest.approx([2 * 0.6, -0.4, 0.25])]
    assert found.base.tolist() == [pytest.approx(3 + 0.8 - 0.6 + 0.25)]


def table() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "distance": [None if i % 9 == 0 else float(v) for i, v in enumerate(rng.normal(700, 200, 90))],
            "hour": rng.integers(0, 24, 90),
            "carrier": rng.choice(["AA", "B6", "UA"], 90),
        }
    )


def prepared() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer(
        [("text", OneHotEncoder(drop="first"), ["carrier"]), ("numbers", numbers, ["hour", "distance"])]
    )


@pytest.mark.parametrize("last", ["LogisticRegression", "PoissonRegressor", "RandomForest", "lightgbm"])
def test_codes_of_a_pipeline_are_of_the_columns_that_are_sent(last: str) -> None:
    frame = table()
    truth = (frame["hour"].to_numpy() + 9 * (frame["carrier"] == "UA").to_numpy() > 12).astype(int)
    final = {
        "LogisticRegression": LogisticRegression(),
        "PoissonRegressor": PoissonRegressor(),
        "RandomForest": RandomForestClassifier(4, max_depth=4, random_state=0),
        "lightgbm": lightgbm("binary"),
    }[last]
    model = Pipeline([("prepare", prepared()), ("best", SelectKBest(k=3)), ("last", final)]).fit(frame, truth)
    package = build(model, frame.head(3))
    made = predictor_of(package.manifest, flavour_for(model), model)
    columns = [frame[name].to_list() for name in frame.columns]
    shares = {"AA": 0.5, "B6": 0.25, "UA": 0.25}
    reasoner = made.reasoner({"distance": 700.0, "hour": 11.5, "carrier": shares})
    answers = made.predict_checked(columns)
    found = reasoner.explain(columns, answers)
    assert found.values.shape == (90, 3)
    total = found.values.sum(axis=1) + found.base
    said = {"log-odds": 1 / (1 + np.exp(-total)), "probability": total, "log": np.exp(total)}[reasoner.scale]
    assert said == pytest.approx(answers.get("probability", answers.get("prediction")), abs=1e-9)
    if last == "LogisticRegression":  # what a column is worth does not depend on the others
        assert (
            len({round(float(v), 9) for v, c in zip(found.values[:, 2], frame["carrier"], strict=True) if c == "UA"})
            == 1
        )
        each = {c: float(found.values[frame["carrier"].to_list().index(c), 2]) for c in shares}
        assert sum(share * each[c] for c, share in shares.items()) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (KNeighborsClassifier(3), "KNeighborsClassifier"),
        (make_pipeline(PCA(2), LogisticRegression()), "a pipeline with a PCA, which may mix columns"),
    ],
)
def test_a_model_without_exact_codes_is_refused_by_its_name(model: Any, said: str) -> None:
    x = drawn(0)
    with pytest.raises(Refused, match=said):
        explained(model.fit(x, classes(x, 2)), x)


def test_a_linear_model_of_unknown_training_is_refused() -> None:
    x = drawn(0)
    with pytest.raises(Refused, match="means of its training") as told:
        explained(LogisticRegression().fit(x, classes(x, 2)), x, {"a": 0.4})
    assert "reference=" in told.value.hint
