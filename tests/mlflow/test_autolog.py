"""Autologging of scikit-learn, LightGBM and XGBoost: params, metrics, models, datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pytest

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(60, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.fixture(autouse=True)
def _no_autolog_stays(experiment: str) -> Iterator[None]:
    mlflow.set_experiment(experiment_id=experiment)
    yield
    mlflow.autolog(disable=True, silent=True)


def last() -> Any:
    return mlflow.get_run(mlflow.last_active_run().info.run_id)


def test_scikit_learn_logs_params_metrics_and_tags() -> None:
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.autolog(log_models=False, silent=True)
    LogisticRegression(C=0.5).fit(X, Y)
    run = last()
    assert run.info.status == "FINISHED"
    assert run.data.params["C"] == "0.5"
    assert 0.5 < run.data.metrics["training_accuracy_score"] <= 1
    assert run.data.tags["estimator_name"] == "LogisticRegression"


def test_scikit_learn_logs_the_dataset() -> None:
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.autolog(log_models=False, silent=True)
    LogisticRegression().fit(X, Y)
    found = last().inputs.dataset_inputs
    assert [t.value for t in found[0].tags if t.key == "mlflow.data.context"] == ["train"]


def test_scikit_learn_logs_a_model_that_can_be_loaded() -> None:
    from sklearn.tree import DecisionTreeClassifier

    mlflow.sklearn.autolog(log_models=True, silent=True)
    model = DecisionTreeClassifier(max_depth=2, random_state=1).fit(X, Y)
    run = last()
    made = run.outputs.model_outputs[0].model_id
    assert (mlflow.sklearn.load_model(f"models:/{made}").predict(X) == model.predict(X)).all()
    assert mlflow.get_logged_model(made).params["max_depth"] == "2"


def test_scikit_learn_logs_a_search_as_nested_runs(experiment: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mlflow.sklearn.autolog(log_models=False, silent=True, max_tuning_runs=3)
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(X, Y)
    runs = mlflow.search_runs([experiment], output_format="list")
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    assert len(runs) == 4
    assert len(parents) == 2


def test_metrics_after_the_fit_are_logged_too() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score

    mlflow.sklearn.autolog(log_models=False, silent=True)
    with mlflow.start_run() as run:
        model = LogisticRegression().fit(X, Y)
        accuracy_score(Y, model.predict(X))
    assert any("accuracy_score" in key for key in mlflow.get_run(run.info.run_id).data.metrics)


def test_lightgbm_logs_a_curve() -> None:
    import lightgbm as lgb

    mlflow.lightgbm.autolog(log_models=False, silent=True)
    data = lgb.Dataset(X, Y)
    lgb.train(
        {"objective": "binary", "verbose": -1, "num_leaves": 4}, data, 8, valid_sets=[data], valid_names=["train"]
    )
    run = last()
    assert run.data.params["num_leaves"] == "4"
    curve = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train-binary_logloss")
    assert [m.step for m in curve] == list(range(8))
    assert curve[-1].value < curve[0].value


def test_xgboost_logs_a_curve() -> None:
    import xgboost as xgb

    mlflow.xgboost.autolog(log_models=False, silent=True)
    data = xgb.DMatrix(X, Y)
    xgb.train({"objective": "binary:logistic", "max_depth": 2}, data, 8, evals=[(data, "train")], verbose_eval=False)
    run = last()
    assert run.data.params["max_depth"] == "2"
    assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "train-logloss")) == 8


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosted_models_are_logged_and_loaded(library: str) -> None:
    if library == "lightgbm":
        import lightgbm as lgb

        model: Any = lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    else:
        import xgboost as xgb

        model = xgb.XGBClassifier(n_estimators=3).fit(X, Y)
    flavour = getattr(mlflow, library)
    with mlflow.start_run():
        made = flavour.log_model(model, name="m", pip_requirements=[library])
    assert (flavour.load_model(made.model_uri).predict(X) == model.predict(X)).all()
