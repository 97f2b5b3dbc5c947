"""Which models of scikit-learn can be kept: all that hold arrays and settings, and none that brings code."""

from __future__ import annotations

import os
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest, chi2, mutual_info_classif, r_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern, RationalQuadratic, WhiteKernel
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, TweedieRegressor
from sklearn.model_selection import GridSearchCV, KFold, TunedThresholdClassifierCV
from sklearn.multiclass import OutputCodeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer
from sklearn.tree import DecisionTreeClassifier

from mainspring.core.errors import Refused
from mainspring.registry.flavours import sklearn

RNG = np.random.default_rng(7)
X = RNG.random((60, 3))
CLASSES, NUMBERS = (X[:, 0] > 0.5).astype(int), X[:, 0] + 1
TWO = [("linear", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=2))]
MODELS: list[tuple[BaseEstimator, np.ndarray]] = [
    (VotingClassifier(TWO, voting="soft"), CLASSES),
    (StackingClassifier(TWO, cv=2), CLASSES),
    (VotingRegressor([("linear", LinearRegression())]), NUMBERS),
    (StackingRegressor([("linear", LinearRegression())], cv=2), NUMBERS),
    (GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2, scoring="roc_auc"), CLASSES),
    (LogisticRegressionCV(cv=KFold(2), scoring="neg_log_loss", l1_ratios=(0,), use_legacy_attributes=False), CLASSES),
    (TunedThresholdClassifierCV(GaussianNB(), cv=2), CLASSES),
    (TweedieRegressor(power=1.5), NUMBERS),
    (HistGradientBoostingRegressor(loss="gamma", max_iter=2), NUMBERS),
    (GaussianProcessRegressor(Matern() + RationalQuadratic() * RBF() + WhiteKernel()), NUMBERS),
    (GaussianProcessRegressor(DotProduct() ** 2), NUMBERS),
    (KNeighborsClassifier(metric="manhattan", algorithm="ball_tree"), CLASSES),
    (KNeighborsRegressor(p=3, algorithm="kd_tree"), NUMBERS),
    (MLPClassifier((3,), solver="sgd", max_iter=3), CLASSES),
    (CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2), CLASSES),
    (OutputCodeClassifier(LogisticRegression(), random_state=1), CLASSES),
    (make_pipeline(SelectKBest(chi2, k=2), LogisticRegression()), CLASSES),
    (make_pipeline(SelectKBest(mutual_info_classif, k=2), LogisticRegression()), CLASSES),
    (make_pipeline(SelectKBest(r_regression, k=2), LinearRegression()), NUMBERS),
    (make_pipeline(FunctionTransformer(np.log1p), SplineTransformer(3), LinearRegression()), NUMBERS),
]


@pytest.mark.parametrize("model, target", MODELS, ids=lambda value: type(value).__name__)
def test_a_model_of_arrays_and_settings_is_kept_and_answers_as_before(model: BaseEstimator, target: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say about few rows and few turns
        model.fit(X, target)
    again = sklearn.read(sklearn.dump(model))
    assert isinstance(again, type(model))
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "function", [os.getcwd, eval, np.load, partial(eval)], ids=["os.getcwd", "eval", "numpy.load", "partial"]
)
def test_a_model_that_brings_a_function_that_reads_or_runs_something_is_refused(function: object) -> None:
    model = make_pipeline(FunctionTransformer(function), LinearRegression())
    with pytest.raises(Refused, match=r"types that are not trusted: \S+"):
        sklearn.dump(model)
