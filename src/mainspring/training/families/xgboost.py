"""Boosted trees of XGBoost, when it is installed."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "xgboost", "XGBoost", 4
SPREAD, SCALED = False, False


def is_there() -> bool:
    """XGBoost is an extra."""
    from importlib.util import find_spec

    return find_spec("xgboost") is not None


def configurations(task: str) -> Sequence[Params]:
    """Small trees, and larger ones."""
    return [
        {"n_estimators": 200, "learning_rate": 0.05, "max_depth": 3},
        {"n_estimators": 200, "learning_rate": 0.05, "max_depth": 6},
    ]


def estimator(task: str, params: Params, seed: int) -> object:
    """Boosted trees; missing values go to the better side. Classes may be any labels."""
    import xgboost

    from mainspring.registry.labelled import Labelled

    if task == "regression":
        return xgboost.XGBRegressor(**params, random_state=seed, n_jobs=1)
    return Labelled(xgboost.XGBClassifier(**params, random_state=seed, n_jobs=1))
